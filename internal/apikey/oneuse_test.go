package apikey

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"exportd/internal/localcloud/localcloudtest"
	"exportd/jobs"
)

// A key that takes each signature once refuses the second request with it, whatever that asks for, in every
// process.
func TestOneUse(t *testing.T) {
	t.Parallel()
	c := localcloudtest.Start(t)
	clock := func(c *StoreConfig) { c.Now = func() time.Time { return goldenTime } }
	here, there := newStore(t, c, 0, clock), newStore(t, c, 0, clock)
	k, err := here.Create(t.Context(), Draft{OrgID: "org1", Scopes: []Scope{ScopeRead}, OneUse: true}, by)
	if err != nil || !k.OneUse {
		t.Fatalf("Create = %+v, %v", k, err)
	}
	secret := k.Secrets[0].Secret.Reveal()
	ask := func(s *Store, nonces NonceFunc, path, date string) error {
		_, err := Verifier{Window: DefaultWindow, Lookup: s.Lookup, Nonces: nonces}.Verify(t.Context(),
			Request{Header: headers(k.ID, date, Sign(secret, date)), Method: "GET", Path: path}, goldenTime)
		return err
	}
	refused := func(err error) bool { _, ok := errors.AsType[*RefusedError](err); return ok }
	if err := ask(here, here.UseNonce, "/a", goldenDate); err != nil {
		t.Fatalf("the first request = %v", err)
	}
	for _, s := range []*Store{here, there} {
		if err := ask(s, s.UseNonce, "/b", goldenDate); !refused(err) || err.Error() != "x-signature was used before" {
			t.Errorf("the second request = %v", err)
		}
	}
	if err := ask(there, there.UseNonce, "/a", "2026-01-02T03:04:05.679Z"); err != nil {
		t.Errorf("a request of another date = %v", err)
	}
	if err := ask(here, nil, "/a", "2026-01-02T03:04:05.680Z"); !refused(err) {
		t.Errorf("without a place to remember = %v, want it refused", err)
	}
	down := func(context.Context, string, string, time.Time) error { return jobs.ErrUnavailable }
	if err := ask(here, down, "/a", "2026-01-02T03:04:05.681Z"); refused(err) || !errors.Is(err, jobs.ErrUnavailable) {
		t.Errorf("while it cannot be told = %v, want ErrUnavailable", err)
	}
}

// ReplayID tells exact duplicates of version 1 from everything else.
func TestReplayID(t *testing.T) {
	t.Parallel()
	first := func() Request {
		return Request{Header: headers("key_golden", goldenDate, goldenSignature), Method: "POST", Host: "a", Path: "/p", Query: "x=1&y=2", Body: []byte("{}")}
	}
	id := first().ReplayID()
	same := first()
	same.Host = "b" // a name of the same service
	same.Header.Set("User-Agent", "another")
	same.Header.Set(HeaderVersion, "1")
	if id == "" || same.ReplayID() != id {
		t.Errorf("ReplayID of a duplicate = %q, want %q", same.ReplayID(), id)
	}
	for name, change := range map[string]func(*Request){
		"key":       func(r *Request) { r.Header.Set(HeaderKey, "key_other") },
		"signature": func(r *Request) { r.Header.Set(HeaderSignature, Sign(goldenSecret, "later")) },
		"method":    func(r *Request) { r.Method = http.MethodDelete },
		"path":      func(r *Request) { r.Path = "/p/" },
		"query":     func(r *Request) { r.Query = "y=2&x=1" },
		"body":      func(r *Request) { r.Body = []byte("{ }") },
	} {
		r := first()
		change(&r)
		if got := r.ReplayID(); got == id || got == "" {
			t.Errorf("ReplayID with another %s = %q", name, got)
		}
	}
	v2 := signedV2(t, "GET", "http://exports.example.com/", "")
	if got := v2.ReplayID(); got != "" {
		t.Errorf("ReplayID of version 2 = %q, want none", got)
	}
}
