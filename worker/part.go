package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"exportd/internal/export"
	"exportd/internal/tracing"
	"exportd/jobs"
)

// handlePart claims a part.
func (p *Pool) handlePart(ctx context.Context, m jobs.Message) (func(context.Context), error) {
	var part jobs.Part
	var lease jobs.Lease
	c := claimTimes{begun: time.Now(), waited: p.waited(ctx)}
	j, err := p.Store.UpdatePart(ctx, m.JobID, jobs.PartID(m.PlanEpoch, m.Part), p.actor, func(tx *jobs.Tx) error {
		lease = jobs.Lease{} // of a round before
		claimed, l, err := tx.ClaimPart(m.PlanEpoch, m.Part, p.ID)
		if errors.Is(err, jobs.ErrInvalid) {
			return tx.GiveUp(m.PlanEpoch, err)
		}
		if err != nil {
			return err
		}
		part, lease = *claimed, l
		return nil
	})
	if err != nil || lease.Token == "" {
		return nil, err
	}
	c.ended = time.Now()
	return func(ctx context.Context) { p.runPart(ctx, j, part, lease, c) }, nil
}

// runPart writes a part under its lease and records how it ended. Whoever commits the last part finalizes the
// job.
func (p *Pool) runPart(ctx context.Context, j *jobs.Job, part jobs.Part, lease jobs.Lease, c claimTimes) {
	begun := time.Now()
	traced, span := p.tracePart(ctx, j, &part, c)
	var progress export.Progress
	var next jobs.Next
	progress.Waited.Store(int64(c.waited))
	err := p.underLease(traced, &progress, true, p.renewPart(part, lease, &progress), func(ctx context.Context) error {
		res, err := p.Exporter.Write(ctx, export.Spec{
			Job: j, Object: part.ObjectName(j, lease.Token), From: part.From, To: part.To, Rows: part.Rows, Header: part.Index == 0,
			Yield: p.priority.yield,
		}, &progress)
		if err != nil {
			return err
		}
		next, j, err = p.commitPart(ctx, j, part, lease, res, &progress)
		return err
	})
	p.endPart(traced, j, part, lease, err, begun, progress.Spent())
	span.End()
	switch {
	case err != nil:
	case next.Finalize:
		ctx, span := p.traceJob(ctx, "finish export", j, claimTimes{})
		p.runJob(ctx, j, next.Lease)
		span.End()
	case next.Notify >= 0:
		p.notify(ctx, jobs.QueueParts, jobs.Message{JobID: j.ID, PlanEpoch: part.PlanEpoch, Part: next.Notify})
	}
}

// renewPart gives what keeps a part's lease.
func (p *Pool) renewPart(part jobs.Part, lease jobs.Lease, progress *export.Progress) renewFunc {
	return func(ctx context.Context, rows, bytes int64) error {
		_, err := p.Store.UpdatePart(ctx, part.JobID, part.ID, p.actor, func(tx *jobs.Tx) error {
			tx.Spent = progress.Spent()
			_, err := tx.RenewPart(part.PlanEpoch, part.Index, lease, rows, bytes)
			return err
		})
		return err
	}
}

// commitPart makes the object part of the job. When the lease was lost the object is nobody's and deleted.
func (p *Pool) commitPart(ctx context.Context, j *jobs.Job, part jobs.Part, lease jobs.Lease, res jobs.PartResult, progress *export.Progress) (jobs.Next, *jobs.Job, error) {
	next := jobs.Next{Notify: -1}
	ctx, span := tracing.Start(ctx, tracing.Step{Name: "commit"})
	defer span.End()
	done, err := p.Store.UpdatePart(ctx, j.ID, part.ID, p.actor, func(tx *jobs.Tx) error {
		var err error
		tx.Spent = progress.Spent()
		next, err = tx.CommitPart(part.PlanEpoch, part.Index, lease, p.ID, res)
		return err
	})
	if err == nil {
		return next, done, nil
	}
	if errors.Is(err, jobs.ErrLeaseLost) {
		ctx, cancel := detached(ctx)
		defer cancel()
		owned, gerr := p.ownsObject(ctx, j, part.Index, res.Object)
		if gerr == nil && owned {
			return jobs.Next{Notify: -1}, j, nil // recorded by a commit whose answer was lost; the rescuer refills
		}
		if gerr == nil {
			_ = p.Exporter.Discard(ctx, res.Object) // else the sweep finds it
		}
	}
	return jobs.Next{Notify: -1}, j, err
}

// ownsObject reports whether the part's record names the object.
func (p *Pool) ownsObject(ctx context.Context, j *jobs.Job, index int, object string) (bool, error) {
	parts, err := p.Store.Parts(ctx, j)
	if err != nil {
		return false, err
	}
	return index < len(parts) && parts[index].Object == object, nil
}

// endPart records how an attempt at a part ended that did not succeed.
func (p *Pool) endPart(work context.Context, j *jobs.Job, part jobs.Part, lease jobs.Lease, err error, begun time.Time, spent jobs.Spent) {
	ctx, cancel := detached(work)
	defer cancel()
	if err != nil && !errors.Is(err, jobs.ErrLeaseLost) {
		notify := false
		settled, serr := p.Store.UpdatePart(ctx, j.ID, part.ID, p.actor, func(tx *jobs.Tx) error {
			var err2 error
			tx.Spent = spent
			notify, err2 = tx.EndPartAttempt(part.PlanEpoch, part.Index, lease, jobs.AsFailure(err))
			return err2
		})
		switch {
		case serr != nil:
			err = errors.Join(err, serr) // the lease runs out and the rescuer takes over
		case notify:
			p.notify(ctx, jobs.QueueParts, jobs.Message{JobID: j.ID, PlanEpoch: part.PlanEpoch, Part: part.Index})
		case settled.State == jobs.Queued:
			p.notify(ctx, jobs.QueueExports, jobs.Message{JobID: j.ID})
		case settled.State.Ended():
			p.notifyAfterEnd(ctx, work, settled)
		}
		if serr == nil {
			j = settled
		}
	}
	p.traceEnd(work, j, part.Index, begun, err)
	p.logAttempt(work, j, part.Index, begun, err, spent)
}

// refill opens the window over the parts of a plan that are not done.
func (p *Pool) refill(ctx context.Context, j *jobs.Job) {
	ctx, cancel := context.WithTimeout(ctx, claimWithin)
	defer cancel()
	parts, err := p.Store.Parts(ctx, j)
	if err != nil {
		p.Log.Warn("cannot list parts; the rescuer tries again", zap.String("job_id", j.ID), zap.Error(err))
		return
	}
	var unfinished []int
	for _, part := range parts {
		if part.State != jobs.PartDone {
			unfinished = append(unfinished, part.Index)
		}
		if p.overslept(part) {
			_ = p.wakePart(ctx, jobs.Due{Message: jobs.Message{JobID: j.ID, PlanEpoch: part.PlanEpoch, Part: part.Index}}) // else at the next turn
		}
	}
	damage := damageOf(j, parts)
	var notify []int
	j, err = p.Store.Update(ctx, j.ID, p.actor, func(tx *jobs.Tx) error {
		notify = nil
		if damage != nil {
			return tx.GiveUp(j.PlanEpoch, damage)
		}
		var err error
		notify, err = tx.Refill(unfinished)
		return err
	})
	if err != nil {
		return // it ended, or somebody else refills
	}
	for _, i := range notify {
		p.notify(ctx, jobs.QueueParts, jobs.Message{JobID: j.ID, PlanEpoch: j.PlanEpoch, Part: i})
	}
}

// overslept reports whether a part that is held, or waits, would be looked at later than any transition has
// it looked at: its job's turn finds it, not its own wakeAt.
func (p *Pool) overslept(part *jobs.Part) bool {
	now := p.Now()
	far := now.Add(p.policy.LeaseFor + p.policy.BackoffMax + p.policy.NotifyAgain)
	if part.State == jobs.PartRunning && (part.WakeAt.IsZero() || !jobs.Held(part.Lease.Until, now, p.policy.LeaseFor, p.policy.Skew)) {
		return part.Damage == "" // it may also be in no shard
	}
	return part.Damage == "" && part.State != jobs.PartDone && part.WakeAt.After(far)
}

// damageOf says why the records of a plan make no sense, nil if they do.
func damageOf(j *jobs.Job, parts []*jobs.Part) error {
	if len(parts) != j.PartsTotal {
		return fmt.Errorf("%d of %d part records: %w", len(parts), j.PartsTotal, jobs.ErrInvalid)
	}
	for i, part := range parts {
		if part.Damage != "" || part.Index != i {
			return fmt.Errorf("part record %d (%s): %w", i, part.Damage, jobs.ErrInvalid)
		}
	}
	return nil
}
