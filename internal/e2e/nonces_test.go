package e2e

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"exportd/internal/apikey"
	"exportd/internal/e2e/e2etest"
)

// TestNoncesOutliveProcesses: a request of version 2 is taken once, by whichever process it comes to, and
// also after the one that took it was killed and another has begun.
func TestNoncesOutliveProcesses(t *testing.T) {
	t.Parallel()
	_, hosts := e2etest.Emulators(t, exportd, t.TempDir())
	s := e2etest.Services(t, exportd, hosts, e2etest.Sizes{Users: 10, Messages: 10})
	_, other := e2etest.API(t, exportd, hosts)
	signed := func() http.Header {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.APIURL+"/workspaces", nil)
		if err != nil {
			t.Fatal(err)
		}
		apikey.SignRequest(r, s.APIKey, s.Secret, nil, time.Now())
		return r.Header
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	send := func(url string, header http.Header) (status int, body string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/workspaces", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host, r.Header = strings.TrimPrefix(s.APIURL, "http://"), header // the host is signed
		res, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		raw, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(raw)
	}
	captured, unsent := signed(), signed()
	if status, body := send(s.APIURL, captured); status != http.StatusOK {
		t.Fatalf("the first time: %d %s", status, body)
	}
	again := func(what, url string) {
		t.Helper()
		if status, body := send(url, captured); status != http.StatusUnauthorized || !strings.Contains(body, "was used before") {
			t.Errorf("%s: %d %s, want 401 as it was used before", what, status, body)
		}
	}
	again("the same process", s.APIURL)
	again("another process", other)
	s.Process.Kill()
	_, restarted := e2etest.API(t, exportd, hosts)
	again("after kill -9 and a new process", restarted)
	if status, body := send(restarted, unsent); status != http.StatusOK {
		t.Errorf("one that nobody has sent: %d %s; the others were refused for another reason", status, body)
	}
}
