package api

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"exportd/internal/apikey"
	"exportd/internal/webhook"
	"exportd/jobs"
)

// An org whose receiver hangs has two test callbacks under way at most, and keeps no other org from sending
// its own.
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

// A test callback is signed with what the key has now, not with what a cache has of it.
func TestPingReadsTheKeyAfresh(t *testing.T) {
	t.Parallel()
	receiver := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("was called") }))
	defer receiver.Close()
	b := newBench(t, func(c *Config) {
		c.CallbackRules = webhook.Rules{Dev: webhook.Dev{AllowHTTP: true, AllowCIDRs: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, AllowPorts: []uint16{0}}}
		c.FreshKeys = func(ctx context.Context, id string) (*apikey.Key, error) {
			key, err := c.Keys(ctx, id)
			if err != nil {
				return nil, err
			}
			revoked := *key
			revoked.State = apikey.Disabled
			return &revoked, nil
		}
	})
	j := succeeded()
	j.KeyID, j.CallbackURL = "key_one1", receiver.URL
	b.jobs.set(j)
	if code := b.do(request(t, "key_one1", http.MethodPost, "/exports/"+j.ID+"/callback/test")).Code; code != http.StatusConflict {
		t.Errorf("test callback of a key that was just revoked = %d, want 409", code)
	}
}
