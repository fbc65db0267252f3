package jobs

import (
	"errors"
	"fmt"
	"time"
)

// RerunMode says what a rerun starts from.
type RerunMode string

// Resume keeps finished parts and the snapshot while it can be read, Fresh starts anew.
const (
	RerunResume RerunMode = "resume"
	RerunFresh  RerunMode = "fresh"
)

// Refusal is why a job is not run again, as operators read it.
type Refusal string

// The reasons that Rerunnable gives.
const (
	RefusedVersion   Refusal = "written by another version"
	RefusedDeleted   Refusal = "deleted by its owner"
	RefusedDamaged   Refusal = "its record is damaged"
	RefusedQueued    Refusal = "is queued"
	RefusedRunning   Refusal = "is running"
	RefusedSucceeded Refusal = "is succeeded" // and so by mode Fresh only
	RefusedPurged    Refusal = "its record is being deleted"
)

// Refusals lists them.
var Refusals = []Refusal{RefusedVersion, RefusedDeleted, RefusedDamaged, RefusedQueued, RefusedRunning, RefusedSucceeded, RefusedPurged}

// RefusedHasFile is why a job is passed over by a batch for jobs whose file is lost. Storage knows, no
// record.
const RefusedHasFile Refusal = "has its file"

// RefusedAgain is why a job is passed over by a batch for a cause that it failed by since the batch was made:
// it was run again meanwhile, and whoever asked for the batch has not seen that.
const RefusedAgain Refusal = "failed since the batch was made"

// RefusedSandbox is why a batch of all orgs passes over what is in a sandbox: exports that fail there are
// meant to, and would stop its canary.
const RefusedSandbox Refusal = "in a sandbox"

func refusedSandbox(asked, orgID string) bool { return InSandbox(orgID) && asked != orgID }

// RefusedIn is why a batch passes over a job that may be run again, "" if it does not.
func (b *Batch) RefusedIn(j *Job) Refusal {
	if refusedSandbox(b.Filter.OrgID, j.OrgID) && len(b.JobIDs) == 0 {
		return RefusedSandbox
	}
	if b.Filter.Cause != "" && j.FinishedAt.After(b.CreatedAt) {
		return RefusedAgain
	}
	return ""
}

// RerunError says that a job is not run again. To errors.Is it is what the reason means: ErrNotFound,
// ErrUnknownSchema, or ErrTransition.
type RerunError struct {
	JobID  string
	State  State
	Reason Refusal
	cause  error
}

// Error says why, and for a damaged record by what.
func (e *RerunError) Error() string {
	if e.cause != nil {
		return fmt.Sprintf("rerun job %s: %s: %v", e.JobID, e.Reason, e.cause)
	}
	return fmt.Sprintf("rerun job %s: %s", e.JobID, e.Reason)
}

// Is is for errors.Is.
func (e *RerunError) Is(target error) bool {
	switch e.Reason {
	case RefusedDeleted, RefusedPurged:
		return target == ErrNotFound
	case RefusedVersion:
		return target == ErrUnknownSchema
	}
	return target == ErrTransition
}

// Rerunnable is the one rule for what may run again by a mode: nil, or a *RerunError. Ask it of a job as
// readers get it: one whose record makes no sense counts as what it is ended as.
func (j *Job) Rerunnable(mode RerunMode, p Policy, now time.Time) error {
	return j.refused(j.refusal(mode, p, now))
}

// RerunnableWith is Rerunnable for a rerun as another job, with other parameters: it matters what was asked
// for, and not what came of it.
func (j *Job) RerunnableWith(now time.Time) error {
	return j.refused(j.requestRefusal(now))
}

// refused is a refusal as an error, nil for none.
func (j *Job) refused(reason Refusal, cause error) error {
	if reason == "" {
		return nil
	}
	return &RerunError{JobID: j.ID, State: j.State, Reason: reason, cause: cause}
}

// requestRefusal is about what was asked for, whatever came of it.
func (j *Job) requestRefusal(now time.Time) (Refusal, error) {
	damage := j.checkedRequest(now) // it would make another file than was asked for
	switch {
	case foreign(j.Schema):
		return RefusedVersion, nil
	case !j.DeletedAt.IsZero():
		return RefusedDeleted, nil
	case damage != nil:
		return RefusedDamaged, damage
	}
	return "", nil
}

func (j *Job) refusal(mode RerunMode, p Policy, now time.Time) (Refusal, error) {
	if reason, damage := j.requestRefusal(now); reason != "" {
		return reason, damage
	}
	switch {
	case !j.State.Valid():
		return RefusedDamaged, nil
	case j.State == Queued:
		return RefusedQueued, nil
	case j.State == Running: // it may become queued, but by a failed attempt only
		return RefusedRunning, nil
	case j.State == Succeeded && mode != RerunFresh:
		return RefusedSucceeded, nil
	// The rescuer's clock may be ahead, and the purge does not look again before it deletes: it must not have
	// purged what is queued here.
	case !now.Before(j.FinishedAt.Add(p.RecordLife - p.Skew)):
		return RefusedPurged, nil
	}
	return "", nil
}

// Rerun queues an ended job again and says what it really starts from. A succeeded one is run again by mode
// Fresh only; its file goes when the new one is there. One whose record makes no sense is ended first, and
// then is as any other that has failed. The error is a *RerunError where Rerunnable has one.
func (tx *Tx) Rerun(mode RerunMode, reason string) (RerunMode, error) {
	if errors.Is(tx.check(), ErrInvalid) {
		if err := tx.Invalidate(); err != nil {
			return "", err
		}
	}
	j := tx.Job
	if err := j.Rerunnable(mode, tx.Policy, tx.Now); err != nil {
		return "", err
	}
	from := j.State
	if err := tx.become(Queued); err != nil {
		return "", err
	}
	readable := j.Counted && tx.Now.Before(j.SnapshotTime.Add(tx.Policy.SnapshotLife))
	if mode != RerunResume || from != Failed || !readable || !j.Cleanup {
		mode = RerunFresh
		tx.dropPlan()
		j.RowsFloor = 0
	}
	j.Result, j.Error, j.Cleanup = Result{}, nil, false
	j.FinishedAt, j.FileExpiresAt, j.NotBefore = time.Time{}, time.Time{}, time.Time{}
	j.AttemptBase, j.Interruptions, j.SnapshotRestarts, j.SameAttempt = j.Attempt, 0, 0, false
	// A new epoch also before the first claim: the next end is another one to callbacks and sweeps.
	j.Epoch++
	j.Trace, j.Spent, j.SpentNow = "", Spent{}, Spent{} // those of the run before
	j.WakeAt = tx.Now.Add(tx.Policy.NotifyAgain)
	tx.event(EventRerun, "", "from "+string(from)+", "+string(mode), reason)
	return mode, nil
}

// RerunIn is Rerun for a batch, which runs a job again once: ErrNotDue if it has done so already.
func (tx *Tx) RerunIn(b *Batch) error {
	if tx.Job.BatchID == b.ID {
		return fmt.Errorf("job %s was run again by batch %s: %w", tx.Job.ID, b.ID, ErrNotDue)
	}
	if why := b.RefusedIn(tx.Job); why != "" {
		return &RerunError{JobID: tx.Job.ID, State: tx.Job.State, Reason: why}
	}
	if _, err := tx.Rerun(b.Mode, b.Reason); err != nil {
		return err
	}
	tx.Job.BatchID = b.ID
	return nil
}
