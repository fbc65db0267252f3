package telemetry

import (
	"net/http"
	"strconv"
	"strings"

	"go.uber.org/zap"
)

// TraceFields gives the trace that a request belongs to, as Cloud Logging wants it: of W3C's traceparent,
// else of the header that Google's load balancers add. None of a header that is not sane: strangers write
// them.
func TraceFields(h http.Header, project string) []zap.Field {
	trace, span := traceOf(h)
	return SpanFields(trace, span, project)
}

// SpanFields gives a span that is known, as Cloud Logging wants it; span is "" where only its trace is.
func SpanFields(trace, span, project string) []zap.Field {
	if trace == "" || project == "" {
		return nil
	}
	fields := []zap.Field{zap.String("logging.googleapis.com/trace", "projects/"+project+"/traces/"+trace)}
	if span != "" {
		fields = append(fields, zap.String("logging.googleapis.com/spanId", span))
	}
	return fields
}

func traceOf(h http.Header) (trace, span string) {
	// version-trace-parent-flags; versions above 00 may append more. https://www.w3.org/TR/trace-context/
	if f := strings.Split(h.Get("traceparent"), "-"); len(f) >= 4 && len(f[0]) == 2 && f[0] != "ff" && isHex(f[0], 2) && isID(f[1], 32) && isID(f[2], 16) && isHex(f[3], 2) && (f[0] != "00" || len(f) == 4) {
		return f[1], f[2]
	}
	// TRACE/SPAN;o=OPTIONS, the span in decimal.
	id, rest, ok := strings.Cut(h.Get("X-Cloud-Trace-Context"), "/")
	number, _, _ := strings.Cut(rest, ";")
	n, err := strconv.ParseUint(number, 10, 64)
	if !ok || err != nil || n == 0 || !isID(strings.ToLower(id), 32) {
		return "", ""
	}
	hex := strconv.FormatUint(n, 16)
	return strings.ToLower(id), strings.Repeat("0", 16-len(hex)) + hex
}

func isHex(s string, n int) bool {
	return len(s) == n && strings.Trim(s, "0123456789abcdef") == ""
}

// isID is isHex that is not all zero.
func isID(s string, n int) bool { return isHex(s, n) && strings.Trim(s, "0") != "" }
