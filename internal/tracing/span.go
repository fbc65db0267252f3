package tracing

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

// Span is a step under way. A nil *Span does nothing.
type Span struct {
	span   trace.Span
	tracer trace.Tracer
}

// Step is what a span is to be.
type Step struct {
	Name string
	Kind trace.SpanKind
	At   time.Time // when it began; now if zero
	// Links are traceparents of what it has to do with; those that make no sense are dropped.
	Links []string
	Attrs []Attr
}

// Kinds of steps: what a message or document is made in, what is done about it, and a call to a stranger.
const (
	Producer = trace.SpanKindProducer
	Consumer = trace.SpanKindConsumer
	Client   = trace.SpanKindClient
)

func (s Step) options() []trace.SpanStartOption {
	opts := []trace.SpanStartOption{trace.WithSpanKind(s.Kind), trace.WithAttributes(s.Attrs...)}
	if !s.At.IsZero() {
		opts = append(opts, trace.WithTimestamp(s.At))
	}
	for _, l := range s.Links {
		if c := parse(l); c.IsValid() {
			opts = append(opts, trace.WithLinks(trace.Link{SpanContext: c}))
		}
	}
	return opts
}

// Start begins a step of the span of ctx; none without one that is recorded.
func Start(ctx context.Context, s Step) (context.Context, *Span) {
	parent := current(ctx)
	if !parent.Recording() {
		return ctx, nil
	}
	_, span := parent.tracer.Start(trace.ContextWithSpan(context.Background(), parent.span), s.Name, s.options()...)
	out := &Span{span, parent.tracer}
	return context.WithValue(ctx, key{}, out), out
}

// Past notes a step of the span of ctx that is over.
func Past(ctx context.Context, s Step, end time.Time) {
	if _, span := Start(ctx, s); span != nil {
		span.span.End(trace.WithTimestamp(end))
	}
}

// Recording reports whether anybody will see the span.
func (s *Span) Recording() bool { return s != nil && s.span.IsRecording() }

func (s *Span) context() trace.SpanContext {
	if s == nil {
		return trace.SpanContext{}
	}
	return s.span.SpanContext()
}

// Set adds what became known.
func (s *Span) Set(attrs ...Attr) {
	if s.Recording() {
		s.span.SetAttributes(attrs...)
	}
}

// Link notes the trace of something that the step has to do with.
func (s *Span) Link(traceparent string) {
	if c := parse(traceparent); s.Recording() && c.IsValid() {
		s.span.AddLink(trace.Link{SpanContext: c})
	}
}

// Fail says that the step failed, by a code from a closed set: an error's text may hold anything.
func (s *Span) Fail(code string) {
	if s.Recording() && code != "" {
		s.span.SetStatus(codes.Error, "")
		s.span.SetAttributes(errorType(code))
	}
}

// End ends the step.
func (s *Span) End() {
	if s != nil {
		s.span.End()
	}
}
