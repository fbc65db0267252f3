package api

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"exportd/jobs"
)

// clock is a time that a test moves.
type clock struct{ offset atomic.Int64 }

func (c *clock) now() time.Time          { return noon.Add(time.Duration(c.offset.Load())) }
func (c *clock) advance(d time.Duration) { c.offset.Add(int64(d)) }

func TestKeyLimit(t *testing.T) {
	t.Parallel()
	var at clock
	b := newBench(t, func(c *Config) { c.KeyRate, c.Now = Rate{PerSecond: 2, Burst: 3}, at.now })
	for left := 2; left >= 0; left-- {
		w := b.get(t, "/workspaces")
		wantStatus(t, w, http.StatusOK)
		want := fmt.Sprintf(`"key";r=%d;t=%d`, left, (3-left+1)/2)
		if got := w.Header().Get("RateLimit"); got != want || w.Header().Get("RateLimit-Policy") != `"key";q=3;w=2` {
			t.Errorf("RateLimit = %s, RateLimit-Policy = %s, want %s", got, w.Header().Get("RateLimit-Policy"), want)
		}
	}
	calls := b.records.calls
	w := b.get(t, "/workspaces")
	wantStatus(t, w, http.StatusTooManyRequests)
	if w.Header().Get("Retry-After") != "1" || w.Header().Get("RateLimit") != `"key";r=0;t=1` || b.records.calls != calls {
		t.Errorf("headers = %v, %d reads", w.Header(), b.records.calls-calls)
	}
	if w := b.do(request(t, "key_two2", http.MethodGet, "/workspaces")); w.Code != http.StatusOK {
		t.Errorf("another key = %d, want 200", w.Code)
	}
	at.advance(time.Second) // two more
	for _, want := range []int{http.StatusOK, http.StatusOK, http.StatusTooManyRequests} {
		wantStatus(t, b.get(t, "/workspaces"), want)
	}
}

// Nobody can use up another's limit: only what the key signed counts.
func TestKeyLimitIsTheKeys(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(c *Config) { c.KeyRate = Rate{PerSecond: 1, Burst: 1} })
	for range 20 {
		r := request(t, "key_one1", http.MethodGet, "/workspaces")
		r.Header.Set("x-signature", strings.Repeat("0", 64))
		w := b.do(r)
		wantStatus(t, w, http.StatusUnauthorized)
		if w.Header().Get("RateLimit") != "" {
			t.Error("an unsigned request was told the key's limit")
		}
	}
	wantStatus(t, b.get(t, "/workspaces"), http.StatusOK)
}

func TestAddressLimit(t *testing.T) {
	t.Parallel()
	var at clock
	b := newBench(t, func(c *Config) { c.IPRate, c.Now = Rate{PerSecond: 0.5, Burst: 2}, at.now })
	from := func(addr, path string, header ...string) *httptest.ResponseRecorder {
		r := request(t, "key_one1", http.MethodGet, path, header...)
		r.RemoteAddr = addr
		return b.do(r)
	}
	wantStatus(t, from("192.0.2.1:1", "/workspaces"), http.StatusOK)
	wantStatus(t, from("192.0.2.1:2", "/nope"), http.StatusNotFound) // whatever it asks for
	w := from("192.0.2.1:3", "/workspaces", "X-Forwarded-For", "198.51.100.7")
	wantStatus(t, w, http.StatusTooManyRequests)
	if w.Header().Get("Retry-After") != "2" {
		t.Errorf("Retry-After = %s, want 2", w.Header().Get("Retry-After"))
	}
	wantStatus(t, from("192.0.2.1:4", "/healthz"), http.StatusOK) // the platform asks
	wantStatus(t, from("192.0.2.2:1", "/workspaces"), http.StatusOK)
	// An IPv6 /64 is one caller.
	wantStatus(t, from("[2001:db8::1]:1", "/workspaces"), http.StatusOK)
	wantStatus(t, from("[2001:db8::2]:1", "/workspaces"), http.StatusOK)
	wantStatus(t, from("[2001:db8::3]:1", "/workspaces"), http.StatusTooManyRequests)
	wantStatus(t, from("[2001:db8:0:1::1]:1", "/workspaces"), http.StatusOK)
	at.advance(2 * time.Second)
	wantStatus(t, from("192.0.2.1:5", "/workspaces"), http.StatusOK)
}

// 200 requests a second of one key pass the defaults of cmd/exportd.
func TestDefaultLimits(t *testing.T) {
	t.Parallel()
	var at clock
	b := newBench(t, func(c *Config) {
		c.KeyRate, c.IPRate, c.Now = Rate{PerSecond: 300}, Rate{PerSecond: 600}, at.now
	})
	for range 600 { // 3 s
		at.advance(5 * time.Millisecond)
		r := request(t, "key_one1", http.MethodGet, "/limits")
		w := httptest.NewRecorder()
		b.ServeHTTP(w, r)
		wantStatus(t, w, http.StatusOK)
	}
}

func TestBucketsAreBounded(t *testing.T) {
	t.Parallel()
	b, err := newBuckets(Rate{PerSecond: 1, Burst: 1})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 * maxBuckets {
		b.take(strconv.Itoa(i), noon)
	}
	cache := b.now.Load().cache
	cache.CleanUp()
	if n := cache.EstimatedSize(); n > maxBuckets {
		t.Errorf("%d buckets, want at most %d", n, maxBuckets)
	}
}

func TestClientAddr(t *testing.T) {
	t.Parallel()
	proxies := []netip.Prefix{netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("10.0.0.0/8")}
	for name, tc := range map[string]struct {
		remote    string
		forwarded []string
		want      string
	}{
		"no proxy":            {"192.0.2.1:1", nil, "192.0.2.1"},
		"stranger says so":    {"192.0.2.1:1", []string{"198.51.100.1"}, "192.0.2.1"},
		"proxy":               {"169.254.1.1:1", []string{"198.51.100.1"}, "198.51.100.1"},
		"proxy, spoofed":      {"169.254.1.1:1", []string{"203.0.113.9, 198.51.100.1"}, "198.51.100.1"},
		"proxy, spoofed line": {"169.254.1.1:1", []string{"203.0.113.9", "198.51.100.1"}, "198.51.100.1"},
		"two proxies":         {"169.254.1.1:1", []string{"203.0.113.9, 198.51.100.1, 10.0.0.1"}, "198.51.100.1"},
		"proxy says nothing":  {"169.254.1.1:1", nil, "169.254.1.1"},
		"rubbish":             {"169.254.1.1:1", []string{"198.51.100.1, x"}, "169.254.1.1"},
		"mapped":              {"[::ffff:169.254.1.1]:1", []string{"::ffff:198.51.100.1"}, "198.51.100.1"},
		"all proxies":         {"169.254.1.1:1", []string{"10.0.0.2, 10.0.0.1"}, "10.0.0.2"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
			r.RemoteAddr = tc.remote
			r.Header["X-Forwarded-For"] = tc.forwarded
			if got := clientAddr(r, proxies).String(); got != tc.want {
				t.Errorf("clientAddr = %s, want %s", got, tc.want)
			}
		})
	}
}

func TestShowLimits(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(c *Config) {
		c.KeyRate = Rate{PerSecond: 1, Burst: 10}
		c.Quotas = jobs.Limits{RunningJobs: 5, QueuedJobs: 100}
	})
	w := b.get(t, "/limits")
	wantStatus(t, w, http.StatusOK)
	const want = `{"budget":null,"connections":{"address":{"used":0,"limit":2143},"opened":null,"total":5000},"exports":{"maxBytes":null,"maxRows":null,"queued":{"used":5,"limit":100},"running":{"used":2,"limit":5}},` +
		`"requests":{"address":null,"key":{"perSecond":1,"burst":10,"left":9}},"signature":{"version":1,"minVersion":1,"warning":null},"testCallbacks":{"perSecond":0.08333333333333333,"burst":5,"left":5}}`
	if got := w.Body.String(); got != want {
		t.Errorf("limits =\n%s, want\n%s", got, want)
	}
	var v struct{ Requests map[string]*bucketView }
	if err := json.Unmarshal(b.get(t, "/limits").Body.Bytes(), &v); err != nil || v.Requests["key"].Left != 8 {
		t.Errorf("left = %+v, %v, want 8: looking takes none but the request's own", v, err)
	}
	wantStatus(t, b.do(request(t, "key_ops1", http.MethodGet, "/limits")), http.StatusOK)
	wantStatus(t, b.do(request(t, "key_none", http.MethodGet, "/limits")), http.StatusForbidden)
}

// TestShowConnections: the bounds of connections are those of the address that connected, not of whom a proxy
// speaks for.
func TestShowConnections(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(c *Config) {
		c.IPRate, c.MaxConnections, c.TrustedProxies = Rate{PerSecond: 100}, 700, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	})
	d := b.connections(nil)
	for _, addr := range []string{"192.0.2.1", "192.0.2.1", "2001:db8::1", "2001:db8::2", "10.1.2.3"} {
		ours, theirs := net.Pipe()
		c, why := d.admit(from{ours, addr})
		if why != "" {
			t.Fatal(why)
		}
		t.Cleanup(func() { _, _ = c.Close(), theirs.Close() })
	}
	for addr, want := range map[string]string{
		"192.0.2.1":   `{"address":{"used":2,"limit":300},"opened":{"perSecond":100,"burst":700,"left":698},"total":700}`,
		"2001:db8::3": `{"address":{"used":2,"limit":300},"opened":{"perSecond":100,"burst":700,"left":698},"total":700}`,
		"192.0.2.9":   `{"address":{"used":0,"limit":300},"opened":{"perSecond":100,"burst":700,"left":700},"total":700}`,
		"10.1.2.3":    `{"address":{"used":1,"limit":null},"opened":null,"total":700}`,
	} {
		r := request(t, "key_one1", http.MethodGet, "/limits", "X-Forwarded-For", "192.0.2.1")
		r.RemoteAddr = netip.AddrPortFrom(netip.MustParseAddr(addr), 9).String()
		var v struct{ Connections json.RawMessage }
		if err := json.Unmarshal(b.do(r).Body.Bytes(), &v); err != nil || string(v.Connections) != want {
			t.Errorf("from %s: connections = %s, %v, want %s", addr, v.Connections, err, want)
		}
	}
}

func TestRatesAreChecked(t *testing.T) {
	t.Parallel()
	for _, r := range []Rate{{PerSecond: -1}, {PerSecond: 1, Burst: -1}} {
		if _, err := New(Config{KeyRate: r}); err == nil || !strings.Contains(err.Error(), "KeyRate") {
			t.Errorf("New(KeyRate %+v) = %v", r, err)
		}
	}
	if got := []int{Rate{PerSecond: 300}.withDefaults().Burst, Rate{PerSecond: .1}.withDefaults().Burst}; !slices.Equal(got, []int{600, 1}) {
		t.Errorf("default bursts = %v", got)
	}
}
