package jobs

import (
	"errors"
	"fmt"
	"time"
)

// EndAttempt records how an attempt on the job ended that did not succeed, by the failure's class: another
// attempt after a pause, the same attempt again, a new snapshot, or the end.
func (tx *Tx) EndAttempt(l Lease, f *Failure) error {
	if err := tx.holds(l); err != nil {
		return err
	}
	return tx.endAttempt(f)
}

func (tx *Tx) endAttempt(f *Failure) error {
	switch f.Class {
	case Permanent:
		return tx.fail(f)
	case Interrupted:
		return tx.interrupt(tx.Now)
	case Stale:
		return tx.restart(f)
	}
	j := tx.Job
	spent := j.Attempt - j.AttemptBase
	if spent >= tx.Policy.MaxAttempts || f.last {
		return tx.fail(f)
	}
	if err := tx.become(Queued); err != nil {
		return err
	}
	j.Lease = Lease{}
	j.NotBefore = tx.Now.Add(tx.Policy.Backoff(spent))
	j.WakeAt = j.NotBefore
	tx.event(EventRetry, f.Code, f.Message, "")
	return nil
}

// interrupt puts the job back without spending the attempt, to be notified at wake.
func (tx *Tx) interrupt(wake time.Time) error {
	j := tx.Job
	j.Interruptions++
	if j.Interruptions > tx.Policy.MaxInterruptions {
		return tx.fail(Fail(CodeInterrupted, Permanent,
			fmt.Sprintf("the export was interrupted %d times in a row", j.Interruptions),
			"find out what kills the workers while they hold this job (memory?), then rerun it", nil))
	}
	if err := tx.become(Queued); err != nil {
		return err
	}
	j.Lease, j.NotBefore, j.SameAttempt, j.WakeAt = Lease{}, time.Time{}, true, wake
	tx.event(EventInterrupted, "", "", "")
	return nil
}

// restart drops a snapshot that can no longer be read, or a plan that can no longer be carried out, once per
// run.
func (tx *Tx) restart(f *Failure) error {
	j := tx.Job
	if j.SnapshotRestarts > 0 {
		if f.Code != CodeSnapshotTooOld {
			return tx.fail(Fail(f.Code, Permanent, f.Message+", also on the second try", f.Remedy, f).About(f.What))
		}
		return tx.fail(Fail(CodeSnapshotTooOld, Permanent,
			"the export takes longer than its snapshot can be read, also on the second try",
			"enable point-in-time recovery and set EXPORTD_PITR=true (7 days instead of 1 hour), or add workers", f))
	}
	if err := tx.become(Queued); err != nil {
		return err
	}
	if err := tx.addPartProgress(); err != nil {
		return err
	}
	tx.dropPlan()
	j.SnapshotRestarts++
	j.WakeAt = tx.Now
	tx.event(EventRestarted, f.Code, f.Message, "")
	return nil
}

// addPartProgress adds what parts under way have reported to the progress that a restart must not fall
// behind. Those under way were notified last; looking at twice the window finds all but stragglers and bounds
// the reads.
func (tx *Tx) addPartProgress() error {
	j := tx.Job
	if j.Phase != PhaseParts {
		return nil
	}
	var unread error
	for i := max(0, j.NextPart-2*tx.Policy.Window); i < min(j.NextPart, j.PartsTotal); i++ {
		p, err := tx.part(i)
		switch {
		case errors.Is(err, ErrUnread):
			unread = err // ask for all of them at once
		case errors.Is(err, ErrInvalid): // what it did is not known
		case err != nil:
			return err
		default:
			j.RowsDone += p.RowsDone
			tx.countPartSpent(p)
		}
	}
	return unread
}

// dropPlan forgets snapshot and plan. What callers have seen of the progress stays.
func (tx *Tx) dropPlan() {
	j := tx.Job
	j.RowsFloor, j.RowsDone, j.BytesDone = max(j.RowsFloor, j.RowsDone), 0, 0
	j.Lease, j.Phase, j.SnapshotTime, j.Counted = Lease{}, PhaseStart, time.Time{}, false
	j.PlanEpoch, j.PartsTotal, j.PartsDone, j.NextPart, j.SheetRows = 0, 0, 0, 0, 0
	j.SameAttempt, j.NotBefore = false, time.Time{}
}

func (tx *Tx) fail(f *Failure) error {
	if err := tx.become(Failed); err != nil {
		return err
	}
	j := tx.Job
	tx.blame(JobError{Code: f.Code, Message: f.Message, Retryable: f.Class != Permanent, Remedy: f.Remedy, What: f.What})
	j.FinishedAt = tx.Now
	tx.event(EventFailed, f.Code, f.Message, "")
	phase := j.Phase
	tx.ended()
	j.Phase = phase // a rerun may resume there
	// Finished parts are kept as long as a rerun can resume from them.
	j.Cleanup = true
	j.WakeAt = tx.resumableUntil()
	return nil
}

// resumableUntil is when the snapshot stops being readable, and at least SweepAfter ahead.
func (tx *Tx) resumableUntil() time.Time {
	at := tx.Now.Add(tx.Policy.SweepAfter)
	if until := tx.Job.SnapshotTime.Add(tx.Policy.SnapshotLife); !tx.Job.SnapshotTime.IsZero() && until.After(at) {
		return until
	}
	return at
}

// Cancel ends a job that has not ended. Whoever works on it finds its lease lost. Canceling a canceled job
// again changes nothing; ErrTransition on any other ended one.
func (tx *Tx) Cancel(reason string) error {
	if err := tx.check(); err != nil {
		return err
	}
	j := tx.Job
	if j.State == Canceled {
		return nil
	}
	if err := tx.become(Canceled); err != nil {
		return err
	}
	j.FinishedAt = tx.Now
	tx.event(EventCanceled, "", "", reason)
	tx.ended()
	j.Cleanup, j.WakeAt = true, tx.Now
	if j.Swept() { // nobody ever claimed it
		j.Cleanup, j.WakeAt = false, tx.Now.Add(tx.Policy.RecordLife)
	}
	return nil
}

// Delete cancels a live job and takes file and parts away; the record stays for audit.
func (tx *Tx) Delete(reason string) error {
	if err := tx.check(); err != nil {
		return err
	}
	j := tx.Job
	if !j.DeletedAt.IsZero() {
		return nil
	}
	j.DeletedAt = tx.Now // first: a deleted job calls nobody back
	j.nextEpoch()        // a sweep under way that spares the file must not count as the one due now
	switch j.State {
	case Queued, Running:
		if err := tx.Cancel(reason); err != nil {
			return err
		}
	case Succeeded:
		if err := tx.become(Expired); err != nil {
			return err
		}
	}
	if j.Error != nil && j.Error.CauseID != "" { // nobody is to mend anything for it any more
		e := *j.Error
		e.CauseID = ""
		j.Error = &e
	}
	j.Cleanup, j.WakeAt = true, tx.Now
	tx.event(EventDeleted, "", "", reason)
	return nil
}

// FileLost is what a job says whose file is no longer in storage before its time.
func FileLost() *JobError {
	return &JobError{
		Code: CodeFileLost, Message: "the file is no longer in storage", Retryable: true,
		Remedy: "find out who deletes from the bucket (lifecycle rules, people), then rerun with mode fresh",
	}
}

// WithoutFile is a succeeded job whose file is lost, for who cannot have it noted.
func (j *Job) WithoutFile() *Job {
	lost := *j
	lost.State, lost.Error = Expired, FileLost()
	return &lost
}

// OutOfTime is a succeeded job as it is to its callers once the time of its file is over, until that is
// noted.
func (j *Job) OutOfTime() *Job {
	over := *j
	over.State = Expired
	return &over
}

// At is the job as it is once its snapshot is pinned, for work that goes on while that is recorded.
func (j *Job) At(snapshot time.Time) *Job {
	at := *j
	at.SnapshotTime = snapshot.UTC()
	return &at
}

// InSheets is the job as it is once it is planned so, for who asks what its file would be.
func (j *Job) InSheets(rows int64) *Job {
	planned := *j
	planned.SheetRows = rows
	return &planned
}

// LoseFile notes that storage no longer has the object of a succeeded job: the file has expired before its
// time. ErrNotDue if that is not the job's file any more. Nothing is deleted before the file's own time:
// whoever looked may have looked into the wrong bucket.
func (tx *Tx) LoseFile(object string) error {
	if err := tx.check(); err != nil {
		return err
	}
	j := tx.Job
	if j.State != Succeeded || j.Result.Object != object {
		return fmt.Errorf("job %s (%s) has another file, or none: %w", j.ID, j.State, ErrNotDue)
	}
	if err := tx.become(Expired); err != nil {
		return err
	}
	j.Error = FileLost()
	j.nextEpoch() // as in Delete
	j.Cleanup, j.WakeAt = true, j.FileExpiresAt
	tx.event(EventExpired, j.Error.Code, j.Error.Message, "")
	return nil
}

// Discarded notes that the objects of the parts were deleted, after the job has succeeded in the epoch that
// the caller composed them in. If the job and each of its parts was claimed once, there are no others, and
// there is nothing to sweep. ErrNotDue where that is not known.
func (tx *Tx) Discarded(epoch int64, parts []*Part) error {
	if err := tx.check(); err != nil {
		return err
	}
	j := tx.Job
	// The claim by which it was planned is the first epoch, the commit of the last part the second.
	sole := j.State == Succeeded && j.Base == nil && j.Cleanup && j.Epoch == epoch && epoch == 2 && j.PlanEpoch == 1 && len(parts) == j.PartsTotal
	for _, p := range parts {
		sole = sole && p.PlanEpoch == 1 && p.Epoch == 1
	}
	if !sole {
		return fmt.Errorf("job %s (%s) may have left more than its parts: %w", j.ID, j.State, ErrNotDue)
	}
	j.Cleanup, j.SweptEpoch, j.WakeAt = false, j.Epoch, j.FileExpiresAt
	return nil
}

// Cleaned notes that everything but the result was deleted from storage. The first time after a cancel or
// delete, it asks for a second sweep: a worker that had not noticed yet may have finished an object
// meanwhile.
func (tx *Tx) Cleaned() error {
	if err := tx.check(); err != nil {
		return err
	}
	j := tx.Job
	if !j.State.Ended() || !j.Cleanup {
		return fmt.Errorf("job %s (%s) has nothing to clean: %w", j.ID, j.State, ErrNotDue)
	}
	if sweep := j.FinishedAt.Add(tx.Policy.SweepAfter); tx.Now.Before(sweep) && !j.Swept() {
		j.WakeAt = sweep
		return nil
	}
	j.Cleanup = false
	switch j.State {
	case Succeeded:
		j.WakeAt = j.FileExpiresAt
	default:
		j.WakeAt = j.FinishedAt.Add(tx.Policy.RecordLife)
	}
	return nil
}

// Succeed ends the job with its file. It is the last thing that happens to a run.
func (tx *Tx) Succeed(l Lease, r Result) error {
	if err := tx.holds(l); err != nil {
		return err
	}
	j := tx.Job
	if !j.Counted || r.Rows != j.RowsTotal {
		return Fail(CodeCountMismatch, Permanent,
			fmt.Sprintf("the snapshot has %d rows, the file %d", j.RowsTotal, r.Rows),
			"report this: rows of one snapshot must not differ; rerun with mode fresh", nil)
	}
	if err := j.provesChanges(r); err != nil {
		return err
	}
	if err := tx.become(Succeeded); err != nil {
		return err
	}
	j.Result, j.RowsDone, j.BytesDone = r, r.Rows, r.Size
	j.FinishedAt, j.FileExpiresAt = tx.Now, tx.Now.Add(tx.fileLife())
	// The parts' objects, and what earlier claims may have left, are to be swept.
	j.Cleanup = j.PartsTotal > 0 || j.Epoch > 1 || j.Base != nil
	tx.event(EventSucceeded, "", j.successText(r), "")
	tx.ended()
	j.WakeAt = j.FileExpiresAt
	if j.Cleanup {
		j.WakeAt = tx.Now.Add(tx.Policy.SweepAfter)
	} else {
		j.SweptEpoch = j.Epoch // its only claim has written its only object
	}
	return nil
}

// ended clears what only a live run needs, counts the run and makes the callback due.
func (tx *Tx) ended() {
	j := tx.Job
	j.Lease, j.Phase, j.NotBefore, j.SameAttempt = Lease{}, PhaseStart, time.Time{}, false
	if j.State != Failed {
		j.Error = nil
	}
	tx.tally()
	tx.settle()
	if j.CallbackURL != "" && j.DeletedAt.IsZero() {
		tx.Callback = newCallback(j, tx.Policy, tx.Now)
		tx.Callback.LapsesAt = tx.Policy.LapsesAt(tx.Now)
	}
}
