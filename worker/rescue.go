package worker

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"exportd/internal/telemetry"
	"exportd/jobs"
)

const (
	// rescueEvery is how often a rescuer asks what is due. It asks ahead, by dueAhead, and does at its
	// time what is not due yet: nothing is late by the asking that was put off by more than a second.
	// The rest of dueAhead is for the answer to the next question.
	rescueEvery = time.Second
	dueAhead    = rescueEvery + time.Second/2
	// tidyEvery is how often it asks for jobs that have ended, of which nobody waits.
	tidyEvery = 5 * time.Second
	// dueBatch is how many due documents are asked for at a time, and dutiesAtOnce how many are
	// worked on side by side, of those somebody waits for and of the others each: at commits of
	// 40 ms about 180 a second.
	dueBatch     = 200
	dutiesAtOnce = 16
	// maxDuePages bounds the pages that a round goes through to find dueBatch documents that are
	// not to be passed by: 5,000 documents that nobody can look after stand before the rest.
	maxDuePages = 25
	// roundWithin bounds a round, so that a rescuer that hangs gives way to the next holder.
	roundWithin = time.Minute
	// pointersEvery is how often idempotency keys and receivers whose life is over are deleted.
	pointersEvery = 10 * time.Minute
	// batchesEvery is how often batches are asked for.
	batchesEvery = 3 * time.Second
)

// rescue holds partitions of the shards and does what is due in them.
func (p *Pool) rescue(ctx, work context.Context) {
	ctx, work = telemetry.WithLane(ctx, telemetry.LaneRescue), telemetry.WithLane(work, telemetry.LaneRescue)
	var loops sync.WaitGroup
	loops.Go(func() { p.tidy(ctx, work) })
	defer func() {
		loops.Wait()
		p.leave(ctx)
	}()
	tick := time.NewTicker(rescueEvery)
	defer tick.Stop()
	var pointers, batches time.Time
	var looked audit
	var batchesBusy, lookBusy atomic.Bool
	for {
		p.pulse.beat(rescuing)
		p.hold(ctx)
		begun := p.Now()
		if shards := p.shares.shards(begun); len(shards) > 0 {
			full, duties := p.round(ctx, work, shards, jobs.DueJobs, jobs.DueParts, jobs.DueCallbacks, jobs.DuePlaces)
			p.divide(ctx, full || p.shares.tidyFull.Load() || p.Now().Sub(begun) > rescueEvery, duties)
		}
		if p.shares.divides(begun) {
			if begun.Sub(batches) >= batchesEvery && batchesBusy.CompareAndSwap(false, true) { // they take long, what is due must not wait
				batches = begun
				loops.Go(func() {
					defer batchesBusy.Store(false)
					p.runBatches(ctx)
				})
			}
			if looked.due(begun) && lookBusy.CompareAndSwap(false, true) {
				loops.Go(func() {
					defer lookBusy.Store(false)
					p.auditRecords(work, &looked)
				})
			}
			if begun.Sub(pointers) > pointersEvery {
				pointers = begun
				_ = p.Store.PurgePointers(work, begun) // again in 10 minutes
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-p.shares.changes:
		}
	}
}

// tidy looks after jobs that have ended, beside what somebody waits for.
func (p *Pool) tidy(ctx, work context.Context) {
	for ctx.Err() == nil {
		full := false
		if shards := p.shares.shards(p.Now()); len(shards) > 0 {
			full, _ = p.round(ctx, work, shards, jobs.DueEnded)
		}
		p.shares.tidyFull.Store(full)
		if !full {
			wait(ctx, tidyEvery)
		}
	}
}

// round does what is due of some classes in some shards, and has what is about to be due done until
// running ends. It is full when it has left something.
func (p *Pool) round(running, work context.Context, shards []int, kinds ...jobs.DueKind) (full bool, did int) {
	ctx, cancel := context.WithTimeout(work, roundWithin)
	defer cancel()
	now := p.Now()
	g := &duties{}
	g.SetLimit(dutiesAtOnce)
	for _, kind := range kinds {
		n, more, err := p.roundOf(ctx, work, kind, shards, now, g, func(d jobs.Due) bool { return p.later(running, work, kind, d, now) })
		if err != nil && ctx.Err() == nil {
			p.Log.Warn("cannot ask what is due", zap.Error(err))
		}
		full = full || more
		did += n
		p.Metrics.Due(kind.String(), n)
	}
	_ = g.Wait() // none gives an error
	p.purge(ctx, g.ended)
	return full, did
}

// duties are those of a round.
type duties struct {
	errgroup.Group
	mu    sync.Mutex
	ended []*jobs.Job // to be purged together
}

func (d *duties) purge(j *jobs.Job) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ended = append(d.ended, j)
}

// purge deletes records whose life is over. Those that stay are passed by for a while.
func (p *Pool) purge(ctx context.Context, ended []*jobs.Job) {
	if len(ended) == 0 {
		return
	}
	err := p.Store.Purge(ctx, ended)
	if err != nil {
		p.Log.Warn("cannot purge; again later", zap.Int("jobs", len(ended)), zap.Error(err))
		for _, j := range ended {
			p.skipped.note(p.Store.JobKey(j.ID), p.Now(), err)
		}
	}
}

// roundOf begins the duties of a class, or hands them to later, and says how many, and whether there
// are more.
func (p *Pool) roundOf(ctx, work context.Context, kind jobs.DueKind, shards []int, now time.Time, g *duties, later func(jobs.Due) bool) (n int, more bool, err error) {
	var cursor *jobs.DueCursor
	until := now.Add(dueAhead)
	if kind == jobs.DueEnded {
		until = now // nobody waits for these, and their purges are put together
	}
	for range maxDuePages {
		page, err := p.Store.Due(ctx, kind, shards, until, dueBatch, cursor)
		if err != nil {
			return n, false, err
		}
		for _, d := range page.Docs {
			if p.skipped.skips(d.Key, now) || p.dueSoon.has(d.Key) {
				continue
			}
			if d.At.After(now) {
				if later(d) {
					n++
				}
				continue
			}
			n++
			g.Go(func() error { p.wakeOrPass(ctx, work, kind, d, g.purge); return nil })
		}
		if cursor = page.Next; cursor == nil {
			return n, false, nil
		}
		if n >= dueBatch {
			return n, true, nil
		}
	}
	return n, true, nil
}

func (p *Pool) wakeOrPass(ctx, work context.Context, kind jobs.DueKind, d jobs.Due, purge func(*jobs.Job)) {
	p.Metrics.Woken(kind.String(), d.At, p.Now())
	err := p.wake(ctx, work, kind, d, purge)
	p.skipped.note(d.Key, p.Now(), err)
}

// wake does what is due for a document. After an error, it is passed by for a while. What it begins
// of that goes on under work.
func (p *Pool) wake(ctx, work context.Context, kind jobs.DueKind, d jobs.Due, purge func(*jobs.Job)) error {
	if d.Foreign {
		return p.Store.Retire(ctx, d) // the store tells of it
	}
	switch kind {
	case jobs.DueParts:
		return p.wakePart(ctx, d)
	case jobs.DueCallbacks:
		return p.wakeCallback(ctx, work, d)
	case jobs.DuePlaces:
		return p.wakePlace(ctx, d)
	}
	return p.wakeJob(ctx, d.Message.JobID, purge)
}

// wakeJob does what is due for a job. One whose record goes is handed to purge.
func (p *Pool) wakeJob(ctx context.Context, id string, purge func(*jobs.Job)) error {
	var duty jobs.Duty
	j, err := p.Store.Update(ctx, id, "rescuer "+p.ID, func(tx *jobs.Tx) error {
		var err error
		duty, err = tx.Wake()
		return err
	})
	if errors.Is(err, jobs.ErrNotFound) {
		return nil // purged meanwhile
	}
	if err != nil {
		if errors.Is(err, jobs.ErrUnknownSchema) {
			return nil // the build that wrote it looks after it
		}
		p.Log.Warn("cannot wake job", zap.String("job_id", id), zap.Error(err))
		return err
	}
	switch duty {
	case jobs.NotifyJob:
		p.notify(ctx, jobs.QueueExports, jobs.Message{JobID: id})
	case jobs.RefillParts:
		p.refill(ctx, j)
	case jobs.Sweep:
		if err = p.sweep(ctx, j); err != nil {
			p.Log.Warn("cannot sweep; again later", zap.String("job_id", id), zap.Error(err))
		}
	case jobs.Purge:
		// Once more: a worker stopped through both sweeps may have left an object since.
		if !j.Swept() {
			if _, err = p.Exporter.Sweep(ctx, j); err != nil {
				p.Log.Warn("cannot purge; again later", zap.String("job_id", id), zap.Error(err))
				return err // wakeAt is not ahead
			}
		}
		purge(j)
	}
	return nil // whatever the duty came to, wakeAt is ahead, or the job is about to go
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

func (p *Pool) wakePart(ctx context.Context, d jobs.Due) error {
	m, notify := d.Message, false
	_, err := p.Store.UpdatePart(ctx, m.JobID, jobs.PartID(m.PlanEpoch, m.Part), "rescuer "+p.ID, func(tx *jobs.Tx) error {
		var err error
		notify, err = tx.WakePart(m.PlanEpoch, m.Part)
		return err
	})
	if errors.Is(err, jobs.ErrNotFound) {
		return p.Store.Retire(ctx, d) // of a job that is gone, if the part is not gone too
	}
	if err != nil {
		p.Log.Warn("cannot wake part", zap.String("job_id", m.JobID), zap.Int("part", m.Part), zap.Error(err))
		return err
	}
	if notify {
		p.notify(ctx, jobs.QueueParts, m)
	}
	return nil
}

func (p *Pool) wakeCallback(ctx, work context.Context, d jobs.Due) error {
	m, notify := d.Message, false
	cb, err := p.Store.UpdateCallback(ctx, m.CallbackID, "rescuer "+p.ID, func(tx *jobs.CallbackTx) error {
		var err error
		if notify, err = tx.Wake(); errors.Is(err, jobs.ErrInvalid) { // which the store tells of
			return tx.Invalidate()
		}
		return err
	})
	switch {
	case errors.Is(err, jobs.ErrNotFound), errors.Is(err, jobs.ErrUnknownSchema): // or another build looks after it
		return nil
	case errors.Is(err, jobs.ErrInvalid):
		return p.Store.Retire(ctx, d)
	case err != nil:
		p.Log.Warn("cannot wake callback", zap.String("job_id", m.JobID), zap.String("callback_id", m.CallbackID), zap.Error(err))
		return err
	}
	if notify {
		p.beginCallback(ctx, work, cb.Origin, cb.OrgID, m)
	}
	return nil
}

func (p *Pool) wakePlace(ctx context.Context, d jobs.Due) error {
	id, err := p.Store.WakePlace(ctx, d)
	if err != nil {
		p.Log.Warn("cannot look after a place of running jobs", zap.String("document", d.Key), zap.Error(err))
		return err
	}
	if id != "" {
		p.notify(ctx, jobs.QueueExports, jobs.Message{JobID: id})
	}
	return nil
}
