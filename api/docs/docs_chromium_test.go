//go:build chromium

package docs_test

import (
	"encoding/json"
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
		if !isPage(f) || name == "reference" { // TestReferenceInChromium
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

// TestReferenceInChromium: the page of all routes, in light, dark and on a phone, and each of its operations
// unfolded. One after the other: with all of them at once the page takes minutes to be laid out and judged.
func TestReferenceInChromium(t *testing.T) {
	s := open(t)
	var operations int
	s.Eval(`fetch("/openapi.json").then(r => r.json()).then(spec => [...Object.values(spec.paths), ...Object.values(spec.webhooks ?? {})]
		.flatMap(path => Object.keys(path)).filter(name => ["get", "head", "put", "post", "delete", "patch"].includes(name)).length)`, &operations)
	for _, look := range []string{"light", "dark", "phone"} {
		s.Size(1280, 900, false)
		if look == "phone" {
			s.Size(390, 844, true)
		}
		s.Dark(look == "dark")
		s.Go(s.APIURL + "/docs/reference")
		s.until(fmt.Sprintf(`document.querySelectorAll(".opblock").length >= %d`, operations))
		s.judge("reference " + look)
		var ids []string
		s.Eval(`[...document.querySelectorAll(".opblock")].map(block => block.id)`, &ids)
		if len(ids) != operations || operations < 50 {
			t.Fatalf("%d of %d operations are shown", len(ids), operations)
		}
		if look == "phone" { // its operations are those of light, narrower
			continue
		}
		found := map[string][]string{}
		for _, id := range ids {
			selector := `[id="` + id + `"]`
			quoted, _ := json.Marshal(selector)
			block := fmt.Sprintf("document.querySelector(%s)", quoted)
			s.Eval(block+`.querySelector(".opblock-summary-control").click()`, nil)
			s.until(block + `?.querySelector(".opblock-body .responses-table")`)
			for _, violation := range s.AxeOf(selector) {
				rule, where, _ := strings.Cut(violation, ": ")
				found[rule] = append(found[rule], where)
			}
			if id == ids[0] && *screenshots != "" {
				s.Shoot(filepath.Join(*screenshots, "docs-operation-"+look+".png"), false)
			}
			s.Eval(block+`.querySelector(".opblock-summary-control").click()`, nil)
		}
		for rule, where := range found {
			t.Errorf("%s: in %d operations axe finds %s, as of %.600s", look, len(where), rule, strings.Join(slices.Compact(where), " | "))
		}
		t.Logf("reference %s: %d operations unfolded one by one, axe finds %d rules broken", look, len(ids), len(found))
	}
	if said := s.Said(); len(said) > 0 {
		t.Errorf("Chromium says %q", said)
	}
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
