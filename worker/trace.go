package worker

import (
	"context"
	"time"

	"exportd/internal/tracing"
	"exportd/jobs"
)

// tracedParts is of how many parts of a job the steps are traced, at most: those of a thousand would make a
// trace of 6,000 spans, which nobody reads and some collectors cut. Of the others there is a span only when
// they fail, and of those no more a second than a process may begin traces: all may fail, several times.
const tracedParts = 64

// tracesPart picks the parts that are traced, evenly: the same on each worker and at each attempt.
func tracesPart(j *jobs.Job, index int) bool {
	every := (j.PartsTotal + tracedParts - 1) / tracedParts
	return every <= 1 || index%every == 0
}

// claimTimes are when a claim was begun and committed, and for how long the message had waited for a slot.
type claimTimes struct {
	begun, ended time.Time
	waited       time.Duration
}

type messageKey struct{}

// messageOrigin is what is known of the message that led to a claim.
type messageOrigin struct {
	trace string
	at    time.Time
}

// withMessage notes when a message was published, and in whose trace.
func withMessage(ctx context.Context, d jobs.PulledMessage) context.Context {
	return context.WithValue(ctx, messageKey{}, messageOrigin{d.Trace, d.Published})
}

// waited is for how long the message of ctx has waited.
func (p *Pool) waited(ctx context.Context) time.Duration {
	d, ok := ctx.Value(messageKey{}).(messageOrigin)
	if !ok || d.at.IsZero() {
		return 0
	}
	return max(0, p.Now().Sub(d.at))
}

// traceWork begins the span of claimed work in the trace of its job, with a link to who notified.
func (p *Pool) traceWork(ctx context.Context, name string, trace string, c claimTimes, attrs ...tracing.Attr) (context.Context, *tracing.Span) {
	step := tracing.Step{Name: name, Kind: tracing.Consumer, At: c.begun, Attrs: append(attrs, tracing.Worker(p.ID))}
	if notified, ok := ctx.Value(messageKey{}).(messageOrigin); ok && notified.trace != "" {
		step.Links = []string{notified.trace}
	}
	ctx, span := p.Tracer.Continue(ctx, trace, step)
	if !c.begun.IsZero() {
		tracing.Past(ctx, tracing.Step{Name: "claim", At: c.begun}, c.ended)
	}
	return ctx, span
}

func jobAttrs(queue jobs.Queue, j *jobs.Job) []tracing.Attr {
	return append(tracing.Messaging(string(queue)), tracing.Job(j.ID), tracing.Org(j.OrgID), tracing.Dataset(string(j.Kind)), tracing.Attempt(j.Attempt))
}

// traceJob begins the span of an attempt at a job.
func (p *Pool) traceJob(ctx context.Context, name string, j *jobs.Job, c claimTimes) (context.Context, *tracing.Span) {
	if p.Tracer == nil {
		return ctx, nil
	}
	return p.traceWork(ctx, name, j.Trace, c, jobAttrs(jobs.QueueExports, j)...)
}

// tracePart begins the span of an attempt at a part, if that is traced.
func (p *Pool) tracePart(ctx context.Context, j *jobs.Job, part *jobs.Part, c claimTimes) (context.Context, *tracing.Span) {
	if p.Tracer == nil {
		return ctx, nil
	}
	if !tracesPart(j, part.Index) {
		return tracing.Without(ctx), nil
	}
	return p.traceWork(ctx, "process parts", j.Trace, c, append(jobAttrs(jobs.QueueParts, j), tracing.Part(part.Index), tracing.Rows(part.Rows))...)
}

// traceCallback begins the span of an attempt at a callback.
func (p *Pool) traceCallback(ctx context.Context, cb *jobs.Callback, trace string) (context.Context, *tracing.Span) {
	if p.Tracer == nil {
		return ctx, nil
	}
	return p.traceWork(ctx, "process callbacks", trace, claimTimes{},
		append(tracing.Messaging(string(jobs.QueueCallbacks)), tracing.Job(cb.JobID), tracing.Org(cb.OrgID), tracing.Attempt(cb.Attempt))...)
}

// rerunIn runs a job of a batch again, which begins another trace.
func (p *Pool) rerunIn(ctx context.Context, b *jobs.Batch, j *jobs.Job) error {
	traced, span := p.Tracer.Begin(ctx, tracing.Step{
		Name: "rerun", Kind: tracing.Producer, Links: []string{j.Trace}, Attrs: []tracing.Attr{tracing.Job(j.ID), tracing.Org(j.OrgID)},
	})
	defer span.End()
	_, err := p.Store.Update(ctx, j.ID, b.Actor, func(tx *jobs.Tx) error {
		err := tx.RerunIn(b)
		tx.BelongTo(tracing.Traceparent(traced))
		return err
	})
	if err != nil {
		span.Fail(string(jobs.AsFailure(err).Code))
	}
	return err
}

// traceEnd says in the span of ctx how an attempt ended. A part that failed, and had none, gets one.
func (p *Pool) traceEnd(ctx context.Context, j *jobs.Job, part int, begun time.Time, err error) {
	if p.Tracer == nil {
		return
	}
	span := tracing.From(ctx)
	if part < 0 {
		span.Set(tracing.State(string(j.State)), tracing.Rows(j.RowsDone), tracing.Bytes(j.BytesDone))
		if j.PartsTotal > 0 {
			span.Set(tracing.Parts(j.PartsTotal), tracing.TracedParts(min(j.PartsTotal, tracedParts)))
		}
	}
	if err == nil {
		return
	}
	code := string(jobs.AsFailure(err).Code)
	if span == nil && part >= 0 {
		_, span = p.Tracer.ContinueSome(ctx, j.Trace, tracing.Step{
			Name: "process parts", Kind: tracing.Consumer, At: begun, Attrs: append(jobAttrs(jobs.QueueParts, j), tracing.Part(part), tracing.Worker(p.ID)),
		})
		defer span.End()
	}
	span.Fail(code)
}
