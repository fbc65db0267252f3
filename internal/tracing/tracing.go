package tracing

import (
	"context"
	"net/http"
	"time"

	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// Tracer begins spans. A nil *Tracer begins none. Safe for concurrent use.
type Tracer struct {
	provider *sdk.TracerProvider
	exporter *quiet
	tracer   trace.Tracer
}

// closeWithin bounds the export of what is left when a process ends.
const closeWithin = 2 * time.Second

// Close exports what is left, for closeWithin at most.
func (t *Tracer) Close() {
	if t == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeWithin)
	defer cancel()
	if t.provider.Shutdown(ctx) != nil {
		t.exporter.abandon() // ends what is under way; the rest is dropped
	}
}

// Request begins the span of a request that arrived at a time and has been authenticated, in the trace of its
// caller, if it names one.
func (t *Tracer) Request(ctx context.Context, h http.Header, at time.Time, method, route string, attrs ...Attr) (context.Context, *Span) {
	if t == nil {
		return ctx, nil
	}
	attrs = append(attrs, httpMethod(method), httpRoute(route))
	return t.begin(ctx, beginning(route), fromHeader(h), Step{Name: method + " " + route, Kind: trace.SpanKindServer, At: at, Attrs: attrs})
}

// Begin begins a trace.
func (t *Tracer) Begin(ctx context.Context, s Step) (context.Context, *Span) {
	if t == nil {
		return ctx, nil
	}
	return t.begin(ctx, beginning(s.Name), trace.SpanContext{}, s)
}

// Continue goes on with the trace that a document names. With one that names none, ctx has no span: also not
// that of other work from which this was begun.
func (t *Tracer) Continue(ctx context.Context, traceparent string, s Step) (context.Context, *Span) {
	parent := parse(traceparent)
	if t == nil || !parent.IsValid() {
		return Without(ctx), nil
	}
	return t.begin(ctx, context.Background(), parent, s)
}

// ContinueSome is Continue for what there may be very many of in one trace: no more a second than traces are
// begun.
func (t *Tracer) ContinueSome(ctx context.Context, traceparent string, s Step) (context.Context, *Span) {
	parent := parse(traceparent)
	if t == nil || !parent.IsValid() {
		return Without(ctx), nil
	}
	return t.begin(ctx, beginning(s.Name), parent, s)
}

// begin has the SDK know a context of its own: what it puts there is not for the libraries that get ctx.
func (t *Tracer) begin(ctx, of context.Context, parent trace.SpanContext, s Step) (context.Context, *Span) {
	if parent.IsValid() {
		of = trace.ContextWithRemoteSpanContext(of, parent)
	}
	_, span := t.tracer.Start(of, s.Name, s.options()...)
	out := &Span{span, t.tracer}
	return context.WithValue(ctx, key{}, out), out
}

type key struct{}

// Without gives a context without a span.
func Without(ctx context.Context) context.Context {
	if current(ctx) == nil {
		return ctx
	}
	return context.WithValue(ctx, key{}, (*Span)(nil))
}

// From gives the span of a context, nil without one.
func From(ctx context.Context) *Span { return current(ctx) }

func current(ctx context.Context) *Span {
	s, _ := ctx.Value(key{}).(*Span)
	return s
}

// Traceparent names the span of a context as W3C has it, for whoever goes on with its trace; "" without one.
func Traceparent(ctx context.Context) string { return format(current(ctx).context()) }

// TraceID is that of the trace that a document names; "" if it names none.
func TraceID(traceparent string) string {
	if c := parse(traceparent); c.IsValid() {
		return c.TraceID().String()
	}
	return ""
}

// IDs are those of the trace and span of a context, as in logs; empty without one.
func IDs(ctx context.Context) (traceID, spanID string) {
	c := current(ctx).context()
	if !c.IsValid() {
		return "", ""
	}
	return c.TraceID().String(), c.SpanID().String()
}
