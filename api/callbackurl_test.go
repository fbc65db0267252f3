package api

import (
	"net/http"
	"strings"
	"testing"

	"exportd/jobs"
)

// The query of a callback URL may hold a token. No answer shows it, neither to the key that gave it nor to
// others of its org nor to operators; host and path are shown to all.
func TestCallbackURLIsShownWithoutQuery(t *testing.T) {
	t.Parallel()
	const shown, query = "https://hooks.example.com/x", "callback-token"
	b := newBench(t)
	j, cb := called(b, jobs.CallbackExhausted)
	queued := *j
	queued.ID, queued.State = jobs.NewID(), jobs.Running
	b.jobs.set(queued)
	b.jobs.attach = &queued
	ask := func(key, method, target string) (int, string) {
		r := request(t, key, method, target)
		if method == http.MethodPost {
			const body = `{"reason":"r"}`
			r.Header.Set("Content-Type", "application/json")
			r.Body, r.ContentLength = readCloser{strings.NewReader(body)}, int64(len(body))
		}
		w := b.do(r)
		return w.Code, w.Body.String()
	}
	tried := 0
	for _, tt := range []struct{ keys, method, target string }{
		{"key_one1 key_read key_hook", http.MethodGet, "/exports/" + j.ID},
		{"key_one1 key_read key_hook", http.MethodGet, "/exports/" + j.ID + "/events"},
		{"key_one1 key_hook", http.MethodGet, usersExport},
		{"key_ops1", http.MethodGet, "/ops/jobs/" + j.ID},
		{"key_ops1", http.MethodPost, "/ops/jobs/" + j.ID + "/callback/redeliver"},
	} {
		for key := range strings.FieldsSeq(tt.keys) {
			cb.State = jobs.CallbackExhausted
			code, body := ask(key, tt.method, tt.target)
			tried++
			if code/100 != 2 || !strings.Contains(body, shown) || strings.Contains(body, query) {
				t.Errorf("%s: %s %s = %d %s, want %s and nothing more of the URL", key, tt.method, tt.target, code, body, shown)
			}
		}
	}
	t.Logf("%d answers, 0 with the query", tried)
	if strings.Contains(b.log.String(), query) {
		t.Errorf("log holds the query: %s", b.log)
	}
}

func TestWithoutQuery(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"https://h.example/a?b=c":          "https://h.example/a",
		"https://h.example/?":              "https://h.example/",
		"https://u:p@h.example:8443/a#b":   "https://h.example:8443/a",
		"https://h.example/a%3Fb%3Dc":      "https://h.example/a%3Fb%3Dc",
		"http://h.example?a=b?c=d":         "http://h.example",
		"https://h.example/%zz?token=abcd": "", // cannot be read: nothing of it is shown
		"":                                 "",
	} {
		if got := withoutQuery(in); got != want {
			t.Errorf("withoutQuery(%q) = %q, want %q", in, got, want)
		}
	}
}
