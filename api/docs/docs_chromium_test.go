//go:build chromium

package docs_test

import (
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"exportd/internal/browser"
	"exportd/internal/e2e/e2etest"
)

var screenshots = flag.String("screenshots", "", "folder for pictures of what Chromium shows")

// site is the documentation of a service with demo data, open in a browser.
type site struct {
	*e2etest.Stack
	*browser.Page
	t      *testing.T
	axe    string
	looked int
}

func open(t *testing.T) *site {
	t.Helper()
	text, err := os.ReadFile("../../internal/console/testdata/axe/node_modules/axe-core/axe.min.js")
	if err != nil {
		t.Fatalf("%v: npm ci --prefix internal/console/testdata/axe", err)
	}
	binary, err := e2etest.Build(t.TempDir(), false)
	if err != nil {
		t.Fatal(err)
	}
	s := e2etest.Dev(t, binary, t.TempDir(), e2etest.Sizes{Users: 200, Messages: 300})
	return &site{Stack: s, Page: browser.Open(t, s.APIURL+"/docs"), t: t, axe: string(text)}
}

// judge looks at the page that is open: nothing beside the screen, nothing that axe finds.
func (s *site) judge(name string) {
	s.t.Helper()
	s.looked++
	var beside bool
	s.Eval(`document.documentElement.scrollWidth > document.documentElement.clientWidth`, &beside)
	if beside {
		s.t.Errorf("%s is wider than its window", name)
	}
	if found := s.Axe(s.axe); len(found) > 0 {
		s.t.Errorf("%s: axe finds %q", name, found)
	}
	if *screenshots != "" {
		s.Shoot(filepath.Join(*screenshots, "docs-"+strings.ReplaceAll(name, " ", "-")+".png"), true)
	}
}

// until waits for an expression to be true in the page.
func (s *site) until(expression string) {
	s.t.Helper()
	var came bool
	s.Eval(fmt.Sprintf(`new Promise(done => { const late = Date.now() + 60000, look = () => { const is = !!(%s); if (is || Date.now() > late) done(is); else setTimeout(look, 50) }; look() })`, expression), &came)
	if !came {
		var text string
		s.Eval(`document.querySelector("main").innerText`, &text)
		s.t.Fatalf("%s does not come true; the page says:\n%.3000s", expression, text)
	}
}

// TestPagesInChromium: every page in light, dark and on a phone.
func TestPagesInChromium(t *testing.T) {
	s := open(t)
	for name, f := range files(t) {
		// Swagger UI's own markup is others' work, and TestDocsInChromium looks at what it shows.
		if !isPage(f) || name == "reference" {
			continue
		}
		for _, look := range []string{"light", "dark", "phone"} {
			s.Size(1280, 900, false)
			if look == "phone" {
				s.Size(390, 844, true)
			}
			s.Dark(look == "dark")
			s.Go(strings.TrimSuffix(s.APIURL+"/docs/"+name, "/"))
			s.judge(strings.TrimSpace(name + " " + look))
		}
		if said := s.Said(); len(said) > 0 {
			t.Errorf("/docs/%s: %q", name, said)
		}
	}
	t.Logf("%d views of pages", s.looked)
}

// useKey gives the page a key, as people do.
func (s *site) useKey(key, secret string) {
	s.Eval(`for (const id of ["key", "secret"]) document.getElementById(id).value = ""`, nil)
	s.Click("#key")
	s.Write(key)
	s.Click("#secret")
	s.Write(secret)
	s.Press("Enter")
}

// TestTryInChromium: somebody makes an export from the page. A key that is wrong is told; of the secret
// nothing is left in the page, and nothing is stored.
func TestTryInChromium(t *testing.T) {
	s := open(t)
	s.Size(1280, 900, false)
	s.Go(s.APIURL + "/docs/try")
	s.useKey(s.APIKey, "another-secret")
	s.until(`document.getElementById("holder").textContent.includes("or the secret is not its secret")`)
	s.judge("try refused")
	refused := s.Said()
	s.useKey(s.APIKey, s.Secret)
	s.until(`document.getElementById("holder").textContent.includes("The key is right. Its org has")`)
	for _, version := range []string{"2", "1"} {
		s.Eval(fmt.Sprintf(`(() => { const set = (id, value) => { const e = document.getElementById(id); e.value = value; e.dispatchEvent(new Event("change")); };
			set("W", %q); set("M", %q); set("version", %q); set("preset", [...document.getElementById("preset").options].find(o => o.text === "Export VIP users").value); })()`, s.WorkspaceID, s.MediumID, version), nil)
		s.Click("#request-form button[type=submit]")
		s.until(`document.querySelector("#told a[href]")`)
		var link, told, job string
		s.Eval(`document.querySelector("#told a[href]").href`, &link)
		s.Eval(`document.getElementById("told").innerText`, &told)
		s.Eval(`document.getElementById("JOB").value`, &job)
		if want := fmt.Sprintf("%d rows", s.Facts.Users); !strings.Contains(told, want) {
			t.Errorf("version %s: the page says %q, want %s", version, told, want)
		}
		file := e2etest.Download(t, link).Want(t, http.StatusOK)
		rows, err := e2etest.ParseCSV(file.Body)
		if err != nil || len(rows) != s.Facts.Users+1 {
			t.Errorf("version %s: the file of %s has %d rows with its head, %v", version, job, len(rows), err)
		}
		if got := s.Caller().Job(t, job, ""); got.State != "succeeded" {
			t.Errorf("version %s: the job is %s", version, got.State)
		}
		t.Logf("version %s: job %s, %d rows", version, job, len(rows)-1)
		s.judge("try version " + version)
	}
	if said := slices.DeleteFunc(s.Said(), func(m string) bool { return slices.Contains(refused, m) }); len(said) > 0 {
		t.Errorf("Chromium says %q", said)
	}
	var left []string
	s.Eval(fmt.Sprintf(`(async () => { const left = [], secret = %q;
		if (document.documentElement.outerHTML.includes(secret)) left.push("markup");
		for (const e of document.querySelectorAll("input, textarea")) if (e.value.includes(secret)) left.push(e.id);
		if (localStorage.length + sessionStorage.length + document.cookie.length + (await indexedDB.databases()).length + (await caches.keys()).length > 0) left.push("storage");
		if (location.href.includes("?") || JSON.stringify(history.state) !== "null") left.push("history");
		return left; })()`, s.Secret), &left)
	if len(left) > 0 {
		t.Errorf("what was given is left in %q", left)
	}
	s.Click("#forget")
	s.until(`document.getElementById("request-form").hidden`)
}
