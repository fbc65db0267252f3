package storageserver_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/storage"
)

// TestCORS: a page of an origin that the bucket names may do by signed URLs what the rule says, and nothing
// else; the JSON API stays closed to pages.
func TestCORS(t *testing.T) {
	t.Parallel()
	url, b := newBucket(t)
	put(t, b.Object("a.csv"), []byte("id"), 0)
	const page = "https://app.example"
	rule := storage.CORS{Origins: []string{page}, Methods: []string{"GET", "PUT"}, ResponseHeaders: []string{"Content-Type", "X-Goog-Hash"}, MaxAge: time.Minute}
	change := func(rules ...storage.CORS) error {
		_, err := b.Update(t.Context(), storage.BucketAttrsToUpdate{CORS: rules})
		return err
	}
	ask := func(method, url string, headers ...string) http.Header {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, url, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(headers); i += 2 {
			req.Header.Set(headers[i], headers[i+1])
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		res.Header.Set("Status", res.Status)
		return res.Header
	}
	signed := sign(t, url, b, "a.csv")
	preflight := func(origin, method, headers string) string {
		return ask("OPTIONS", url+"/exports/a.csv", "Origin", origin, "Access-Control-Request-Method", method, "Access-Control-Request-Headers", headers).Get("Access-Control-Allow-Origin")
	}
	if got := preflight(page, "GET", ""); got != "" {
		t.Errorf("a bucket without rules allows %q", got)
	}
	if err := change(storage.CORS{Origins: []string{"https://other.example"}, Methods: []string{"*"}, MaxAge: time.Hour}, rule); err != nil {
		t.Fatal(err)
	}
	if err := change(rule); err != nil {
		t.Fatal(err)
	}
	if attrs, err := b.Attrs(t.Context()); err != nil || len(attrs.CORS) != 1 || attrs.CORS[0].MaxAge != time.Minute || attrs.CORS[0].Methods[1] != "PUT" {
		t.Errorf("the rules are %+v, %v", attrs.CORS, err)
	}
	for _, c := range []struct{ origin, method, headers, want string }{
		{page, "PUT", "content-type, x-goog-hash", page},
		{page, "GET", "", page},
		{page, "DELETE", "", ""},
		{page, "PUT", "authorization", ""},
		{"https://other.example", "GET", "", ""},
		{"https://app.example.evil.example", "GET", "", ""},
	} {
		if got := preflight(c.origin, c.method, c.headers); got != c.want {
			t.Errorf("preflight of %v allows %q", c, got)
		}
	}
	h := ask("OPTIONS", url+"/exports/a.csv", "Origin", page, "Access-Control-Request-Method", "PUT")
	if h.Get("Access-Control-Max-Age") != "60" || h.Get("Access-Control-Allow-Methods") != "GET,PUT" || h.Get("Access-Control-Allow-Headers") != "Content-Type,X-Goog-Hash" {
		t.Errorf("preflight: %v", h)
	}
	if h := ask("GET", signed, "Origin", page); h.Get("Status") != "200 OK" || h.Get("Access-Control-Allow-Origin") != page || h.Get("Access-Control-Expose-Headers") != "Content-Type,X-Goog-Hash" {
		t.Errorf("GET: %v", h)
	}
	if h := ask("GET", signed, "Origin", "https://other.example"); h.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("GET by another origin: %v", h)
	}
	for _, path := range []string{"/exports/a.csv", "/storage/v1/b/exports/o/a.csv"} { // not signed, and the JSON API
		if h := ask("GET", url+path, "Origin", page, "Authorization", "Bearer x"); !strings.HasPrefix(h.Get("Status"), "403") {
			t.Errorf("GET %s by a page: %v", path, h)
		}
	}
	rule.Origins = []string{"*"}
	if err := change(rule); err != nil {
		t.Fatal(err)
	}
	if got := preflight("https://any.example", "GET", ""); got != "*" {
		t.Errorf("a rule for all origins allows %q", got)
	}
	rule.Methods = []string{"FETCH"}
	if err := change(rule); err == nil {
		t.Error("a rule with a method that does not exist is taken")
	}
}
