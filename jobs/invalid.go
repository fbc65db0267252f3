package jobs

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// invalidated reports whether Invalidate has ended the job already.
func (j *Job) invalidated() bool {
	return j.State == Failed && j.Error != nil && j.Error.Code == CodeInvalidJob
}

// checkedRequest says why a job must not run again: it would make another file than was asked for.
func (j *Job) checkedRequest(now time.Time) error {
	c := &checks{now: now}
	j.checkRequest(c)
	return c.err("job", j.ID)
}

// remedyDamaged is for the operator: nothing that exportd does by itself leads there.
const remedyDamaged = "its document was changed by something other than exportd: find out by what; then request the export again"

// Invalidate ends a job whose document makes no sense, so that it can neither stop the rescuer for ever nor
// make a wrong file. Only for jobs that Check refuses. What it leaves is whole but for what the request was
// about: a rerun is refused where that was what was damaged.
func (tx *Tx) Invalidate() error {
	j := tx.Job
	err := tx.check()
	if !errors.Is(err, ErrInvalid) {
		return fmt.Errorf("job %s is not invalid: %w", j.ID, ErrNotDue)
	}
	if !validURL(j.CallbackURL) || !ValidID(j.ID) || !ValidOrg(j.OrgID) {
		j.CallbackURL = "" // nobody can be told
	}
	if err := tx.leavePlace(); err != nil {
		return err
	}
	tidy(j, tx.Now)
	j.Budget = j.Budget.forfeited(tx.Now)
	j.Damage, j.Schema = "", readableOr(j.Schema)
	j.State, j.FinishedAt = Failed, tx.Now
	j.reshard()
	tx.blame(JobError{Code: CodeInvalidJob, Message: "the record of the export is damaged", Remedy: remedyDamaged})
	if j.CreatedAt.IsZero() {
		j.CreatedAt = tx.Now
	}
	// Above every epoch that it may have had: the sweep finds the objects of each, and the callback's id is
	// none that was used.
	j.Epoch = max(min(j.Epoch, maxCount/2), tx.Now.UnixMicro()) + 1
	tx.dropPlan()
	j.RowsFloor, j.Result, j.FileExpiresAt = 0, Result{}, time.Time{}
	j.AttemptBase, j.Interruptions, j.SnapshotRestarts = min(j.AttemptBase, j.Attempt), 0, 0
	tx.event(EventFailed, CodeInvalidJob, clip(err.Error(), maxText), "")
	tx.ended()
	j.Cleanup, j.WakeAt = ValidOrg(j.OrgID), tx.Now.Add(tx.Policy.SweepAfter)
	return nil
}

// VoidPlan drops the plan in force because the record of one of its parts makes no sense, as why says. Once
// per run the job starts over, then it ends. ErrNotDue if another plan, or none, is in force.
func (tx *Tx) VoidPlan(planEpoch int64, why error) error {
	if err := tx.check(); err != nil {
		return err
	}
	j := tx.Job
	if j.State != Running || j.Phase != PhaseParts || j.PlanEpoch != planEpoch {
		return fmt.Errorf("job %s (%s): %w", j.ID, j.State, ErrNotDue)
	}
	return tx.restart(Damaged(why))
}

// GiveUp ends what a worker met that makes no sense: the job if its own document does not, else the plan.
func (tx *Tx) GiveUp(planEpoch int64, why error) error {
	if errors.Is(tx.check(), ErrInvalid) {
		return tx.Invalidate()
	}
	return tx.VoidPlan(planEpoch, why)
}

// Damaged is what a plan whose records make no sense means for its job.
func Damaged(why error) *Failure {
	return Fail(CodeInvalidJob, Stale, "the plan of the export is damaged",
		"find out what changes documents below ExportJobs besides exportd, then rerun the job with mode fresh", why)
}

// clip bounds a text in bytes, and leaves out what is no UTF-8, as half a character at its end: the database
// takes none.
func clip(s string, most int) string { return strings.ToValidUTF8(s[:min(len(s), most)], "") }
