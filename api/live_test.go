package api

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"testing"
)

// TestChange: limits and trusted proxies change while requests come, each for those that come after it.
func TestChange(t *testing.T) {
	t.Parallel()
	var at clock
	b := newBench(t, func(c *Config) {
		c.KeyRate, c.IPRate, c.Now = Rate{PerSecond: 1, Burst: 1}, Rate{PerSecond: 1, Burst: 100}, at.now
	})
	from := func(header ...string) *httptest.ResponseRecorder {
		r := request(t, "key_one1", http.MethodGet, "/workspaces", header...)
		r.RemoteAddr = "192.0.2.1:1"
		return b.do(r)
	}
	wantStatus(t, from(), http.StatusOK)
	wantStatus(t, from(), http.StatusTooManyRequests)
	change := func(l Live) {
		t.Helper()
		if err := b.Change(l); err != nil {
			t.Fatal(err)
		}
	}
	change(Live{KeyRate: Rate{PerSecond: 1, Burst: 1}, IPRate: Rate{PerSecond: 1, Burst: 100}})
	wantStatus(t, from(), http.StatusTooManyRequests) // nothing has changed: no bucket is full again

	change(Live{KeyRate: Rate{PerSecond: 5, Burst: 2}, IPRate: Rate{PerSecond: 1, Burst: 100}})
	if w := from(); w.Code != http.StatusOK || w.Header().Get("RateLimit") != `"key";r=1;t=1` {
		t.Errorf("%d, RateLimit %s", w.Code, w.Header().Get("RateLimit"))
	}

	change(Live{}) // no limits
	for range 20 {
		if w := from(); w.Code != http.StatusOK || w.Header().Get("RateLimit") != "" {
			t.Fatalf("%d, RateLimit %q", w.Code, w.Header().Get("RateLimit"))
		}
	}
	w := b.get(t, "/limits")
	if requests := decode(t, w)["requests"].(map[string]any); requests["key"] != nil || requests["address"] != nil {
		t.Errorf("limits are %s", w.Body)
	}

	// One address of many behind a proxy, once that is trusted.
	change(Live{IPRate: Rate{PerSecond: 1, Burst: 1}})
	wantStatus(t, from("X-Forwarded-For", "198.51.100.1"), http.StatusOK)
	wantStatus(t, from("X-Forwarded-For", "198.51.100.2"), http.StatusTooManyRequests)
	change(Live{IPRate: Rate{PerSecond: 1, Burst: 1}, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}})
	wantStatus(t, from("X-Forwarded-For", "198.51.100.2"), http.StatusOK)
	wantStatus(t, from("X-Forwarded-For", "198.51.100.2"), http.StatusTooManyRequests)
	wantStatus(t, from("X-Forwarded-For", "198.51.100.3"), http.StatusOK)
}

// TestChangeBesideRequests is for the race detector.
func TestChangeBesideRequests(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	var all sync.WaitGroup
	defer all.Wait()
	for range 4 {
		all.Go(func() {
			for range 20 {
				if w := b.get(t, "/limits"); w.Code != http.StatusOK && w.Code != http.StatusTooManyRequests {
					t.Errorf("%d %s", w.Code, w.Body)
				}
			}
		})
	}
	for i := range 50 {
		if err := b.Change(Live{IPRate: Rate{PerSecond: float64(i % 3), Burst: 5}, KeyRate: Rate{PerSecond: float64(i % 2)}}); err != nil {
			t.Fatal(err)
		}
	}
}
