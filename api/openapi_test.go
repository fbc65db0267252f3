package api

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"exportd/jobs"
)

func TestDocuments(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for path, want := range map[string]string{
		"/openapi.json":              "application/json; charset=utf-8",
		"/docs":                      "text/html; charset=utf-8",
		"/docs/file":                 "text/html; charset=utf-8",
		"/docs/docs.js":              "text/javascript; charset=utf-8",
		"/docs/docs.css":             "text/css; charset=utf-8",
		"/docs/nightly.go":           "text/plain; charset=utf-8",
		"/docs/vectors.json":         "application/json; charset=utf-8",
		"/docs/swagger-ui-bundle.js": "text/javascript; charset=utf-8",
		"/docs/swagger-ui.css":       "text/css; charset=utf-8",
	} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			plain := b.do(request(t, "", http.MethodGet, path)) // needs no key
			wantStatus(t, plain, http.StatusOK)
			if got := plain.Header().Get("Content-Type"); got != want {
				t.Errorf("Content-Type = %q, want %q", got, want)
			}
			packed := b.do(request(t, "", http.MethodGet, path, "Accept-Encoding", "br, gzip;q=0.8"))
			wantStatus(t, packed, http.StatusOK)
			r, err := gzip.NewReader(packed.Body)
			if err != nil {
				t.Fatal(err)
			}
			if unpacked, err := io.ReadAll(r); err != nil || !bytes.Equal(unpacked, plain.Body.Bytes()) {
				t.Errorf("packed form is another document: %v", err)
			}
			if w := b.do(request(t, "", http.MethodGet, path, "Accept-Encoding", "gzip;q=0")); w.Header().Get("Content-Encoding") != "" {
				t.Error("packed, though gzip is refused")
			}
			etag, packedTag := plain.Header().Get("ETag"), packed.Header().Get("ETag")
			if etag == "" || etag == packedTag {
				t.Errorf("ETag = %s, packed %s", etag, packedTag)
			}
			w := b.do(request(t, "", http.MethodGet, path, "If-None-Match", `"old", `+etag))
			if wantStatus(t, w, http.StatusNotModified); w.Body.Len() > 0 {
				t.Error("304 has a body")
			}
			wantStatus(t, b.do(request(t, "", http.MethodGet, path, "If-None-Match", `"old"`)), http.StatusOK)
		})
	}
	wantStatus(t, b.do(request(t, "", http.MethodGet, "/docs/README.md")), http.StatusNotFound)
	wantStatus(t, b.do(request(t, "", http.MethodGet, "/docs/..%2Fopenapi.go")), http.StatusNotFound)
}

// Each page loads what is there, first what is small, and by its policy from this server only.
func TestDocsStayHere(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	weights := map[string]int{}
	for page, most := range map[string]int{"/docs": 30 << 10, "/docs/callbacks": 30 << 10, "/docs/try": 30 << 10, "/docs/reference": 1 << 20} {
		w := b.do(request(t, "", http.MethodGet, page))
		wantStatus(t, w, http.StatusOK)
		policy := w.Header().Get("Content-Security-Policy")
		if !strings.HasPrefix(policy, "default-src 'none'; ") || strings.Contains(policy, "unsafe") || strings.Contains(policy, "http") || strings.Contains(policy, "*") {
			t.Errorf("the policy of %s is %s", page, policy)
		}
		weigh := func(path string) int {
			packed := b.do(request(t, "", http.MethodGet, path, "Accept-Encoding", "gzip"))
			wantStatus(t, packed, http.StatusOK)
			return packed.Body.Len()
		}
		weights[page] = weigh(page)
		for _, m := range regexp.MustCompile(`<(?:script|link|img)[^>]* (?:src|href)="([^"]*)"`).FindAllStringSubmatch(w.Body.String(), -1) {
			if m[1] != "data:," {
				weights[page] += weigh(m[1])
			}
		}
		if weights[page] > most {
			t.Errorf("%s and what it loads are %d bytes, want at most %d", page, weights[page], most)
		}
	}
	t.Logf("bytes, packed: %v", weights)
}

// Two routes whose success no other test looks at.
func TestOpsSwitches(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	j := b.jobs.set(jobs.Job{ID: jobs.NewID(), Schema: jobs.SchemaVersion, OrgID: "org1", State: jobs.Queued, CreatedAt: noon})
	if code, got := ops(t, b, http.MethodPost, "/ops/jobs/"+j.ID+"/cancel", `{"reason":"test"}`); code != http.StatusAccepted {
		t.Errorf("status = %d: %v", code, got)
	}
	if code, got := ops(t, b, http.MethodPost, "/ops/queues/exports/resume", `{"reason":"test"}`); code != http.StatusOK {
		t.Errorf("status = %d: %v", code, got)
	}
}
