package worker

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"exportd/internal/jobstore"
	"exportd/jobs"
)

const (
	// rescueEvery is how often the rescuer asks what is due: the most by which a retry or a
	// taken-over lease is late.
	rescueEvery = time.Second
	// rescuerTTL is how long the role stays with a rescuer that shows no life.
	rescuerTTL = 10 * time.Second
	// dueBatch is how many due documents are asked for at a time, and dutiesAtOnce how many
	// are worked on side by side: a burst is worked off at some hundred a second.
	dueBatch     = 200
	dutiesAtOnce = 8
	// pointersEvery is how often idempotency keys whose life is over are deleted.
	pointersEvery = 10 * time.Minute
)

// rescue does, in one worker of all, what is due for jobs, parts and callbacks.
func (p *Pool) rescue(ctx, work context.Context) {
	tick := time.NewTicker(rescueEvery)
	defer tick.Stop()
	var until, pointers time.Time
	var batches sync.WaitGroup
	var batchesBusy atomic.Bool
	defer func() {
		batches.Wait()
		if p.Now().Before(until) {
			ctx, cancel := detached(ctx)
			defer cancel()
			_ = p.Store.Release(ctx, "rescuer", p.ID) // else it lapses
		}
	}()
	for {
		now := p.Now()
		if now.Add(rescuerTTL / 2).After(until) {
			ask, cancel := context.WithTimeout(ctx, askWithin)
			if ok, err := p.Store.Acquire(ask, "rescuer", p.ID, rescuerTTL); err == nil && ok {
				until = now.Add(rescuerTTL)
			}
			cancel()
		}
		if now.Before(until) {
			if err := p.rescueDue(work); err != nil && ctx.Err() == nil {
				p.Log.Warn("cannot ask what is due", zap.Error(err))
			}
			if batchesBusy.CompareAndSwap(false, true) { // they take long, what is due must not wait
				batches.Go(func() {
					defer batchesBusy.Store(false)
					p.runBatches(ctx)
				})
			}
			if now.Sub(pointers) > pointersEvery {
				pointers = now
				_ = p.Store.PurgePointers(work, now) // again in 10 minutes
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (p *Pool) rescueDue(ctx context.Context) error {
	// Bounded, so that a rescuer that hangs gives way to the next holder of the role.
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	now := p.Now()
	var g errgroup.Group
	g.SetLimit(dutiesAtOnce)
	for _, kind := range []jobstore.DueKind{jobstore.DueJobs, jobstore.DueParts, jobstore.DueCallbacks, jobstore.DueEnded} {
		page, err := p.Store.Due(ctx, kind, jobstore.AllShards(), now, dueBatch, nil)
		if err != nil {
			return errors.Join(err, g.Wait())
		}
		for _, d := range page.Docs {
			g.Go(func() error { p.wake(ctx, kind, d.Message); return nil })
		}
	}
	return g.Wait()
}

func (p *Pool) wake(ctx context.Context, kind jobstore.DueKind, m jobs.Message) {
	switch kind {
	case jobstore.DueParts:
		p.wakePart(ctx, m)
	case jobstore.DueCallbacks:
		p.wakeCallback(ctx, m)
	default:
		p.wakeJob(ctx, m.JobID)
	}
}

func (p *Pool) wakeJob(ctx context.Context, id string) {
	var duty jobs.Duty
	j, err := p.Store.Update(ctx, id, "rescuer "+p.ID, func(tx *jobs.Tx) error {
		var err error
		duty, err = tx.Wake()
		return err
	})
	if err != nil {
		if !errors.Is(err, jobs.ErrNotFound) {
			p.Log.Warn("cannot wake job", zap.String("job_id", id), zap.Error(err))
		}
		return
	}
	switch duty {
	case jobs.RingJob:
		p.ring(ctx, jobs.QueueExports, jobs.Message{JobID: id})
	case jobs.RefillParts:
		p.refill(ctx, j)
	case jobs.Sweep:
		if err = p.sweep(ctx, j); err != nil {
			p.Log.Warn("cannot sweep; again later", zap.String("job_id", id), zap.Error(err))
		}
	case jobs.Purge:
		// Once more: a worker stopped through both sweeps may have left an object since.
		if _, err = p.Exporter.Sweep(ctx, j); err == nil {
			err = p.Store.Purge(ctx, j)
		}
		if err != nil {
			p.Log.Warn("cannot purge; again later", zap.String("job_id", id), zap.Error(err))
		}
	}
}

func (p *Pool) sweep(ctx context.Context, j *jobs.Job) error {
	if _, err := p.Exporter.Sweep(ctx, j); err != nil {
		return err
	}
	_, err := p.Store.Update(ctx, j.ID, "rescuer "+p.ID, func(tx *jobs.Tx) error {
		if tx.Job.Epoch != j.Epoch {
			return jobs.ErrNotDue // a rerun began meanwhile
		}
		return tx.Cleaned()
	})
	if errors.Is(err, jobs.ErrNotDue) {
		return nil
	}
	return err
}

func (p *Pool) wakePart(ctx context.Context, m jobs.Message) {
	ring := false
	_, err := p.Store.UpdatePart(ctx, m.JobID, jobs.PartID(m.PlanEpoch, m.Part), "rescuer "+p.ID, func(tx *jobs.Tx) error {
		var err error
		ring, err = tx.WakePart(m.PlanEpoch, m.Part)
		return err
	})
	if err != nil {
		if !errors.Is(err, jobs.ErrNotFound) {
			p.Log.Warn("cannot wake part", zap.String("job_id", m.JobID), zap.Int("part", m.Part), zap.Error(err))
		}
		return
	}
	if ring {
		p.ring(ctx, jobs.QueueParts, m)
	}
}

func (p *Pool) wakeCallback(ctx context.Context, m jobs.Message) {
	ring := false
	_, err := p.Store.UpdateCallback(ctx, m.CallbackID, "rescuer "+p.ID, func(tx *jobs.CallbackTx) error {
		var err error
		ring, err = tx.Wake()
		return err
	})
	if errors.Is(err, jobs.ErrInvalid) || !jobs.ValidCallbackID(m.CallbackID) {
		p.Log.Error("callback has a damaged document and is given up", zap.String("job_id", m.JobID), zap.String("callback_id", m.CallbackID), zap.Error(err))
		err = p.Store.RetireCallback(ctx, m.CallbackID)
	}
	if err != nil && !errors.Is(err, jobs.ErrNotFound) {
		p.Log.Warn("cannot wake callback", zap.String("job_id", m.JobID), zap.String("callback_id", m.CallbackID), zap.Error(err))
		return
	}
	if ring {
		p.ring(ctx, jobs.QueueCallbacks, m)
	}
}
