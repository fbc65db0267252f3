package worker

import (
	"context"
	"time"
)

const (
	// yieldStep is how long a part stands back at a time while a job of this worker runs.
	yieldStep = 5 * time.Millisecond
	// yieldSteps bounds it: a part encodes 256 KiB in some 5 ms and then stands back for 20
	// at most, so that small jobs get most of the processor and a stream of them still
	// leaves large exports a fifth of their pace.
	yieldSteps = 4
)

// yield lets the jobs of this worker go before its parts: jobs are small or about to be cut
// into parts, so that whoever waits for one waits for this.
func (p *Pool) yield(ctx context.Context) {
	for range yieldSteps {
		if p.urgent.Load() == 0 || ctx.Err() != nil {
			return
		}
		wait(ctx, yieldStep)
	}
}
