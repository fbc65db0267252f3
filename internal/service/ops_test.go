package service

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"

	"exportd/api"
	"exportd/internal/connection"
	"exportd/internal/panics"
	"exportd/internal/version"
)

func TestOps(t *testing.T) {
	t.Parallel()
	bad := errors.New("bad")
	metrics := prometheus.NewRegistry()
	count := prometheus.NewCounter(prometheus.CounterOpts{Name: "exportd_test_total", Help: "A test's."})
	metrics.MustRegister(count)
	count.Inc()
	metrics.MustRegister(buildInfo(version.Build{Version: "0.1.0", Commit: "b0ff6e2d3246", Go: "go1.26.8"}))
	for name, tc := range map[string]struct {
		path         string
		alive, check error
		want         int
		body         string
	}{
		"alive":     {"/livez", nil, bad, http.StatusOK, "ok"},
		"cut off":   {"/livez", bad, nil, http.StatusServiceUnavailable, "cut off"},
		"ready":     {"/readyz", bad, nil, http.StatusOK, "ok"},
		"not ready": {"/readyz", nil, bad, http.StatusServiceUnavailable, "firestore is unavailable"},
		"metrics":   {"/metrics", bad, bad, http.StatusOK, "exportd_test_total 1"},
		"build":     {"/metrics", bad, bad, http.StatusOK, `exportd_build_info{commit="b0ff6e2d3246",go="go1.26.8",modified="false",version="0.1.0"} 1`},
		"no route":  {"/", nil, nil, http.StatusNotFound, "not found"},
	} {
		w := httptest.NewRecorder()
		ops{
			alive: func() error { return tc.alive }, metrics: metrics, log: zap.NewNop(),
			checks: []api.Check{{Name: "firestore", Run: func(context.Context) error { return tc.check }}},
		}.handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, tc.path, nil))
		if w.Code != tc.want || !strings.Contains(w.Body.String(), tc.body) {
			t.Errorf("%s: %s = %d %s, want %d %s", name, tc.path, w.Code, w.Body, tc.want, tc.body)
		}
	}
}

// TestOpsPanic: a fault in what operators are answered, or in what a scrape asks, is told of, and ends no
// process.
func TestOpsPanic(t *testing.T) {
	t.Parallel()
	told := panics.NewReporter(zap.NewNop())
	h := ops{alive: func() error { panic("stepped on a mine") }, metrics: prometheus.NewRegistry(), log: zap.NewNop(), panics: told}
	w := httptest.NewRecorder()
	h.answered(h.handler()).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/livez", nil))
	if w.Code != http.StatusInternalServerError || strings.Contains(w.Body.String(), "mine") {
		t.Errorf("it is answered %d %s", w.Code, w.Body)
	}
	backlog := prometheus.NewRegistry()
	backlog.MustRegister((&Clients{panics: told}).backlog(zap.NewNop()), told) // without a store
	families, err := backlog.Gather()
	if err != nil {
		t.Fatal(err)
	}
	w = httptest.NewRecorder()
	promhttp.HandlerFor(backlog, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	for _, want := range []string{"exportd_backlog_up 0", `exportd_panics_total{where="checks"} 2`} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("after a panic %s is not in %v: %s", want, families, w.Body)
		}
	}
}

// A port on loopback answers to names of loopback alone; one for the cluster to any.
func TestOpsHosts(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		addr, host string
		want       int
	}{
		{"127.0.0.1:9090", "127.0.0.1:9090", http.StatusOK},
		{"127.0.0.1:9090", "localhost:9090", http.StatusOK},
		{"127.0.0.1:9090", "rebound.example:9090", http.StatusMisdirectedRequest},
		{"127.0.0.1:9090", "", http.StatusMisdirectedRequest},
		{"[::1]:9090", "rebound.example:9090", http.StatusMisdirectedRequest},
		{"0.0.0.0:9090", "10.1.2.3:9090", http.StatusOK},
		{"[::]:9090", "exportd-api:9090", http.StatusOK},
	} {
		o := ops{alive: func() error { return nil }, metrics: prometheus.NewRegistry(), log: zap.NewNop()}
		for _, path := range []string{"/livez", "/readyz", "/metrics"} {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
			r.Host = tc.host
			w := httptest.NewRecorder()
			atHome(net.TCPAddrFromAddrPort(netip.MustParseAddrPort(tc.addr)), o.handler()).ServeHTTP(w, r)
			if w.Code != tc.want {
				t.Errorf("%s at %s for host %q = %d, want %d", path, tc.addr, tc.host, w.Code, tc.want)
			}
		}
	}
}

// A process is cut off when it has called for a minute and nothing came, not when nobody calls.
func TestCutOff(t *testing.T) {
	t.Parallel()
	idle := &connection.Guard{}
	if err := cutOff(time.Now().Add(time.Hour), map[string]*connection.Guard{"firestore": idle}); err != nil {
		t.Errorf("without calls = %v", err)
	}
}

// Profiles are shown where they are asked for, and nowhere else: they tell what a process works on.
func TestOpsProfiles(t *testing.T) {
	t.Parallel()
	for _, shown := range []bool{false, true} {
		o := ops{alive: func() error { return nil }, metrics: prometheus.NewRegistry(), log: zap.NewNop(), pprof: shown}
		for path, want := range map[string]int{"/debug/pprof/": 200, "/debug/pprof/goroutine?debug=1": 200, "/debug/pprof/cmdline": 404} {
			w := httptest.NewRecorder()
			o.handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
			if !shown {
				want = http.StatusNotFound
			}
			if w.Code != want {
				t.Errorf("shown %t: %s = %d, want %d", shown, path, w.Code, want)
			}
		}
	}
}
