package worker

import (
	"context"
	"sync/atomic"
	"time"
)

const (
	// yieldStep is how long a part stands back at a time while a job of this worker runs.
	yieldStep = 5 * time.Millisecond
	// yieldSteps bounds it. Parts stand back one after the other, each after 256 rows, so that all of a
	// worker's together read 25,600 rows a second: small jobs get most of the processor, and a stream of them
	// still leaves large exports a seventh of their pace.
	yieldSteps = 2
	// lingerFor is how long after a small export the next one is expected: a caller who makes them one after
	// the other finds the worker as calm as a lone one does.
	lingerFor = 100 * time.Millisecond
)

// jobPriority counts the jobs at work: planning, small exports, composing.
type jobPriority struct {
	jobs    atomic.Int32
	until   atomic.Int64  // lingerFor after the last one ended, in Unix nanoseconds
	waiting chan struct{} // of the part that stands back
}

func newJobPriority() *jobPriority { return &jobPriority{waiting: make(chan struct{}, 1)} }

func (h *jobPriority) begin() { h.jobs.Add(1) }

// end is for a job that began. One that was cut into parts brings no others with it.
func (h *jobPriority) end(cut bool) {
	if !cut {
		h.until.Store(time.Now().Add(lingerFor).UnixNano())
	}
	h.jobs.Add(-1)
}

func (h *jobPriority) active() bool {
	return h.jobs.Load() > 0 || time.Now().UnixNano() < h.until.Load()
}

// yield lets the jobs of this worker go before its parts: jobs are small or about to be cut into parts, so
// that whoever waits for one waits for this.
func (h *jobPriority) yield(ctx context.Context) {
	if !h.active() {
		return
	}
	select {
	case h.waiting <- struct{}{}:
	case <-ctx.Done():
		return
	}
	defer func() { <-h.waiting }()
	for range yieldSteps {
		if !h.active() || ctx.Err() != nil {
			return
		}
		wait(ctx, yieldStep)
	}
}
