// Package backoff says once how exportd waits before it tries again: each pause is twice the one before, up
// to a bound, and off by up to a half at random, so that those who were cut off together do not come back
// together.
package backoff

import (
	"context"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// Pauses are those between tries of one thing. They are for one goroutine.
type Pauses struct{ doubling backoff.ExponentialBackOff }

// Doubling begins with first and ends at most, each half as long to one and a half times as long.
func Doubling(first, most time.Duration) *Pauses {
	return &Pauses{backoff.ExponentialBackOff{InitialInterval: first, MaxInterval: most, Multiplier: 2, RandomizationFactor: 0.5}}
}

// Next is how long to wait this time.
func (p *Pauses) Next() time.Duration { return p.doubling.NextBackOff() }

// Reset begins with the first again: the last try got somewhere.
func (p *Pauses) Reset() { p.doubling.Reset() }

// Wait waits for Next, or until ctx ends: then it gives the cause.
func (p *Pauses) Wait(ctx context.Context) error { return Sleep(ctx, p.Next()) }

// Sleep waits for d, or until ctx ends: then it gives the cause.
func Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
