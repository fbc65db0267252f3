package worker

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// stoodBack is how long so many parts of a worker are away that yield once each, side by side.
func stoodBack(ctx context.Context, h *jobPriority, parts int) time.Duration {
	begun := time.Now()
	var all sync.WaitGroup
	for range parts {
		all.Go(func() { h.yield(ctx) })
	}
	all.Wait()
	return time.Since(begun)
}

// TestYield: parts go on at once in a calm worker, and one after the other beside a job and shortly after a
// small one. The time is that of the bubble.
func TestYield(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const each = yieldSteps * yieldStep
		h := newJobPriority()
		if got := stoodBack(t.Context(), h, 8); got != 0 {
			t.Errorf("calm: %v, want none", got)
		}
		h.begin()
		if got := stoodBack(t.Context(), h, 8); got != 8*each {
			t.Errorf("beside a job: %v, want %v", got, 8*each)
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if got := stoodBack(gone, h, 8); got != 0 {
			t.Errorf("of a part that is stopped: %v, want none", got)
		}
		h.begin()
		h.end(true)
		if got := stoodBack(t.Context(), h, 1); got != each {
			t.Errorf("beside the other of two: %v, want %v", got, each)
		}
		h.end(true)
		if got := stoodBack(t.Context(), h, 8); got != 0 {
			t.Errorf("after a job was cut into parts: %v, want none", got)
		}
		h.begin()
		h.end(false)
		if got := stoodBack(t.Context(), h, 2); got != 2*each {
			t.Errorf("shortly after a small job: %v, want %v", got, 2*each)
		}
		time.Sleep(lingerFor)
		if got := stoodBack(t.Context(), h, 2); got != 0 {
			t.Errorf("some time after a small job: %v, want none", got)
		}
	})
}
