package api

import (
	"crypto/rand"
	"net/http"
	"net/netip"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"exportd/internal/panics"
	"exportd/internal/telemetry"
	"exportd/internal/tracing"
	"exportd/jobs"
)

// observation is what is known about a request for its log line. No query string, no header values and no
// URLs that carry rights go in here.
type observation struct {
	requestID    string
	orgID, keyID string
	jobID        string
	targetKeyID  string     // the key that an admin changes
	client       netip.Addr // behind trusted proxies
	cause        error
	warning      error // something went wrong that did not change the answer
}

// staged reports whether an error is one that a sandbox was asked for: nobody is to be woken by it.
func (o *observation) staged(status int) bool {
	return status >= http.StatusInternalServerError && o.cause == nil && jobs.InSandbox(o.orgID)
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
	caller := c.Request.Context() // that of a route has ended by the time the line is written
	defer func() {
		if p := recover(); p != nil {
			writeError(c, &panics.Error{Value: p, Stack: debug.Stack()})
		}
		active.Dec()
		s.finish(c, o, caller.Err() != nil, time.Since(start))
	}()
	c.Next()
}

// securityHeaders are on every answer. The service has no page that may be framed, sniffed or stored; the
// console and the docs page bring a policy of their own.
var securityHeaders = map[string]string{
	"Cache-Control":             "no-store",
	"Content-Security-Policy":   "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
	"Referrer-Policy":           "no-referrer",
	"Strict-Transport-Security": "max-age=63072000",
	"X-Content-Type-Options":    "nosniff",
	"X-Frame-Options":           "DENY",
}

func (s *Server) finish(c *gin.Context, o *observation, hungUp bool, took time.Duration) {
	status := c.Writer.Status()
	if hungUp && !c.Writer.Written() && status == http.StatusOK { // what has no body is written when all is over
		status = statusClientGone
	}
	route, method := c.FullPath(), methodLabel(c.Request.Method)
	endSpan(c, o, status)
	staged := o.staged(status)
	if !staged {
		s.metrics.duration.WithLabelValues(method, route, strconv.Itoa(status), errorLabel(status)).Observe(took.Seconds())
	}
	if route == "" {
		route = "none"
	}

	level := zapcore.InfoLevel
	switch {
	case staged:
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
		if p, ok := panics.Of(o.cause); ok {
			s.panics.Count(panics.Request, p)
			fields = append(fields, telemetry.StackTrace(p.Value, p.Stack))
		}
	}
	if o.warning != nil {
		fields = append(fields, zap.NamedError("warning", o.warning))
	}
	line.Write(fields...)
}

// traceFields lead from a line to its trace: that of the request's span, else what the caller says. Nobody is
// believed before it is known who asks.
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

// methods are those that HTTP has; what else a request calls its method is otherMethod in metrics and logs,
// which must not grow with what strangers invent.
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
