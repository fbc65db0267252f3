package jobs_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"exportd/jobs"
)

func fieldsOf(s string) []string { return strings.Fields(s) }

func TestParts(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.plan(3)
	if d.job.Lease.Token != "" || d.job.NextPart != 2 || d.job.RowsTotal != 30 || len(d.parts) != 3 {
		t.Fatalf("planned job = %+v", d.job)
	}
	epoch := d.job.PlanEpoch
	for _, at := range []struct {
		epoch int64
		index int
	}{{epoch + 1, 0}, {epoch, 3}, {epoch, -1}} {
		d.refuses(jobs.ErrNotDue, func(tx *jobs.Tx) error { _, _, err := tx.ClaimPart(at.epoch, at.index, "w"); return err })
	}
	l0 := d.claimPart(0)
	d.refuses(jobs.ErrNotDue, func(tx *jobs.Tx) error { _, _, err := tx.ClaimPart(epoch, 0, "w2"); return err })
	d.refuses(jobs.ErrLeaseLost, func(tx *jobs.Tx) error {
		_, err := tx.CommitPart(epoch, 1, l0, "w", jobs.PartResult{Rows: 10})
		return err
	})
	var f *jobs.Failure
	if err := d.do(func(tx *jobs.Tx) error {
		_, err := tx.CommitPart(epoch, 0, l0, "w", jobs.PartResult{Rows: 9})
		return err
	}); !errors.As(err, &f) || f.Code != jobs.CodeCountMismatch {
		t.Errorf("CommitPart with a row too few = %v, want COUNT_MISMATCH", err)
	}
	if next := d.commitPart(0, l0); next.Notify != 2 || next.Finalize {
		t.Errorf("CommitPart = %+v, want part 2 notified", next)
	}
	d.refuses(jobs.ErrNotDue, func(tx *jobs.Tx) error { _, _, err := tx.ClaimPart(epoch, 0, "w"); return err })
	d.refuses(jobs.ErrLeaseLost, func(tx *jobs.Tx) error { _, err := tx.RenewPart(epoch, 0, l0, 1, 1); return err })
	if next := d.commitPart(1, d.claimPart(1)); next.Notify != -1 || next.Finalize {
		t.Errorf("CommitPart = %+v, want nothing to notify", next)
	}
	next := d.commitPart(2, d.claimPart(2))
	if !next.Finalize || next.Lease.Token == "" || d.job.Phase != jobs.PhaseFinalize || d.job.RowsDone != 30 {
		t.Fatalf("CommitPart of the last = %+v, job %+v", next, d.job)
	}
	d.must(func(tx *jobs.Tx) error { return tx.Succeed(next.Lease, jobs.Result{Object: "o", Rows: 30}) })
	if !d.job.Cleanup {
		t.Error("parts are not to be swept")
	}
}

func TestEndPartAttempt(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.plan(2)
	for i := range d.policy.MaxAttempts {
		if d.endPartAttempt(1, d.claimPart(1), jobs.Transient) {
			t.Error("a part in its pause is to be notified")
		}
		if p := d.part(1); i < d.policy.MaxAttempts-1 && (p.State != jobs.PartPending || !p.WakeAt.Equal(p.NotBefore) || !p.WakeAt.After(d.now)) {
			t.Errorf("part after attempt %d = %+v", i+1, p)
		}
		d.pass(time.Minute)
	}
	d.is(jobs.Failed)
	if part := d.job.Error.Part; part == nil || *part != 1 || !d.job.Error.Retryable || d.part(1).State != jobs.PartPending {
		t.Errorf("job failed with %+v, its part %+v", d.job.Error, d.part(1))
	}

	d = newDesk(t)
	d.plan(2)
	for range d.policy.MaxInterruptions {
		if !d.endPartAttempt(0, d.claimPart(0), jobs.Interrupted) || d.part(0).Attempt != 0 {
			t.Errorf("interrupted part = %+v, want it notified and no attempt spent", d.part(0))
		}
	}
	if d.endPartAttempt(0, d.claimPart(0), jobs.Interrupted) {
		t.Error("a part of a failed job is to be notified")
	}
	d.is(jobs.Failed)
	if p := d.part(0); p.State != jobs.PartPending || !p.WakeAt.IsZero() || d.job.Error.Part == nil || *d.job.Error.Part != 0 {
		t.Errorf("part of the failed job = %+v, want it pending and in the error %+v", p, d.job.Error)
	}
	d.must(func(tx *jobs.Tx) error { _, err := tx.Rerun(jobs.RerunResume, "again"); return err })
	d.claim()
	d.claimPart(0)
	if p := d.part(0); p.Interruptions != 0 || p.Attempt != 1 {
		t.Errorf("part of the rerun = %+v, want it forgiven", p)
	}
}

// TestFailedPart: a job says in which part it failed, whatever its class, and only then; and the part makes
// no other cause.
func TestFailedPart(t *testing.T) {
	t.Parallel()
	in := func(part int, class jobs.Class) *jobs.JobError {
		d := newDesk(t)
		d.plan(3)
		for d.job.State == jobs.Running {
			d.endPartAttempt(part, d.claimPart(part), class)
			d.pass(time.Minute)
			if d.job.State == jobs.Queued { // with another snapshot
				d.plan(3)
			}
		}
		d.is(jobs.Failed)
		return d.job.Error
	}
	for _, class := range []jobs.Class{jobs.Transient, jobs.Permanent, jobs.Stale} {
		one, two := in(1, class), in(2, class)
		if one.Part == nil || *one.Part != 1 || two.Part == nil || *two.Part != 2 || one.CauseID != two.CauseID {
			t.Errorf("failed in parts 1 and 2 by class %d: %+v and %+v, want these parts and one cause", class, one, two)
		}
	}
	d := newDesk(t)
	d.endAttempt(d.claim(), jobs.Permanent)
	if d.job.Error.Part != nil {
		t.Errorf("a job that failed as a whole says part %d", *d.job.Error.Part)
	}
}

// TestResumedParts: a rerun that resumes takes the parts from whoever held them in the run before, at once,
// and counts their attempts anew.
func TestResumedParts(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.plan(4)
	d.commitPart(0, d.claimPart(0))
	old := d.claimPart(1)
	for range d.policy.MaxAttempts - 1 {
		d.endPartAttempt(2, d.claimPart(2), jobs.Transient)
		d.pass(time.Minute)
		d.must(func(tx *jobs.Tx) error { _, err := tx.RenewPart(d.job.PlanEpoch, 1, old, 1, 1); return err })
	}
	d.endPartAttempt(3, d.claimPart(3), jobs.Transient) // in its pause
	d.endPartAttempt(2, d.claimPart(2), jobs.Transient)
	d.is(jobs.Failed)
	d.must(func(tx *jobs.Tx) error { _, err := tx.Rerun(jobs.RerunResume, "again"); return err })
	d.claim()
	epoch := d.job.PlanEpoch

	d.refuses(jobs.ErrLeaseLost, func(tx *jobs.Tx) error { _, err := tx.RenewPart(epoch, 1, old, 2, 2); return err })
	d.refuses(jobs.ErrLeaseLost, func(tx *jobs.Tx) error {
		_, err := tx.CommitPart(epoch, 1, old, "w1", jobs.PartResult{Rows: 10})
		return err
	})
	for i := 1; i < 4; i++ {
		l := d.claimPart(i)
		if p := d.part(i); p.Attempt != 1 || p.JobEpoch != d.job.Epoch {
			t.Errorf("part %d = %+v, want it at attempt 1 of epoch %d", i, p, d.job.Epoch)
		}
		d.commitPart(i, l)
	}
	if d.job.Phase != jobs.PhaseFinalize || d.job.RowsDone != 40 {
		t.Errorf("job = %+v, want it finalized with 40 rows", d.job)
	}
}

func TestWakePart(t *testing.T) {
	t.Parallel()
	wake := func(d *desk, epoch int64) (notify bool) {
		d.t.Helper()
		d.must(func(tx *jobs.Tx) (err error) { notify, err = tx.WakePart(epoch, 0); return })
		return notify
	}
	d := newDesk(t)
	d.plan(2)
	epoch := d.job.PlanEpoch
	d.claimPart(0)
	d.pass(32 * time.Second)
	if wake(d, epoch) || d.part(0).State != jobs.PartRunning {
		t.Error("a lease was taken before it had run out by more than the skew")
	}
	d.pass(2 * time.Second)
	if !wake(d, epoch) || d.part(0).State != jobs.PartPending || !d.part(0).WakeAt.After(d.now) {
		t.Errorf("woken part = %+v, want it pending and notified", d.part(0))
	}
	d.pass(time.Minute)
	d.must(func(tx *jobs.Tx) error { return tx.Cancel("") })
	if wake(d, epoch) || !d.part(0).WakeAt.IsZero() {
		t.Error("a part of a canceled job wakes again")
	}
	d.refuses(jobs.ErrNotFound, func(tx *jobs.Tx) error { _, err := tx.WakePart(epoch+1, 0); return err })

	d = newDesk(t)
	d.plan(2)
	d.claimPart(0)
	d.pass(time.Hour)
	d.job.Kind = "nonsense"
	if wake(d, d.job.PlanEpoch) || !d.part(0).WakeAt.IsZero() {
		t.Error("a part of a damaged job wakes for ever")
	}
}

func TestWake(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	if d.wake() != jobs.Nothing {
		t.Error("a job that is not due has a duty")
	}
	d.pass(20 * time.Second)
	if d.wake() != jobs.NotifyJob {
		t.Error("a queued job is not notified")
	}
	d.claim()
	d.pass(32 * time.Second)
	if d.wake() != jobs.Nothing {
		t.Error("a lease was taken before it had run out by more than the skew")
	}
	d.pass(2 * time.Second)
	if d.wake() != jobs.NotifyJob || d.job.State != jobs.Queued || !d.job.SameAttempt {
		t.Errorf("job with a lapsed lease = %+v", d.job)
	}
	d.plan(2)
	d.pass(20 * time.Second)
	if d.wake() != jobs.RefillParts {
		t.Error("the window of parts is not refilled")
	}
	d.job.Schema++
	d.refuses(jobs.ErrUnknownSchema, func(tx *jobs.Tx) error { _, err := tx.Wake(); return err })
}

func TestInvalidate(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.refuses(jobs.ErrNotDue, (*jobs.Tx).Invalidate)
	d.job.OrgID = ""
	d.refuses(jobs.ErrInvalid, func(tx *jobs.Tx) error { _, err := tx.Claim("w"); return err })
	d.wake()
	d.is(jobs.Failed)
	if d.job.Error.Code != jobs.CodeInvalidJob {
		t.Errorf("error = %+v", d.job.Error)
	}
	if d.last.Callback != nil {
		t.Error("a callback was made for a job of nobody")
	}
	d.refuses(jobs.ErrNotDue, (*jobs.Tx).Invalidate)
	d.refuses(jobs.ErrTransition, func(tx *jobs.Tx) error { _, err := tx.Rerun(jobs.RerunFresh, "again"); return err })
	d.pass(d.policy.SweepAfter)
	if d.wake() != jobs.Nothing { // sweeps nothing: where its objects lie is not known
		t.Error("a damaged job was ended twice")
	}
	d.pass(d.policy.RecordLife)
	if d.wake() != jobs.Purge {
		t.Error("a damaged job is not purged")
	}
}
