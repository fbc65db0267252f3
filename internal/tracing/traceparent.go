package tracing

import (
	"encoding/hex"
	"net/http"
	"strings"

	"go.opentelemetry.io/otel/trace"
)

// traceparentLen is the length of version 00 of W3C's traceparent: version, trace, span and flags in hex.
// https://www.w3.org/TR/trace-context/
const traceparentLen = 2 + 1 + 32 + 1 + 16 + 1 + 2

// Header is the name of the header, and of the attribute of messages.
const Header = "traceparent"

// fromHeader reads the caller's trace. A header that makes no sense, or several, count as none. A later
// version may have more behind what the first one has. tracestate and baggage are not read: nobody here could
// use what strangers write there, and it would have to be carried along.
func fromHeader(h http.Header) trace.SpanContext {
	values := h.Values(Header)
	if len(values) != 1 || len(values[0]) < traceparentLen {
		return trace.SpanContext{}
	}
	s := values[0]
	if version := s[:2]; version != "00" {
		if _, err := hex.DecodeString(version); err != nil || version == "ff" || len(s) > traceparentLen && s[traceparentLen] != '-' {
			return trace.SpanContext{}
		}
		s = "00" + s[2:traceparentLen]
	}
	return parse(s)
}

// parse reads what format gives; what makes no sense is not valid. Of the flags only "sampled" is kept.
func parse(s string) trace.SpanContext {
	if len(s) != traceparentLen || s[:3] != "00-" || s[35] != '-' || s[52] != '-' || strings.ToLower(s) != s {
		return trace.SpanContext{}
	}
	var traceID trace.TraceID
	var spanID trace.SpanID
	var flags [1]byte
	for _, part := range []struct {
		to   []byte
		from string
	}{{traceID[:], s[3:35]}, {spanID[:], s[36:52]}, {flags[:], s[53:]}} {
		if _, err := hex.Decode(part.to, []byte(part.from)); err != nil {
			return trace.SpanContext{}
		}
	}
	return trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: traceID, SpanID: spanID, TraceFlags: trace.TraceFlags(flags[0]) & trace.FlagsSampled, Remote: true,
	})
}

func format(c trace.SpanContext) string {
	if !c.IsValid() {
		return ""
	}
	return "00-" + c.TraceID().String() + "-" + c.SpanID().String() + "-" + (c.TraceFlags() & trace.FlagsSampled).String()
}
