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
	// NotifyJob: publish the job's message.
	NotifyJob
	// RefillParts: list the unfinished parts, Refill, and notify them.
	RefillParts
	// Sweep: delete every object of the job but its result, and none of an epoch above the job's (a rerun may
	// have begun meanwhile), then Cleaned.
	Sweep
	// Purge: sweep once more, for a worker that stood still through the sweeps and died after it had written,
	// then delete the record with all that hangs on it.
	Purge
)

// Wake does what is due for a job whose WakeAt has passed and says what is left to do outside the
// transaction. Whatever it returns but Purge, WakeAt is in the future after it, so a rescuer that dies before
// the duty is followed by another. Before a purge nothing is written: what was not purged is still due.
func (tx *Tx) Wake() (Duty, error) {
	if err := tx.check(); err != nil {
		if errors.Is(err, ErrInvalid) {
			return Nothing, tx.Invalidate()
		}
		return Nothing, err
	}
	j := tx.Job
	if tx.soon(j.WakeAt, tx.longestSleep()) && !tx.Forgotten() {
		return Nothing, nil
	}
	again := tx.Now.Add(tx.Policy.NotifyAgain)
	switch j.State {
	case Queued:
		// A long queue must not be notified one by one every NotifyAgain: the longer a job has waited, the
		// longer until the next notify, at most 5 minutes.
		j.WakeAt = again.Add(min(max(tx.Now.Sub(j.CreatedAt), 0)/4, maxNotifyPause))
		if tx.waits(j.NotBefore) {
			j.WakeAt = j.NotBefore
			return Nothing, nil
		}
		return NotifyJob, nil
	case Running:
		if j.Phase == PhaseParts {
			j.WakeAt = tx.partsWake()
			return RefillParts, nil
		}
		if !tx.expired(j.Lease) {
			j.WakeAt = tx.leaseWake(j.Lease)
			return Nothing, nil
		}
		if err := tx.interrupt(again); err != nil || j.State != Queued {
			return Nothing, err
		}
		return NotifyJob, nil
	case Succeeded:
		if !j.Cleanup && !tx.Now.Before(j.FileExpiresAt) {
			if err := tx.become(Expired); err != nil {
				return Nothing, err
			}
			tx.event(EventExpired, "", "", "")
			j.Cleanup = true
			j.nextEpoch() // as in Delete
		}
	}
	if j.Cleanup {
		if j.State == Failed {
			tx.dropPlan() // from here on a rerun cannot resume: its parts are being deleted
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
	return Purge, nil // WakeAt stays: there is no document after it
}

// partsWake is when the window of a plan is looked at again. Parts that are held have a WakeAt of their own,
// so that this finds but lost messages; it is a write of the job, beside those of its parts' ends, while
// Firestore bears one a second.
func (tx *Tx) partsWake() time.Time { return tx.Now.Add(2 * tx.Policy.NotifyAgain) }

// maxNotifyPause is the most that a queued job's notifies are apart, besides NotifyAgain.
const maxNotifyPause = 5 * time.Minute

// longestSleep is the most that a transition may have put WakeAt ahead. What is further off, or missing, was
// not written by one, and whoever looks at the job does what is due.
func (tx *Tx) longestSleep() time.Duration {
	p := tx.Policy
	running := max(p.LeaseFor+2*p.Skew+time.Second, 2*p.NotifyAgain) + p.Skew
	if tx.Job.State == Running { // a lease by a clock an hour ahead must be seen to be too far off
		return running
	}
	live := max(running, p.NotifyAgain+maxNotifyPause+p.Skew, p.BackoffMax+p.Skew, placeWait+p.Skew)
	if !tx.Job.State.Ended() {
		return live
	}
	return max(live, tx.Job.FileExpiresAt.Sub(tx.Now), p.RecordLife+p.Skew, p.SnapshotLife+p.SweepAfter+p.Skew)
}

// Overdue reports whether somebody has to look at the job although WakeAt is not due: it is damaged, asleep
// for longer than any transition sends it to sleep, or Forgotten.
func (tx *Tx) Overdue() bool {
	err, at := tx.check(), tx.Job.WakeAt
	return errors.Is(err, ErrInvalid) || err == nil && (at.IsZero() || at.After(tx.Now.Add(tx.longestSleep())) || tx.Forgotten())
}

// Forgotten reports whether the job has waited for a place for so long that it is to try again: the documents
// of places may have been damaged so that nobody notifies for the free one.
func (tx *Tx) Forgotten() bool {
	left := tx.Job.WakeAt.Sub(tx.Now) // only who waits for a place, or for its next attempt, sleeps for longer than a notify's pause
	return tx.Job.State == Queued && !tx.waits(tx.Job.NotBefore) && left > tx.Policy.NotifyAgain+maxNotifyPause+tx.Policy.Skew && left < placeWait-placeDoubt
}

// WakePart does what is due for a part whose WakeAt has passed and says whether to notify it.
func (tx *Tx) WakePart(planEpoch int64, index int) (notify bool, err error) {
	err = tx.check()
	invalid := errors.Is(err, ErrInvalid)
	if err != nil && !invalid {
		return false, err
	}
	j := tx.Job
	p, err := tx.partByID(PartID(planEpoch, index))
	if errors.Is(err, ErrInvalid) && !invalid {
		if err = tx.VoidPlan(planEpoch, err); err == nil || errors.Is(err, ErrNotDue) {
			return false, tx.retire(PartID(planEpoch, index))
		}
	}
	if err != nil && !invalid {
		return false, err
	}
	if invalid {
		// Nobody can work on it; else the rescuer would come back to it for ever.
		return false, tx.retire(PartID(planEpoch, index))
	}
	needed := j.State == Running && j.Phase == PhaseParts
	sleep := max(tx.Policy.LeaseFor+2*tx.Policy.Skew+time.Second, tx.Policy.NotifyAgain, tx.Policy.BackoffMax) + tx.Policy.Skew
	if tx.soon(p.WakeAt, sleep) || p.WakeAt.IsZero() && p.State != PartRunning {
		return false, nil
	}
	tx.touch(p)
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
		p.WakeAt = tx.Now.Add(tx.Policy.NotifyAgain)
		return true, nil
	}
	return tx.interruptPart(p)
}

// retire takes a part whose record makes no sense out of what is due.
func (tx *Tx) retire(id string) error {
	p, err := tx.load(id)
	if err != nil {
		return err
	}
	p.WakeAt = time.Time{}
	tx.Parts[id] = p
	tx.touch(p)
	return nil
}
