package api

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/time/rate"

	"exportd/internal/telemetry"
	"exportd/internal/tracing"
)

// observation is what is known about a request for its log line. No query string, no
// header values and no URLs that carry rights go in here.
type observation struct {
	requestID    string
	orgID, keyID string
	jobID        string
	targetKeyID  string     // the key that an admin changes
	client       netip.Addr // behind trusted proxies
	cause        error
	warning      error // something went wrong that did not change the answer
}

const observationKey = "exportd/observation"

// observe returns the request's observation.
func observe(c *gin.Context) *observation {
	if o, ok := c.Value(observationKey).(*observation); ok {
		return o
	}
	return new(observation) // before the middleware ran: nobody will read it
}

const headerRequestID = "X-Request-Id"

// requestID keeps an id that a proxy or caller gave, if it has a sane form.
func requestID(h http.Header) string {
	id := h.Get(headerRequestID)
	if len(id) < 8 || len(id) > 64 || strings.ContainsFunc(id, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && !strings.ContainsRune("-_.", r)
	}) {
		return strings.ToLower(rand.Text())
	}
	return id
}

// watch gives each request an id, answers panics, and writes one log line and the metrics.
func (s *Server) watch(c *gin.Context) {
	start := time.Now()
	o := &observation{requestID: requestID(c.Request.Header)}
	c.Set(observationKey, o)
	c.Header(headerRequestID, o.requestID)
	for name, value := range securityHeaders {
		c.Header(name, value)
	}
	active := s.metrics.active.WithLabelValues(methodLabel(c.Request.Method))
	active.Inc()
	defer func() {
		if p := recover(); p != nil {
			writeError(c, &panicError{p, debug.Stack()})
		}
		active.Dec()
		s.finish(c, o, time.Since(start))
	}()
	c.Next()
}

// panicError is a panic that was recovered from.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v", e.value) }

// securityHeaders are on every answer. The service has no page that may be framed, sniffed
// or stored; the console and the docs page bring a policy of their own.
var securityHeaders = map[string]string{
	"Cache-Control":             "no-store",
	"Content-Security-Policy":   "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
	"Referrer-Policy":           "no-referrer",
	"Strict-Transport-Security": "max-age=63072000",
	"X-Content-Type-Options":    "nosniff",
	"X-Frame-Options":           "DENY",
}

func (s *Server) finish(c *gin.Context, o *observation, took time.Duration) {
	status := c.Writer.Status()
	if c.Request.Context().Err() != nil && !c.Writer.Written() {
		status = statusClientGone
	}
	route, method := c.FullPath(), methodLabel(c.Request.Method)
	endSpan(c, o, status)
	s.metrics.duration.WithLabelValues(method, route, strconv.Itoa(status), errorLabel(status)).Observe(took.Seconds())
	if route == "" {
		route = "none"
	}

	level := zapcore.InfoLevel
	switch {
	case status >= 500:
		level = zapcore.ErrorLevel
	case o.cause != nil, o.warning != nil:
		level = zapcore.WarnLevel
	case strings.HasPrefix(route, "/healthz"), strings.HasPrefix(route, "/readyz"):
		level = zapcore.DebugLevel
	}
	line := s.log.Check(level, "request")
	if line == nil {
		return
	}
	dropped, ok := s.strangers.take(o, status, s.now())
	if !ok {
		s.metrics.unlogged.Inc()
		return
	}
	fields := []zap.Field{
		zap.String("request_id", o.requestID), zap.String("method", method), zap.String("route", route),
		zap.Int("status", status), zap.Float64("duration_ms", float64(took.Microseconds())/1000),
		zap.Object("httpRequest", telemetry.HTTPRequest{
			Method: method, Route: route, Status: status, Bytes: max(0, c.Writer.Size()), Took: took,
			RemoteIP: o.client.String(), UserAgent: shorten(c.Request.UserAgent()), Protocol: c.Request.Proto,
		}),
	}
	fields = append(fields, s.traceFields(c, o)...)
	for name, value := range map[string]string{"org_id": o.orgID, "key_id": o.keyID, "job_id": o.jobID, "target_key_id": o.targetKeyID} {
		if value != "" {
			fields = append(fields, zap.String(name, value))
		}
	}
	if dropped > 0 {
		fields = append(fields, zap.Int64("lines_dropped", dropped))
	}
	if o.cause != nil {
		fields = append(fields, zap.Error(o.cause))
		if p, ok := errors.AsType[*panicError](o.cause); ok {
			fields = append(fields, telemetry.StackTrace(p.value, p.stack))
		}
	}
	if o.warning != nil {
		fields = append(fields, zap.NamedError("warning", o.warning))
	}
	line.Write(fields...)
}

// traceFields lead from a line to its trace: that of the request's span, else what the caller says. Nobody
// is believed before it is known who asks.
func (s *Server) traceFields(c *gin.Context, o *observation) []zap.Field {
	if o.keyID == "" {
		return nil
	}
	if trace, span := tracing.IDs(c.Request.Context()); trace != "" {
		return telemetry.SpanFields(trace, span, s.traceProject)
	}
	return telemetry.TraceFields(c.Request.Header, s.traceProject)
}

// endSpan ends the span of a request that had one.
func endSpan(c *gin.Context, o *observation, status int) {
	span := tracing.From(c.Request.Context())
	span.Set(tracing.Status(status))
	if o.jobID != "" {
		span.Set(tracing.Job(o.jobID))
	}
	if status >= http.StatusInternalServerError {
		span.Fail(strconv.Itoa(status))
	}
	span.End()
}

// methods are those that HTTP has; what else a request calls its method is otherMethod in
// metrics and logs, which must not grow with what strangers invent.
var methods = []string{
	http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete,
	http.MethodConnect, http.MethodOptions, http.MethodTrace,
}

// otherMethod is OpenTelemetry's word for it.
const otherMethod = "_OTHER"

func methodLabel(method string) string {
	if slices.Contains(methods, method) {
		return method
	}
	return otherMethod
}

// errorLabel is error.type: set where the service is at fault, and else left out.
func errorLabel(status int) string {
	if status < http.StatusInternalServerError {
		return ""
	}
	return strconv.Itoa(status)
}

// strangers bounds the log lines of requests that were refused before anybody was known to
// have sent them: nobody without a key decides how much is written.
type strangers struct {
	lines   *rate.Limiter
	dropped atomic.Int64
}

// Lines of refused strangers a second, and at once: enough to see who tries what, at most
// 30 KiB a second.
const (
	strangerLines = 20
	strangerBurst = 100
)

func newStrangers() *strangers {
	return &strangers{lines: rate.NewLimiter(strangerLines, strangerBurst)}
}

// take says whether a request's line may be written, and how many were not since the last one.
func (s *strangers) take(o *observation, status int, now time.Time) (dropped int64, ok bool) {
	if o.keyID != "" || status < http.StatusBadRequest || status >= http.StatusInternalServerError {
		return 0, true
	}
	if !s.lines.AllowN(now, 1) {
		s.dropped.Add(1)
		return 0, false
	}
	return s.dropped.Swap(0), true
}

// metrics are labelled by route pattern, never by path: paths hold ids. Those of requests have the names,
// labels and buckets of OpenTelemetry's http.server.request.duration and http.server.active_requests, in
// the form that Prometheus gives them: https://opentelemetry.io/docs/specs/semconv/http/http-metrics/
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
	for _, why := range []string{cutFull, cutAddress, cutRate, cutIdle, cutUnwhole} { // the first one is an increase
		m.cut.WithLabelValues(why)
	}
	for _, c := range []prometheus.Collector{m.duration, m.active, m.unlogged, m.waiting, m.cut, m.barred} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	return m, nil
}
