package api

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are labelled by route pattern, never by path: paths hold ids. Those of requests have the names,
// labels and buckets of OpenTelemetry's http.server.request.duration and http.server.active_requests, in the
// form that Prometheus gives them: https://opentelemetry.io/docs/specs/semconv/http/http-metrics/
type metrics struct {
	duration *prometheus.HistogramVec
	active   *prometheus.GaugeVec
	unlogged prometheus.Counter
	waiting  prometheus.Gauge
	cut      *prometheus.CounterVec
	barred   prometheus.Gauge
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	scheme := prometheus.Labels{"url_scheme": "http"} // as it arrives here: TLS ends before
	m := &metrics{
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "http_server_request_duration_seconds", ConstLabels: scheme,
			Help: "Requests: time from headers to the end of the answer, waits (25 s at most) and event streams included. Status 499: the caller went away.",
			// OpenTelemetry's, and one behind the longest wait.
			Buckets: []float64{.005, .01, .025, .05, .075, .1, .25, .5, .75, 1, 2.5, 5, 7.5, 10, 30},
		}, []string{"http_request_method", "http_route", "http_response_status_code", "error_type"}),
		active: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "http_server_active_requests", Help: "Requests being answered.", ConstLabels: scheme,
		}, []string{"http_request_method"}),
		unlogged: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "exportd_http_requests_unlogged_total", Help: "Refused requests without a valid key that got no log line, as there were too many.",
		}),
		cut: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "exportd_http_connections_cut_total", Help: "Connections refused or cut: full, address (its share), rate (of its address), idle (made room), unwhole (requests without end).",
		}, []string{"reason"}),
		barred: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "exportd_http_barred_networks", Help: "Networks whose attempts to connect are mostly dropped by the kernel, as they opened connections too fast.",
		}),
		waiting: prometheus.NewGauge(prometheus.GaugeOpts{Name: "exportd_http_waits", Help: "Requests held until a job ends."}),
	}
	for _, why := range []string{cutFull, cutAddress, cutRate, cutIdle, cutIncomplete} { // the first one is an increase
		m.cut.WithLabelValues(why)
	}
	for _, c := range []prometheus.Collector{m.duration, m.active, m.unlogged, m.waiting, m.cut, m.barred} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	return m, nil
}
