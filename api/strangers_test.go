package api

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// Whatever strangers invent makes no series and few log lines.
func TestStrangers(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	b := newBench(t, func(c *Config) { c.Metrics = registry })
	series := func() (n int) {
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			n += len(f.GetMetric())
		}
		return n
	}
	invent := func(i int) {
		long := strings.Repeat("X", i%3*1000)
		for _, r := range []*http.Request{
			httptest.NewRequestWithContext(t.Context(), fmt.Sprintf("M%d%s", i, long), "/workspaces", nil),
			httptest.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("/p%d%s", i, long), nil),
			withHeader(httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/workspaces", nil), fmt.Sprintf("h%d%s", i, long), long),
			withHeader(request(t, fmt.Sprintf("key_%d", i), http.MethodGet, "/workspaces"), "User-Agent", long, "X-Request-Id", long),
		} {
			r.Host = fmt.Sprintf("host%d.example", i)
			w := httptest.NewRecorder()
			b.ServeHTTP(w, r)
			if w.Code < 400 || w.Code >= 500 {
				t.Fatalf("%.20s %.20s = %d", r.Method, r.URL, w.Code)
			}
		}
	}
	for i := range 10 {
		invent(i)
	}
	before := series()
	const rounds = 2500
	for i := range rounds {
		invent(i)
	}
	if after := series(); after != before {
		t.Errorf("%d series after %d invented requests, want %d as before", after, 4*rounds, before)
	}
	lines := strings.Count(b.log.String(), "\n")
	if lines != strangerBurst { // the tests' clock stands
		t.Errorf("%d log lines, want %d", lines, strangerBurst)
	}
	if size := b.log.Len(); size > strangerBurst*1024 {
		t.Errorf("%d bytes of log in %d lines", size, lines)
	}
	b.get(t, "/workspaces")
	if got := strings.Count(b.log.String(), "\n"); got != lines+1 {
		t.Errorf("a request of a known key is not logged")
	}
	t.Logf("%d requests: %d series before and after, %d log lines of %d bytes", 4*rounds, before, lines, b.log.Len())
}

// TestForwarded: a list of addresses as long as headers may be costs no more than a short one.
func TestForwarded(t *testing.T) { // not parallel: it counts allocations
	proxies := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	for header, want := range map[string]string{
		"198.51.100.7":                      "198.51.100.7",
		"6.6.6.6, 198.51.100.7":             "198.51.100.7",
		"198.51.100.7, 10.1.1.1":            "198.51.100.7",
		"6.6.6.6|198.51.100.7 ,10.1.1.1|":   "10.0.0.1", // an empty value is no address
		"6.6.6.6|198.51.100.7|10.2.2.2":     "198.51.100.7",
		"nonsense":                          "10.0.0.1",
		strings.Repeat("10.1.1.1,", 30_000): "10.0.0.1",
		strings.Repeat("6.6.6.6,", 30_000) + strings.Repeat("10.1.1.1,", 40) + "10.1.1.1": "10.1.1.1",
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		r.RemoteAddr = "10.0.0.1:1234"
		r.Header["X-Forwarded-For"] = strings.Split(header, "|")
		if got := clientAddr(r, proxies).String(); got != want {
			t.Errorf("clientAddr(%.60q) = %s, want %s", header, got, want)
		}
		if allocs := testing.AllocsPerRun(100, func() { clientAddr(r, proxies) }); allocs > maxHops {
			t.Errorf("clientAddr(%.60q) makes %v allocations", header, allocs)
		}
	}
}

func TestLoopbackOnly(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(c *Config) { c.LoopbackOnly = true })
	for host, want := range map[string]int{
		"127.0.0.1:8080": http.StatusOK, "localhost": http.StatusOK, "[::1]:8080": http.StatusOK, "evil.example:8080": http.StatusMisdirectedRequest, "": http.StatusMisdirectedRequest,
	} {
		for _, path := range []string{"/healthz", "/workspaces", "/docs"} {
			r := request(t, "key_one1", http.MethodGet, path)
			r.Host = host
			w := httptest.NewRecorder()
			if b.ServeHTTP(w, r); w.Code != want {
				t.Errorf("%s at %q = %d, want %d", path, host, w.Code, want)
			}
		}
	}
}
