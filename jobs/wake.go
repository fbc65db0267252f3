package jobs

import (
	"errors"
	"time"
)

// Duty is what the rescuer does after it woke a job whose WakeAt had passed.
type Duty int

const (
	// Nothing: somebody else was faster.
	Nothing Duty = iota
	// RingJob: publish the job's doorbell.
	RingJob
	// RefillParts: list the unfinished parts, Refill, and ring them.
	RefillParts
	// Sweep: delete every object of the job but its result, and none of an epoch above the
	// job's (a rerun may have begun meanwhile), then Cleaned.
	Sweep
	// Purge: sweep once more, for a worker that stood still through the sweeps and died after
	// it had written, then delete the record with all that hangs on it.
	Purge
)

// Wake does what is due for a job whose WakeAt has passed and says what is left to do
// outside the transaction. Whatever it returns, WakeAt is in the future after it, so a
// rescuer that dies before the duty is followed by another.
func (tx *Tx) Wake() (Duty, error) {
	if err := tx.check(); err != nil {
		if errors.Is(err, ErrInvalid) {
			return tx.wakeInvalid()
		}
		return Nothing, err
	}
	j := tx.Job
	if tx.Now.Before(j.WakeAt) {
		return Nothing, nil
	}
	again := tx.Now.Add(tx.Policy.RingAgain)
	switch j.State {
	case Queued:
		// A long queue must not be rung through every RingAgain: the longer a job has
		// waited, the longer until the next ring, at most 5 minutes.
		j.WakeAt = again.Add(min(tx.Now.Sub(j.CreatedAt)/4, 5*time.Minute))
		return RingJob, nil
	case Running:
		if j.Phase == PhaseParts {
			j.WakeAt = again
			return RefillParts, nil
		}
		if !tx.expired(j.Lease) {
			j.WakeAt = tx.leaseWake(j.Lease)
			return Nothing, nil
		}
		if err := tx.interrupt(again); err != nil || j.State != Queued {
			return Nothing, err
		}
		return RingJob, nil
	case Succeeded:
		if !j.Cleanup && !tx.Now.Before(j.FileExpiresAt) {
			if err := tx.become(Expired); err != nil {
				return Nothing, err
			}
			tx.event(EventExpired, "", "", "")
			j.Cleanup = true
			j.Epoch++ // as in Delete
		}
	}
	if j.Cleanup {
		if j.State == Failed {
			tx.fresh() // from here on a rerun cannot resume: its parts are being deleted
		}
		j.WakeAt = again
		return Sweep, nil
	}
	if j.State == Succeeded {
		j.WakeAt = j.FileExpiresAt
		return Nothing, nil
	}
	if gone := j.FinishedAt.Add(tx.Policy.RecordLife); tx.Now.Before(gone) {
		j.WakeAt = gone
		return Nothing, nil
	}
	j.WakeAt = again
	return Purge, nil
}

// wakeInvalid ends a job that makes no sense, and when its record's life is over has it purged.
func (tx *Tx) wakeInvalid() (Duty, error) {
	j := tx.Job
	if !j.invalidated() {
		return Nothing, tx.Invalidate()
	}
	if tx.Now.Before(j.WakeAt) {
		return Nothing, nil
	}
	j.WakeAt = tx.Now.Add(tx.Policy.RingAgain)
	return Purge, nil
}

// WakePart does what is due for a part whose WakeAt has passed and says whether to ring it.
func (tx *Tx) WakePart(planEpoch int64, index int) (ring bool, err error) {
	invalid := tx.check()
	if invalid != nil && !errors.Is(invalid, ErrInvalid) {
		return false, invalid
	}
	p, err := tx.partByID(PartID(planEpoch, index))
	if err != nil {
		return false, err
	}
	if invalid != nil {
		// Nobody can work on it; else the rescuer would come back to it for ever.
		p.WakeAt = time.Time{}
		tx.touch(p)
		return false, nil
	}
	if p.WakeAt.IsZero() || tx.Now.Before(p.WakeAt) {
		return false, nil
	}
	j := tx.Job
	tx.touch(p)
	needed := j.State == Running && j.Phase == PhaseParts
	switch {
	case j.PlanEpoch != planEpoch || p.State == PartDone:
		p.WakeAt = time.Time{} // of a plan that is void, or done
		return false, nil
	case p.State == PartRunning && !tx.expired(p.Lease):
		p.WakeAt = tx.leaseWake(p.Lease)
		return false, nil
	case !needed:
		// The job has ended; a rerun may need the part again, and finds it pending.
		p.State, p.Lease, p.WakeAt = PartPending, Lease{}, time.Time{}
		return false, nil
	case p.State == PartPending:
		p.WakeAt = tx.Now.Add(tx.Policy.RingAgain)
		return true, nil
	}
	return tx.interruptPart(p)
}
