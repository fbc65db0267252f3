package firestoreserver

import (
	"context"
	"sync"
	"time"

	"exportd/internal/localcloud/firestoreserver/fsvalue"
)

// Transactions are optimistic, which under contention would mean that most of their work is thrown away and
// that some client runs out of attempts. So once two transactions have met on a document, the next ones that
// read it take turns: each reserves it from its read to its end, and commits of others that touch it wait.
// Reservations only order the work. Whether a commit is valid is decided by validation alone, so it is safe
// that every wait and every hold ends by itself.
const (
	// reserveWait bounds the wait of a read; the client gets ABORTED and tries again, well inside its
	// deadline of 60 s.
	reserveWait = 5 * time.Second
	// reserveHold bounds how long a transaction can make others wait.
	reserveHold = 5 * time.Second
	// commitWait bounds the wait of a commit, which then takes its chance.
	commitWait = 2 * time.Second
	// hotFor is how long a document stays one that transactions take turns on after they met on it.
	hotFor = 10 * time.Second
	// maxHot bounds the memory for such documents; beyond it all are forgotten.
	maxHot = 10_000
)

type documentKey struct {
	db   uint32
	path fsvalue.Path
}

type reservations struct {
	mu   sync.Mutex
	held map[documentKey]*reservation
	hot  map[documentKey]time.Time
}

type reservation struct {
	owner *transaction
	since time.Time
	freed chan struct{}
}

func newReservations() *reservations {
	return &reservations{held: map[documentKey]*reservation{}, hot: map[documentKey]time.Time{}}
}

// met notes that a transaction lost a document to another commit.
func (r *reservations) met(k documentKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.hot) >= maxHot {
		clear(r.hot)
	}
	r.hot[k] = time.Now()
}

// reserve gives t its turn on those of the documents that need turns. The error is ABORTED when that takes
// too long.
func (r *reservations) reserve(ctx context.Context, t *transaction, db uint32, paths []fsvalue.Path) error {
	for _, p := range paths {
		if err := r.reserveOne(ctx, t, documentKey{db, p}); err != nil {
			return err
		}
	}
	return nil
}

func (r *reservations) reserveOne(ctx context.Context, t *transaction, k documentKey) error {
	timer := time.NewTimer(reserveWait)
	defer timer.Stop()
	for {
		freed := r.try(t, k)
		if freed == nil {
			return nil
		}
		select {
		case <-freed:
		case <-timer.C:
			return errContention
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// try takes the reservation, or returns what to wait for.
func (r *reservations) try(t *transaction, k documentKey) <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if at, ok := r.hot[k]; !t.retry && (!ok || time.Since(at) > hotFor) {
		if ok {
			delete(r.hot, k)
		}
		return nil
	}
	if h := r.held[k]; h != nil && h.owner != t {
		if time.Since(h.since) < reserveHold {
			return h.freed
		}
		r.free(k, h)
	} else if h != nil {
		return nil
	}
	r.held[k] = &reservation{owner: t, since: time.Now(), freed: make(chan struct{})}
	t.mu.Lock()
	t.reserved = append(t.reserved, k)
	t.mu.Unlock()
	return nil
}

func (r *reservations) free(k documentKey, h *reservation) {
	delete(r.held, k)
	close(h.freed)
}

// release ends all turns of t.
func (r *reservations) release(t *transaction) {
	t.mu.Lock()
	keys := t.reserved
	t.reserved = nil
	t.mu.Unlock()
	if len(keys) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, k := range keys {
		if h := r.held[k]; h != nil && h.owner == t {
			r.free(k, h)
		}
	}
}

// wait lets the turns of others on the documents pass before a commit.
func (r *reservations) wait(ctx context.Context, t *transaction, db uint32, writes []*write) {
	var timer *time.Timer
	for _, w := range writes {
		for {
			freed := r.blocked(t, documentKey{db, w.path})
			if freed == nil {
				break
			}
			if timer == nil {
				timer = time.NewTimer(commitWait)
				defer timer.Stop()
			}
			select {
			case <-freed:
			case <-timer.C:
				return
			case <-ctx.Done():
				return
			}
		}
	}
}

func (r *reservations) blocked(t *transaction, k documentKey) <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if h := r.held[k]; h != nil && h.owner != t && time.Since(h.since) < reserveHold {
		return h.freed
	}
	return nil
}
