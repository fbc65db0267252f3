package worker

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"exportd/internal/backoff"
	"exportd/internal/panics"
	"exportd/internal/telemetry"
	"exportd/jobs"
)

const (
	// rescueEvery is how often a rescuer asks what is due. It asks ahead, by dueAhead, and does at its time
	// what is not due yet: nothing is late by the asking that was put off by more than a second. The rest of
	// dueAhead is for the answer to the next question.
	rescueEvery = time.Second
	dueAhead    = rescueEvery + time.Second/2
	// tidyEvery is how often it asks for jobs that have ended, of which nobody waits.
	tidyEvery = 5 * time.Second
	// dueBatch is how many due documents are asked for at a time, and dutiesAtOnce how many are worked on
	// side by side, of those somebody waits for and of the others each: at commits of 40 ms about 180 a
	// second.
	dueBatch     = 200
	dutiesAtOnce = 16
	// maxDuePages bounds the pages that a round goes through to find dueBatch documents that are not to be
	// passed by: 5,000 documents that nobody can look after stand before the rest.
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
	loops.Go(func() { p.Panics.Loop(ctx, panics.Rescuer, func() { p.tidy(ctx, work) }) })
	defer func() {
		loops.Wait()
		p.leave(ctx)
	}()
	tick := time.NewTicker(rescueEvery)
	defer tick.Stop()
	pauses := backoff.Doubling(jobs.RoleTTL, maxAskPause)
	r := &rescuer{loops: &loops}
	for {
		p.pulse.beat(rescuing)
		if p.Panics.Run(panics.Rescuer, func() { p.turn(ctx, work, r) }) {
			pauses.Reset()
		} else {
			// Whoever cannot go through what is due must not stand before one who can.
			p.leave(ctx)
			wait(ctx, pauses.Next())
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-p.shares.changes:
		}
	}
}

// rescuer is what a worker's rescuer remembers from turn to turn.
type rescuer struct {
	loops                 *sync.WaitGroup // what goes on beside the turns
	pointers, batches     time.Time
	looked                audit
	batchesBusy, lookBusy atomic.Bool
}

// turn renews the partitions, and does what is due in them.
func (p *Pool) turn(ctx, work context.Context, r *rescuer) {
	p.hold(ctx)
	begun := p.Now()
	if shards := p.shares.shards(begun); len(shards) > 0 {
		full, duties := p.round(ctx, work, shards, jobs.DueJobs, jobs.DueParts, jobs.DueCallbacks, jobs.DuePlaces)
		p.divide(ctx, full || p.shares.tidyFull.Load() || p.Now().Sub(begun) > rescueEvery, duties)
	}
	if !p.shares.divides(begun) {
		return
	}
	if begun.Sub(r.batches) >= batchesEvery && r.batchesBusy.CompareAndSwap(false, true) { // they take long, what is due must not wait
		r.batches = begun
		r.loops.Go(func() {
			defer r.batchesBusy.Store(false)
			p.Panics.Run(panics.Rescuer, func() { p.runBatches(ctx) })
		})
	}
	if r.looked.due(begun) && r.lookBusy.CompareAndSwap(false, true) {
		r.loops.Go(func() {
			defer r.lookBusy.Store(false)
			p.Panics.Run(panics.Rescuer, func() { p.auditRecords(work, &r.looked) })
		})
	}
	if begun.Sub(r.pointers) > pointersEvery {
		r.pointers = begun
		_ = p.Store.PurgePointers(work, begun) // again in 10 minutes
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

// round does what is due of some classes in some shards, and has what is about to be due done until running
// ends. It is full when it has left something.
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

// roundOf begins the duties of a class, or hands them to later, and says how many, and whether there are
// more.
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
			g.Go(panics.Task(func() error { p.wakeOrPass(ctx, work, kind, d, g.purge); return nil }))
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
	// A document at which the rescuer panics is passed by, as one that cannot be looked after for another
	// reason.
	err := panics.Do(func() error { return p.wake(ctx, work, kind, d, purge) })
	p.Panics.Tell(panics.Due, err, zap.String("document", d.Key))
	p.skipped.note(d.Key, p.Now(), err)
}

// wake does what is due for a document. After an error, it is passed by for a while. What it begins of that
// goes on under work.
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
	var seen woken
	j, err := p.Store.Update(ctx, id, "rescuer "+p.ID, func(tx *jobs.Tx) error {
		var err error
		duty, err = tx.Wake()
		seen.note(tx)
		return err
	})
	if errors.Is(err, jobs.ErrNotFound) {
		return nil // purged meanwhile
	}
	if err != nil {
		if errors.Is(err, jobs.ErrUnknownSchema) {
			return nil // the build that wrote it looks after it
		}
		p.Log.Warn("cannot wake job", append(p.fieldsOfWoken(id, &seen), zap.Error(err))...)
		return err
	}
	p.tellRescued(&seen, -1, duty == jobs.NotifyJob)
	switch duty {
	case jobs.NotifyJob:
		p.notify(ctx, jobs.QueueExports, jobs.Message{JobID: id})
	case jobs.RefillParts:
		p.refill(ctx, j)
	case jobs.Sweep:
		if err = p.sweep(ctx, j); err != nil {
			p.Log.Warn("cannot sweep; again later", append(p.fieldsOf(j), zap.Error(err))...)
		}
	case jobs.Purge:
		// Once more: a worker stopped through both sweeps may have left an object since.
		if !j.Swept() {
			if _, err = p.Exporter.Sweep(ctx, j); err != nil {
				p.Log.Warn("cannot purge; again later", append(p.fieldsOf(j), zap.Error(err))...)
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
	var seen woken
	_, err := p.Store.UpdatePart(ctx, m.JobID, jobs.PartID(m.PlanEpoch, m.Part), "rescuer "+p.ID, func(tx *jobs.Tx) error {
		var err error
		notify, err = tx.WakePart(m.PlanEpoch, m.Part)
		seen.note(tx)
		return err
	})
	if errors.Is(err, jobs.ErrNotFound) {
		return p.Store.Retire(ctx, d) // of a job that is gone, if the part is not gone too
	}
	if err != nil {
		p.Log.Warn("cannot wake part", append(p.fieldsOfWoken(m.JobID, &seen), zap.Int("part", m.Part), zap.Error(err))...)
		return err
	}
	p.tellRescued(&seen, m.Part, notify)
	if notify {
		p.notify(ctx, jobs.QueueParts, m)
	}
	return nil
}

func (p *Pool) wakeCallback(ctx, work context.Context, d jobs.Due) error {
	m, notify := d.Message, false
	requestID := ""
	cb, err := p.Store.UpdateCallback(ctx, m.CallbackID, "rescuer "+p.ID, func(tx *jobs.CallbackTx) error {
		var err error
		requestID = tx.Callback.RequestID
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
		p.Log.Warn("cannot wake callback", zap.String("job_id", m.JobID), zap.String("request_id", requestID), zap.String("callback_id", m.CallbackID), zap.Error(err))
		return err
	}
	if notify {
		p.Log.Debug("rescuer", zap.String("job_id", cb.JobID), zap.String("request_id", cb.RequestID), zap.Int("attempt", cb.Attempt), zap.String("org_id", cb.OrgID),
			zap.String("callback_id", cb.ID), zap.String("worker", p.ID), zap.Bool("notified", true))
		p.beginCallback(ctx, work, cb.Origin, cb.OrgID, m)
	}
	return nil
}

func (p *Pool) wakePlace(ctx context.Context, d jobs.Due) error {
	next, err := p.Store.WakePlace(ctx, d)
	if err != nil {
		p.Log.Warn("cannot look after a place of running jobs", zap.String("document", d.Key), zap.Error(err))
		return err
	}
	for _, id := range next {
		p.notify(ctx, jobs.QueueExports, jobs.Message{JobID: id})
	}
	return nil
}
