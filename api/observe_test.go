package api

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// TestRequestMetrics: requests are counted and timed under OpenTelemetry's names, an invented method as its
// _OTHER, a path without a route without one, and what the service is at fault for with its error.type.
func TestRequestMetrics(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	b := newBench(t, func(c *Config) { c.Metrics = registry })
	b.get(t, "/workspaces")
	for _, r := range []*http.Request{
		httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/workspaces", nil),
		httptest.NewRequestWithContext(t.Context(), "BREW", "/coffee", nil),
	} {
		b.ServeHTTP(httptest.NewRecorder(), r)
	}
	b.jobs.err = fmt.Errorf("out of order")
	b.get(t, "/exports")
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]uint64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			label := map[string]string{}
			for _, l := range m.GetLabel() {
				label[l.GetName()] = l.GetValue()
			}
			switch f.GetName() {
			case "http_server_request_duration_seconds":
				got[fmt.Sprint(label)] = m.GetHistogram().GetSampleCount()
				if n := len(m.GetHistogram().GetBucket()); n != 15 {
					t.Errorf("%d buckets", n)
				}
			case "http_server_active_requests":
				if label["url_scheme"] != "http" || label["http_request_method"] == "" || m.GetGauge().GetValue() != 0 {
					t.Errorf("%v of %v are being answered", m.GetGauge().GetValue(), label)
				}
			}
		}
	}
	want := map[string]uint64{}
	for _, l := range [][4]string{{"GET", "/workspaces", "200", ""}, {"GET", "/workspaces", "401", ""}, {"_OTHER", "", "404", ""}, {"GET", "/exports", "500", "500"}} {
		want[fmt.Sprint(map[string]string{"http_request_method": l[0], "http_route": l[1], "http_response_status_code": l[2], "error_type": l[3], "url_scheme": "http"})] = 1
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("requests are\n%v, want\n%v", got, want)
	}
}
