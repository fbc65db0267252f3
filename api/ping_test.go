package api

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"exportd/internal/webhook"
	"exportd/jobs"
)

// An org whose receiver hangs has two test callbacks under way at most, and keeps no other
// org from sending its own.
func TestPingShares(t *testing.T) {
	t.Parallel()
	arrived, end := make(chan struct{}, 8), make(chan struct{})
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/hangs") {
			arrived <- struct{}{}
			<-end
		}
	}))
	defer receiver.Close()
	b := newBench(t, func(c *Config) {
		c.CallbackRules = webhook.Rules{Dev: webhook.Dev{AllowHTTP: true, AllowCIDRs: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, AllowPorts: []uint16{0}}}
	})
	ping := func(key, org, path string) int {
		j := succeeded()
		j.ID, j.OrgID, j.KeyID, j.CallbackURL = jobs.NewID(), org, key, receiver.URL+path
		b.jobs.set(j)
		return b.do(request(t, key, http.MethodPost, "/exports/"+j.ID+"/callback/test")).Code
	}
	var hanging sync.WaitGroup
	for range 2 {
		hanging.Go(func() {
			if code := ping("key_one1", "org1", "/hangs"); code != http.StatusOK {
				t.Errorf("test callback that hangs = %d, want 200", code)
			}
		})
		<-arrived
	}
	if code := ping("key_one1", "org1", "/hangs"); code != http.StatusTooManyRequests {
		t.Errorf("third test callback of an org at once = %d, want 429", code)
	}
	if code := ping("key_two2", "org2", "/works"); code != http.StatusOK {
		t.Errorf("test callback of another org = %d, want 200", code)
	}
	close(end)
	hanging.Wait()
	if code := ping("key_one1", "org1", "/works"); code != http.StatusOK {
		t.Errorf("after the others have ended = %d, want 200", code)
	}
}
