package docs_test

import (
	"context"
	"encoding/json"
	"html"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"exportd/api/client"
	"exportd/api/docs"
	"exportd/internal/apikey"
	"exportd/internal/machinetest"
	"exportd/internal/webhook"
	"exportd/jobs"
)

func files(t *testing.T) map[string]docs.File {
	t.Helper()
	all, err := docs.Files(docs.Config{Sources: os.DirFS(".."), Service: docs.Service{
		Window: apikey.DefaultWindow, DefaultWait: 10 * time.Second, MaxWait: 25 * time.Second, URLLife: time.Hour,
	}})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func isPage(f docs.File) bool { return strings.HasPrefix(f.ContentType, "text/html") }

var (
	ids   = regexp.MustCompile(` id="([^"]*)"`)
	links = regexp.MustCompile(`<a [^>]*href="([^"]*)"`)
	loads = regexp.MustCompile(`(?:<script[^>]* src|<img[^>]* src|<link[^>]* href|url\()=?"?([^">)]*)`)
)

// TestLinks: every link of every page leads to a page, a heading or a file that is there, and nothing is
// loaded from elsewhere.
func TestLinks(t *testing.T) {
	t.Parallel()
	all := files(t)
	pages, followed := 0, 0
	for name, f := range all {
		if !isPage(f) {
			continue
		}
		pages++
		text := string(f.Content)
		for _, m := range links.FindAllStringSubmatch(text, -1) {
			to := html.UnescapeString(m[1])
			if to == "/openapi.json" || strings.HasPrefix(to, "https://") { // standards, which one may go to
				continue
			}
			followed++
			path, fragment, _ := strings.Cut(to, "#")
			target, ok := f, true
			if path != "" {
				target, ok = all[strings.TrimPrefix(strings.TrimPrefix(path, "/docs"), "/")]
				ok = ok && strings.HasPrefix(path, "/docs")
			}
			if !ok || fragment != "" && !strings.Contains(string(target.Content), ` id="`+fragment+`"`) {
				t.Errorf("/docs/%s: %s leads nowhere", name, to)
			}
		}
		for _, m := range loads.FindAllStringSubmatch(text, -1) {
			if !strings.HasPrefix(m[1], "/docs/") && m[1] != "data:," {
				t.Errorf("/docs/%s loads %s", name, m[1])
			}
		}
		seen := map[string]bool{}
		for _, m := range ids.FindAllStringSubmatch(text, -1) {
			if seen[m[1]] {
				t.Errorf("/docs/%s has two of the id %s", name, m[1])
			}
			seen[m[1]] = true
		}
		if strings.Count(text, "<h1") != 1 || strings.Contains(text, "raw HTML omitted") {
			t.Errorf("/docs/%s has not one heading, or HTML that was left out", name)
		}
	}
	if pages < 11 || followed < 150 {
		t.Errorf("%d pages and %d links were looked at", pages, followed)
	}
}

// TestTabsAreExamples: the code of tabs is that of the files that TestRealService runs, and each that callers
// may copy is in all languages.
func TestTabsAreExamples(t *testing.T) {
	t.Parallel()
	all := files(t)
	for page, names := range map[string][]string{
		"":          {"quickstart.sh", "quickstart/main.go", "quickstart.mjs", "quickstart.py", "exportd.sh"},
		"nightly":   {"nightly.sh", "nightly/main.go", "nightly.mjs", "nightly.py"},
		"callbacks": {"receiver/main.go", "receiver.mjs", "receiver.py", "verify.sh"},
		"keys":      {"rotate.sh", "rotate/main.go", "rotate.mjs", "rotate.py"},
		"signing":   {"exportd.sh"},
	} {
		text := string(all[page].Content)
		for _, name := range names {
			source, err := os.ReadFile(filepath.Join("../client/examples", name))
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(html.UnescapeString(text), "<code>"+strings.TrimSpace(string(source))+"</code>") {
				t.Errorf("/docs/%s does not have %s as it is", page, name)
			}
			if served := strings.ReplaceAll(name, "/main.go", ".go"); string(all[served].Content) != string(source) {
				t.Errorf("/docs/%s is not %s", served, name)
			}
		}
	}
}

// TestNumbers: what pages say in numbers, written out once more.
func TestNumbers(t *testing.T) {
	t.Parallel()
	all := files(t)
	for page, want := range map[string][]string{
		"":          {"10 s if you do not say, up to 25 s", "for 1 h."},
		"signing":   {"up to 1 min old and 5 s ahead"},
		"callbacks": {"within 15 s", "24 to 64 bytes", "There are 10 attempts, the last one 75 h 35 min 5 s after", "<td>4</td>\n<td>30 min</td>\n<td>35 min 5 s</td>", "up to 20 % shorter or longer", "more than 5 min from now", "16 KiB of head and 64 KiB of body", "20 events in a row", "for 120 h"},
	} {
		text := regexp.MustCompile(`</?strong>`).ReplaceAllString(string(all[page].Content), "")
		for _, w := range want {
			if !strings.Contains(text, w) {
				t.Errorf("/docs/%s does not say %q", page, w)
			}
		}
	}
	for _, code := range jobs.Codes {
		if strings.Count(string(all["errors"].Content), "<code>"+string(code)+"</code>") != 1 {
			t.Errorf("/docs/errors does not explain %s", code)
		}
	}
}

func vectors(t *testing.T) (v docs.Vectors) {
	t.Helper()
	if err := json.Unmarshal(files(t)["vectors.json"].Content, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// TestVectors: what vectors.json has is taken by the verifier of the service and by its clients, and two of
// its signatures were made elsewhere.
func TestVectors(t *testing.T) {
	t.Parallel()
	v := vectors(t)
	if got := v.Version1[0].Signature; got != "87bafca278770c21a666606ff84ff94da2354abc691c3683905a3ec138e7e57d" {
		t.Errorf("version 1 = %s, not what openssl makes", got)
	}
	verifier := func(id, secret string) apikey.Verifier {
		return apikey.Verifier{
			Window: apikey.DefaultWindow, Nonces: func(context.Context, string, string, time.Time) error { return nil },
			Lookup: func(context.Context, string) (*apikey.Key, error) {
				return &apikey.Key{ID: id, OrgID: "org1", State: apikey.Active, Secrets: []apikey.SigningSecret{{Secret: apikey.NewSecret(secret)}}}, nil
			},
		}
	}
	for _, x := range v.Version1 {
		h := http.Header{"X-Api-Key": {"key_example"}, "X-Date": {x.Date}, "X-Signature": {x.Signature}}
		at, err := time.Parse(time.RFC3339, x.Date)
		if err == nil {
			_, err = verifier("key_example", x.Secret).Verify(t.Context(), apikey.Request{Header: h, Method: "GET", Path: "/"}, at)
		}
		if err != nil || client.Sign(x.Secret, x.Date) != x.Signature {
			t.Errorf("%+v is not taken: %v", x, err)
		}
	}
	for _, x := range v.Version2 {
		r := httptest.NewRequestWithContext(t.Context(), x.Method, x.URL, strings.NewReader(x.Body))
		for name, value := range map[string]string{
			"x-api-key": x.Key, "x-date": x.Date, "x-nonce": x.Nonce, "x-signature-version": "2", "x-content-sha256": x.BodyHash, "x-signature": x.Signature,
		} {
			r.Header.Set(name, value)
		}
		at, err := time.Parse(time.RFC3339, x.Date)
		if err == nil {
			_, err = verifier(x.Key, x.Secret).Verify(t.Context(), apikey.RequestOf(r, []byte(x.Body)), at)
		}
		if err != nil || strings.Count(x.StringToSign, "\n") != 8 {
			t.Errorf("%+v is not taken: %v", x, err)
		}
	}
	for _, x := range v.Callbacks {
		for _, secret := range x.Secrets {
			h := http.Header{}
			h.Set(webhook.HeaderID, x.ID)
			h.Set(webhook.HeaderTimestamp, x.Timestamp)
			h.Set(webhook.HeaderSignature, x.Signature)
			if _, err := client.VerifyCallback(h, []byte(x.Body), time.Unix(1767323045, 0), secret); err != nil {
				t.Errorf("%s by %s: %v", x.ID, secret, err)
			}
		}
	}
}

// TestShellSigns: the functions of exportd.sh and verify.sh make what vectors.json has.
func TestShellSigns(t *testing.T) {
	t.Parallel()
	v := vectors(t)
	for _, x := range v.Version2 {
		r := httptest.NewRequestWithContext(t.Context(), x.Method, x.URL, nil)
		cmd := exec.CommandContext(t.Context(), "sh", "-c", `. ../client/examples/exportd.sh; signature2 "$@"`, "sh",
			x.Date, x.Nonce, x.Method, strings.ToLower(r.Host), r.URL.EscapedPath(), r.URL.RawQuery, x.BodyHash)
		cmd.Env = append(os.Environ(), "KEY="+x.Key, "SECRET="+x.Secret)
		if out, err := cmd.CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != x.Signature {
			t.Errorf("%s: signature2 = %s, %v", x.URL, out, err)
		}
	}
	for _, x := range v.Callbacks {
		for _, secret := range append(slices.Clone(x.Secrets), "whsec_"+strings.Repeat("A", 44)) {
			cmd := exec.CommandContext(t.Context(), "sh", "../client/examples/verify.sh", x.ID, x.Timestamp, x.Signature)
			cmd.Env, cmd.Stdin = append(os.Environ(), "WEBHOOK_SECRET="+secret), strings.NewReader(x.Body)
			out, err := cmd.Output()
			if good := slices.Contains(x.Secrets, secret); good != (err == nil) || good != (string(out) == "verified\n") {
				t.Errorf("%s by %s: %s, %v", x.ID, secret, out, err)
			}
		}
	}
}

// TestPageSigns: what /docs/try signs with makes what vectors.json has.
func TestPageSigns(t *testing.T) {
	t.Parallel()
	node := machinetest.Program(t, "node")
	folder := t.TempDir()
	all := files(t)
	for from, to := range map[string]string{"sign.js": "sign.mjs", "vectors.json": "vectors.json"} {
		if err := os.WriteFile(filepath.Join(folder, to), all[from].Content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const program = `
import { readFileSync } from 'node:fs';
import { signed, signingKeys } from './sign.mjs';
const v = JSON.parse(readFileSync('vectors.json'));
const wrong = [];
for (const x of v.version1) {
  const { headers } = await signed(await signingKeys(x.secret), 1, { key: 'k', date: x.date });
  if (headers['x-signature'] !== x.signature) wrong.push(x);
}
for (const x of v.version2) {
  const { headers, message } = await signed(await signingKeys(x.secret), 2, x);
  if (headers['x-signature'] !== x.signature || message !== x.stringToSign || headers['x-content-sha256'] !== x.contentSha256) wrong.push(x);
}
console.log(v.version1.length + v.version2.length, JSON.stringify(wrong));
`
	if err := os.WriteFile(filepath.Join(folder, "judge.mjs"), []byte(program), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), node, "judge.mjs")
	cmd.Dir = folder
	if out, err := cmd.CombinedOutput(); err != nil || string(out) != "6 []\n" {
		t.Errorf("sign.js: %s, %v", out, err)
	}
}

// TestReadmeSigns: the README has the function of exportd.sh.
func TestReadmeSigns(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile("../client/examples/exportd.sh")
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, function, _ := strings.Cut(string(source), "\nvip()")
	function, _, ok := strings.Cut(function, "\n\n")
	if !ok || !strings.Contains(string(readme), "\nvip()"+function+"\n") {
		t.Errorf("the README's vip is not that of exportd.sh:\n%s", function)
	}
}
