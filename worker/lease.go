package worker

import (
	"context"
	"errors"
	"sync"
	"time"

	"exportd/internal/export"
	"exportd/internal/panics"
	"exportd/jobs"
)

// progressEvery is how often progress is looked at: what callers see of it moves at least every 2 s.
const progressEvery = 1500 * time.Millisecond

// A long part's document is written so often for long, and Firestore bears one write a second of a document.
// A part that has been at work for calmAfter notes its progress no more often than calmEvery: 26 writes in
// its busiest minute. Such parts have many beside them that move too.
const (
	calmAfter = 15 * time.Second
	calmEvery = 2500 * time.Millisecond // every second look
)

// renewFunc prolongs a lease and notes progress. It runs beside the work that the lease is for.
type renewFunc func(ctx context.Context, rows, bytes int64) error

// underLease runs fn under a lease, renewing it beside: when progress moved (if calm, not always), and every
// RenewEvery. When the lease is lost, or could not be renewed for so long that somebody else may have taken
// it, fn's context ends with ErrLeaseLost as its cause.
func (p *Pool) underLease(ctx context.Context, progress *export.Progress, calm bool, renew renewFunc, fn func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	done := make(chan struct{})
	var beat sync.WaitGroup
	beat.Go(func() {
		p.Panics.Loop(ctx, panics.Heartbeat, func() { p.heartbeat(ctx, cancel, done, progress, calm, renew) })
	})
	err := panics.Do(func() error { return fn(ctx) })
	close(done)
	beat.Wait()
	if cause := context.Cause(ctx); err != nil && cause != nil && !errors.Is(err, cause) {
		err = errors.Join(cause, err)
	}
	return err
}

func (p *Pool) heartbeat(ctx context.Context, cancel context.CancelCauseFunc, done <-chan struct{}, progress *export.Progress, calm bool, renew renewFunc) {
	tick := time.NewTicker(min(progressEvery, p.policy.RenewEvery))
	defer tick.Stop()
	start := time.Now()
	renewed, rows := start, int64(0)
	for {
		select {
		case <-done:
			return
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := progress.Rows.Load()
		if now == rows && time.Since(renewed) < p.policy.RenewEvery {
			continue
		}
		if calm && time.Since(start) > calmAfter && time.Since(renewed) < calmEvery {
			continue
		}
		// A renewal must not hang past the lease that it is to prolong.
		rctx, stop := context.WithTimeout(ctx, p.policy.LeaseFor/3)
		begun := time.Now()
		// Of a panic nothing is known but that the lease was not renewed: others may take it when it runs
		// out.
		err := panics.Do(func() error { return renew(rctx, now, progress.Bytes.Load()) })
		p.Panics.Tell(panics.Heartbeat, err)
		stop()
		switch {
		case err == nil:
			renewed, rows = begun, now
		case errors.Is(err, jobs.ErrLeaseLost), errors.Is(err, jobs.ErrNotFound), errors.Is(err, jobs.ErrInvalid),
			errors.Is(err, jobs.ErrUnknownSchema): // a later build has made it one of its own version
			cancel(jobs.ErrLeaseLost)
			return
		case time.Since(renewed) > p.policy.LeaseFor:
			cancel(jobs.ErrLeaseLost)
			return
		}
	}
}

// detached gives a context for recording an outcome after the work's own context has ended: the record must
// outlive a shutdown, within 10 s.
func detached(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
}
