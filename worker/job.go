package worker

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"exportd/internal/export"
	"exportd/internal/panics"
	"exportd/internal/tracing"
	"exportd/jobs"
)

// handleJob claims a queued job.
func (p *Pool) handleJob(ctx context.Context, m jobs.Message) (func(context.Context), error) {
	var lease jobs.Lease
	beside, kept := false, false
	defer func() {
		if beside && !kept {
			<-p.sandbox
		}
	}()
	c := claimTimes{begun: time.Now()}
	j, err := p.Store.Update(ctx, m.JobID, p.actor, func(tx *jobs.Tx) error {
		if err := p.acquireSandbox(tx.Job, &beside); err != nil {
			return err
		}
		var err error
		lease, err = tx.Claim(p.ID)
		if errors.Is(err, jobs.ErrInvalid) {
			return tx.Invalidate()
		}
		return err
	})
	if err != nil || j.State != jobs.Running { // over its limit, the org's job stays queued
		return nil, err
	}
	c.ended = time.Now()
	work := func(ctx context.Context) {
		ctx, span := p.traceJob(ctx, "process exports", j, c)
		defer span.End()
		p.runJob(ctx, j, lease)
	}
	if kept = beside; kept {
		return func(ctx context.Context) { p.besideSlots(func() { work(ctx) }) }, nil
	}
	return work, nil
}

// runJob does what a claimed job's phase asks for and records how it ended.
func (p *Pool) runJob(ctx context.Context, j *jobs.Job, lease jobs.Lease) {
	begun := time.Now()
	if j.Phase == jobs.PhaseParts {
		p.refill(ctx, j)
		return
	}
	if !jobs.InSandbox(j.OrgID) { // nothing stands back for one
		p.priority.begin()
		defer func() { p.priority.end(j.Phase == jobs.PhaseParts) }()
	}
	var progress export.Progress
	phase := j.Phase
	err := p.underLease(ctx, &progress, false, p.renewJob(j.ID, lease, &progress), func(ctx context.Context) error {
		var err error
		if phase == jobs.PhaseFinalize {
			j, err = p.finalize(ctx, j, lease, &progress)
		} else {
			j, err = p.start(ctx, j, lease, &progress)
		}
		return err
	})
	p.end(ctx, j, lease, err, begun, progress.Spent())
}

// renewJob gives what keeps a job's lease.
func (p *Pool) renewJob(id string, lease jobs.Lease, progress *export.Progress) renewFunc {
	return func(ctx context.Context, rows, bytes int64) error {
		_, err := p.Store.Update(ctx, id, p.actor, func(tx *jobs.Tx) error {
			tx.Spent = progress.Spent()
			_, err := tx.Renew(lease, rows, bytes)
			return err
		})
		return err
	}
}

// start plans a job and, when one part is enough, writes its file.
func (p *Pool) start(ctx context.Context, j *jobs.Job, lease jobs.Lease, progress *export.Progress) (*jobs.Job, error) {
	plan, err := p.Exporter.Plan(ctx, j)
	progress.Counting.Store(int64(plan.Counting))
	progress.Cutting.Store(int64(plan.Cutting))
	if err != nil {
		return j, err
	}
	if len(plan.Parts) > 1 {
		if err := p.act(ctx, j, 0, progress); err != nil {
			return j, err
		}
		planned, err := p.Store.Update(ctx, j.ID, p.actor, func(tx *jobs.Tx) error {
			tx.Spent = progress.Spent()
			return tx.Plan(lease, plan.Snapshot, plan.Parts, plan.SheetRows)
		})
		if err != nil {
			return j, err
		}
		for i := range planned.NextPart {
			p.notify(ctx, jobs.QueueParts, jobs.Message{JobID: j.ID, PlanEpoch: planned.PlanEpoch, Part: i})
		}
		return planned, nil
	}
	// The file is written while the snapshot is noted: an attempt that dies before that has made nothing that
	// another snapshot could contradict.
	var part jobs.PartResult
	both, work := errgroup.WithContext(ctx)
	both.Go(panics.Task(func() error {
		_, err := p.Store.Update(work, j.ID, p.actor, func(tx *jobs.Tx) error {
			tx.Spent = progress.Spent()
			return tx.Pin(lease, plan.Snapshot, plan.Rows)
		})
		return err
	}))
	both.Go(panics.Task(func() (err error) {
		if err := p.act(work, j, plan.Rows, progress); err != nil {
			return err
		}
		part, err = p.Exporter.Write(work, export.Spec{Job: j.At(plan.Snapshot), Object: j.WholeName(), Rows: plan.Rows, Header: true, Final: true}, progress)
		return err
	}))
	if err := both.Wait(); err != nil {
		if part.Object != "" { // whole, but nobody's
			ctx, cancel := detached(ctx)
			defer cancel()
			_ = p.Exporter.Discard(ctx, part.Object) // else the sweep finds it
		}
		return j, err
	}
	res, err := p.changes(ctx, j.At(plan.Snapshot), jobs.Result{Object: part.Object, Rows: part.Rows, Size: part.Size, CRC32C: part.CRC32C, GuardedCells: part.Guarded, GuardedBy: part.GuardedBy, Digest: part.Digest, RescuedValues: part.Rescued}, progress)
	if err != nil {
		return j, err
	}
	return p.succeed(ctx, j, lease, res, progress)
}

// changes makes the file of what has changed, where the job is for that, of the one with all rows. The
// comparison is part of composing to those who ask where the time went.
func (p *Pool) changes(ctx context.Context, j *jobs.Job, whole jobs.Result, progress *export.Progress) (jobs.Result, error) {
	if j.Base == nil {
		return whole, nil
	}
	begun := time.Now()
	res, err := p.Exporter.Changes(ctx, j, whole, j.ResultName())
	progress.Composing.Add(int64(time.Since(begun)))
	return res, err
}

// finalize composes the parts of a job.
func (p *Pool) finalize(ctx context.Context, j *jobs.Job, lease jobs.Lease, progress *export.Progress) (*jobs.Job, error) {
	parts, err := p.Store.Parts(ctx, j)
	if err != nil {
		return j, err
	}
	if err := damageOf(j, parts); err != nil {
		return j, jobs.Damaged(err)
	}
	begun := time.Now()
	res, names, err := p.Exporter.Compose(ctx, j, parts, j.WholeName())
	progress.Composing.Store(int64(time.Since(begun)))
	if err != nil {
		return j, err
	}
	if res, err = p.changes(ctx, j, res, progress); err != nil {
		return j, err
	}
	done, err := p.succeed(ctx, j, lease, res, progress)
	if err != nil {
		return done, err
	}
	if err := p.Exporter.Discard(ctx, names...); err != nil {
		p.Log.Debug("parts are left for the sweep", zap.String("job_id", j.ID), zap.Error(err))
		return done, nil
	}
	swept, err := p.Store.Update(ctx, j.ID, p.actor, func(tx *jobs.Tx) error { return tx.Discarded(j.Epoch, parts) })
	if err != nil {
		return done, nil // claimed more than once, or changed since: the sweep looks
	}
	return swept, nil
}

// succeed records the result. When the lease was lost its objects are nobody's and deleted.
func (p *Pool) succeed(ctx context.Context, j *jobs.Job, lease jobs.Lease, res jobs.Result, progress *export.Progress) (*jobs.Job, error) {
	ctx, span := tracing.Start(ctx, tracing.Step{Name: "commit"})
	defer span.End()
	done, err := p.Store.Update(ctx, j.ID, p.actor, func(tx *jobs.Tx) error {
		tx.Spent = progress.Spent()
		return tx.Succeed(lease, res)
	})
	if errors.Is(err, jobs.ErrLeaseLost) {
		ctx, cancel := detached(ctx)
		defer cancel()
		now, gerr := p.Store.Get(ctx, j.ID)
		if gerr == nil && now.Result.Object == res.Object {
			return now, nil // recorded by a commit whose answer was lost
		}
		if gerr == nil {
			_ = p.Exporter.Discard(ctx, res.Objects()...) // else the sweep finds them
		}
	}
	if err != nil {
		return j, err
	}
	return done, nil
}

// end records how an attempt ended that did not succeed, and writes the attempt's line.
func (p *Pool) end(work context.Context, j *jobs.Job, lease jobs.Lease, err error, begun time.Time, spent jobs.Spent) {
	ctx, cancel := detached(work)
	defer cancel()
	if err != nil && !errors.Is(err, jobs.ErrLeaseLost) {
		settled, serr := p.Store.Update(ctx, j.ID, p.actor, func(tx *jobs.Tx) error {
			tx.Spent = spent
			return tx.EndAttempt(lease, jobs.AsFailure(err))
		})
		if serr != nil {
			err = errors.Join(err, serr) // the lease runs out and the rescuer takes over
		} else {
			j = settled
		}
	}
	p.traceEnd(work, j, -1, begun, err)
	p.logAttempt(work, j, -1, begun, err, spent)
	switch {
	case j.State == jobs.Queued && !p.Now().Before(j.NotBefore):
		p.notify(ctx, jobs.QueueExports, jobs.Message{JobID: j.ID})
	case j.State == jobs.Queued:
		p.notifyWaiting(ctx, j.OrgID) // its place is free until its next attempt
	case j.State.Ended():
		p.notifyAfterEnd(ctx, work, j)
	}
}

// notifyAfterEnd notifies what may go on now that a job has ended: the org's jobs that have waited longest,
// and the callback, which may also begin right here, under work.
func (p *Pool) notifyAfterEnd(ctx, work context.Context, j *jobs.Job) {
	if j.CallbackURL != "" {
		p.beginCallback(ctx, work, jobs.OriginOf(j.CallbackURL), j.OrgID, jobs.Message{JobID: j.ID, CallbackID: jobs.CallbackID(j)})
	}
	p.notifyWaiting(ctx, j.OrgID)
}

// notifyWaiting notifies the org's jobs that have waited longest, as many as have a place. Where several end
// at once, the last to ask knows of all the places.
func (p *Pool) notifyWaiting(ctx context.Context, orgID string) {
	next, err := p.Store.Next(ctx, orgID)
	if err != nil {
		return // the place wakes the rescuer
	}
	for _, id := range next {
		p.notify(ctx, jobs.QueueExports, jobs.Message{JobID: id})
	}
}
