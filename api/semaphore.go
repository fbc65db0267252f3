package api

import (
	"context"
	"sync"
)

// semaphore has places for requests that wait for a job, event streams too. Each costs memory and a
// connection, so there is a bound; and nobody may take what others need:
//
//   - an org holds at most as many as are free, so that one org alone gets half, however many
//     keys it has, the next one half of the rest: eleven that take all they can fill 4,000;
//   - a key holds at most three quarters of what is free, so that it leaves some of its
//     org's share to the org's other keys.
//
// Whoever holds none is refused only when there is none at all.
type semaphore struct {
	limit int

	mu    sync.Mutex
	held  int
	byOrg map[string]int // without zeros
	byKey map[string]int // without zeros
	freed chan struct{}  // closed when a place is given back; nil while nobody waits
}

func newSemaphore(limit int) *semaphore {
	return &semaphore{limit: limit, byOrg: map[string]int{}, byKey: map[string]int{}}
}

// refusal says why there is no place.
type refusal uint8

const (
	admitted refusal = iota
	full             // all are taken
	greedy           // the caller has its share
)

// acquire takes a place for a key of an org. leave gives it back, and is nil without one.
func (p *semaphore) acquire(org, key string) (leave func(), why refusal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	free := p.limit - p.held
	switch {
	case free <= 0:
		return nil, full
	case p.byOrg[org] >= free || 4*p.byKey[key] >= 3*free:
		return nil, greedy
	}
	p.add(org, key, 1)
	return p.releaser(org, key), admitted
}

// await is acquire that waits until ctx ends for a place that the caller may have.
func (p *semaphore) await(ctx context.Context, org, key string) (leave func(), why refusal) {
	for {
		freed := p.next() // before it is tried, so that none is missed
		if leave, why = p.acquire(org, key); why == admitted {
			return leave, why
		}
		select {
		case <-freed:
		case <-ctx.Done():
			return nil, why
		}
	}
}

// next is closed when the next place is given back.
func (p *semaphore) next() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.freed == nil {
		p.freed = make(chan struct{})
	}
	return p.freed
}

// acquireAny takes a place for somebody who has no share.
func (p *semaphore) acquireAny(org, key string) (leave func(), why refusal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.held >= p.limit {
		return nil, full
	}
	p.add(org, key, 1)
	return p.releaser(org, key), admitted
}

func (p *semaphore) releaser(org, key string) func() {
	return sync.OnceFunc(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.add(org, key, -1)
		if p.freed != nil {
			close(p.freed)
			p.freed = nil
		}
	})
}

func (p *semaphore) add(org, key string, n int) {
	p.held += n
	count := func(held map[string]int, name string) {
		if held[name] += n; held[name] == 0 {
			delete(held, name)
		}
	}
	count(p.byOrg, org)
	count(p.byKey, key)
}

// taken is how many places are held.
func (p *semaphore) taken() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.held
}

// heldBy is how many places an org holds.
func (p *semaphore) heldBy(org string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.byOrg[org]
}

// alone is how many places one key alone gets: three sevenths, as it stops at three quarters of what is free.
func (p *semaphore) alone() int { return (3*p.limit + 6) / 7 }
