package worker

import (
	"context"
	"errors"
	"sync"
	"time"

	"exportd/internal/export"
	"exportd/jobs"
)

// progressEvery is how often progress is looked at: what callers see of it moves at
// least every 2 s.
const progressEvery = 1500 * time.Millisecond

// renewFunc prolongs a lease and notes progress. It runs beside the work that the lease is for.
type renewFunc func(ctx context.Context, rows, bytes int64) error

// keep runs fn under a lease, renewing it beside: when progress moved, and every
// RenewEvery. When the lease is lost, or could not be renewed for so long that somebody else
// may have taken it, fn's context ends with ErrLeaseLost as its cause.
func (p *Pool) keep(ctx context.Context, progress *export.Progress, renew renewFunc, fn func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	done := make(chan struct{})
	var beat sync.WaitGroup
	beat.Go(func() { p.heartbeat(ctx, cancel, done, progress, renew) })
	err := fn(ctx)
	close(done)
	beat.Wait()
	if cause := context.Cause(ctx); err != nil && cause != nil && !errors.Is(err, cause) {
		err = errors.Join(cause, err)
	}
	return err
}

func (p *Pool) heartbeat(ctx context.Context, cancel context.CancelCauseFunc, done <-chan struct{}, progress *export.Progress, renew renewFunc) {
	tick := time.NewTicker(min(progressEvery, p.policy.RenewEvery))
	defer tick.Stop()
	renewed, rows := time.Now(), int64(0)
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
		// A renewal must not hang past the lease that it is to prolong.
		rctx, stop := context.WithTimeout(ctx, p.policy.LeaseFor/3)
		begun := time.Now()
		err := renew(rctx, now, progress.Bytes.Load())
		stop()
		switch {
		case err == nil:
			renewed, rows = begun, now
		case errors.Is(err, jobs.ErrLeaseLost), errors.Is(err, jobs.ErrNotFound), errors.Is(err, jobs.ErrInvalid):
			cancel(jobs.ErrLeaseLost)
			return
		case time.Since(renewed) > p.policy.LeaseFor:
			cancel(jobs.ErrLeaseLost)
			return
		}
	}
}

// detached gives a context for recording an outcome after the work's own context has
// ended: the record must outlive a shutdown, within 10 s.
func detached(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
}
