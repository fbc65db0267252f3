package jobstore

import (
	"context"
	"fmt"
	"sync"

	"exportd/jobs"
)

// reserving has the new jobs of a key with a budget be made one after the other by a process. All of them
// write the key's day on condition that nobody has since it was read: side by side, 20 a second of two
// processes took up to 7 s each, as most attempts were in vain.
type reserving struct {
	mu   sync.Mutex
	keys map[string]*keyTurn
}

func newReserving() *reserving { return &reserving{keys: map[string]*keyTurn{}} }

// keyTurn is who has the turn of a key, and how many want it.
type keyTurn struct {
	taken chan struct{}
	users int
}

// take waits for the turn of a key, or until ctx ends: jobs.ErrUnavailable.
func (r *reserving) take(ctx context.Context, keyID string) (leave func(), err error) {
	r.mu.Lock()
	t := r.keys[keyID]
	if t == nil {
		t = &keyTurn{taken: make(chan struct{}, 1)}
		r.keys[keyID] = t
	}
	t.users++
	r.mu.Unlock()
	done := func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if t.users--; t.users == 0 {
			delete(r.keys, keyID)
		}
	}
	select {
	case t.taken <- struct{}{}:
		return func() { <-t.taken; done() }, nil
	case <-ctx.Done():
		done()
		return nil, fmt.Errorf("wait for the budget of key %s: %w: %w", keyID, jobs.ErrUnavailable, context.Cause(ctx))
	}
}
