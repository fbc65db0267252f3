package worker

import (
	"errors"
	"testing"
	"time"

	"exportd/internal/tracing"
	"exportd/jobs"
)

// TestNoTracerCostsNothing: where nothing is exported, no step of a job, part or callback allocates anything
// for it.
func TestNoTracerCostsNothing(t *testing.T) { // not parallel: it counts allocations
	p, failed := &Pool{}, errors.New("x")
	j := &jobs.Job{ID: "j", OrgID: "o", Kind: "vip-users", PartsTotal: 100, Trace: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}
	part := &jobs.Part{Index: 7, Rows: 1}
	cb := &jobs.Callback{JobID: "j", OrgID: "o"}
	c := claimTimes{begun: time.Now(), ended: time.Now()}
	if n := testing.AllocsPerRun(100, func() {
		ctx, span := p.traceJob(t.Context(), "process exports", j, c)
		p.traceEnd(ctx, j, -1, c.begun, failed)
		span.End()
		ctx, span = p.tracePart(t.Context(), j, part, c)
		p.traceEnd(ctx, j, part.Index, c.begun, failed)
		span.End()
		ctx, span = p.traceCallback(t.Context(), cb, j.Trace)
		_, commit := tracing.Start(ctx, tracing.Step{Name: "commit"})
		commit.End()
		span.End()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
