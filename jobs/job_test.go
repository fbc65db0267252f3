package jobs_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"exportd/jobs"
)

func TestCanBecome(t *testing.T) {
	t.Parallel()
	legal := map[jobs.State]string{
		jobs.Queued: "running canceled failed", jobs.Running: "queued succeeded failed canceled", jobs.Succeeded: "expired queued",
		jobs.Failed: "queued", jobs.Canceled: "queued", jobs.Expired: "queued", "": "", "nonsense": "",
	}
	for from, to := range legal {
		for _, next := range append(slices.Clone(jobs.States), "", "nonsense") {
			want := next != "" && slices.Contains(fieldsOf(to), string(next))
			if got := from.CanBecome(next); got != want {
				t.Errorf("%q.CanBecome(%q) = %v, want %v", from, next, got, want)
			}
		}
	}
}

func TestClaimAndRenew(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	l := d.claim()
	if d.job.Epoch != 1 || d.job.Attempt != 1 || l.Token == "" || !l.Until.Equal(d.now.Add(30*time.Second)) {
		t.Errorf("claimed job = epoch %d, attempt %d, lease %+v", d.job.Epoch, d.job.Attempt, l)
	}
	d.refuses(jobs.ErrNotDue, func(tx *jobs.Tx) error { _, err := tx.Claim("w2"); return err })
	d.pass(10 * time.Second)
	d.must(func(tx *jobs.Tx) error { _, err := tx.Renew(l, 7, 70); return err })
	d.must(func(tx *jobs.Tx) error { _, err := tx.Renew(l, 3, 30); return err })
	if d.job.RowsDone != 7 || d.job.BytesDone != 70 || !d.job.Lease.Until.Equal(d.now.Add(30*time.Second)) {
		t.Errorf("renewed job = %d rows, %d bytes, lease %+v", d.job.RowsDone, d.job.BytesDone, d.job.Lease)
	}
	for _, other := range []jobs.Lease{{}, {Token: "other"}} {
		d.refuses(jobs.ErrLeaseLost, func(tx *jobs.Tx) error { _, err := tx.Renew(other, 9, 9); return err })
		d.refuses(jobs.ErrLeaseLost, func(tx *jobs.Tx) error { return tx.Pin(other, d.now, 9) })
		d.refuses(jobs.ErrLeaseLost, func(tx *jobs.Tx) error { return tx.Plan(other, d.now, nil, 0) })
		d.refuses(jobs.ErrLeaseLost, func(tx *jobs.Tx) error { return tx.Succeed(other, jobs.Result{}) })
		d.refuses(jobs.ErrLeaseLost, func(tx *jobs.Tx) error { return tx.EndAttempt(other, failure(jobs.Permanent)) })
	}
}

func TestSucceed(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	l := d.claim()
	wrong := func(tx *jobs.Tx) error { return tx.Succeed(l, jobs.Result{Rows: 9}) }
	for range 2 { // not counted, then counted otherwise
		var f *jobs.Failure
		if err := d.do(wrong); !errors.As(err, &f) || f.Code != jobs.CodeCountMismatch || f.Class != jobs.Permanent {
			t.Errorf("Succeed with the wrong rows = %v, want a permanent COUNT_MISMATCH", err)
		}
		d.must(func(tx *jobs.Tx) error { return tx.Pin(l, d.now, 10) })
	}
	d.must(func(tx *jobs.Tx) error {
		return tx.Succeed(l, jobs.Result{Object: d.job.ResultName(), Rows: 10, Size: 5})
	})
	d.is(jobs.Succeeded)
	if cb := d.last.Callback; cb == nil || cb.Event != "export.succeeded" || cb.ID != jobs.CallbackID(d.job) || !jobs.ValidCallbackID(cb.ID) {
		t.Errorf("callback = %+v", cb)
	}
	d.refuses(jobs.ErrLeaseLost, func(tx *jobs.Tx) error { return tx.Succeed(l, jobs.Result{Object: "o2", Rows: 10}) })
	d.pass(d.policy.FileLife)
	if duty := d.wake(); duty != jobs.Sweep {
		t.Errorf("Wake at the end of the file's life = %v, want Sweep", duty)
	}
	d.is(jobs.Expired)
	d.must((*jobs.Tx).Cleaned)
	d.refuses(jobs.ErrNotDue, (*jobs.Tx).Cleaned)
	d.pass(d.policy.RecordLife)
	if duty := d.wake(); duty != jobs.Purge {
		t.Errorf("Wake at the end of the record's life = %v, want Purge", duty)
	}
}

func TestEndAttempt(t *testing.T) {
	t.Parallel()
	t.Run("transient until attempts are spent", func(t *testing.T) {
		t.Parallel()
		d := newDesk(t)
		for i := range d.policy.MaxAttempts {
			d.endAttempt(d.claim(), jobs.Transient)
			if i < d.policy.MaxAttempts-1 {
				d.is(jobs.Queued)
				d.refuses(jobs.ErrNotDue, func(tx *jobs.Tx) error { _, err := tx.Claim("w"); return err })
			}
			d.pass(time.Minute)
		}
		d.is(jobs.Failed)
		if d.job.Attempt != 3 || !d.job.Error.Retryable || d.job.Error.Code != jobs.CodeUnavailable {
			t.Errorf("failed job = attempt %d, %+v", d.job.Attempt, d.job.Error)
		}
	})
	t.Run("permanent", func(t *testing.T) {
		t.Parallel()
		d := newDesk(t)
		d.endAttempt(d.claim(), jobs.Permanent)
		d.is(jobs.Failed)
		if d.job.Error.Retryable || d.job.Error.Remedy != "mend it" || !d.job.Cleanup {
			t.Errorf("failed job = %+v, cleanup %v", d.job.Error, d.job.Cleanup)
		}
	})
	t.Run("interrupted spends no attempt and is bounded", func(t *testing.T) {
		t.Parallel()
		d := newDesk(t)
		for range d.policy.MaxInterruptions {
			d.endAttempt(d.claim(), jobs.Interrupted)
			d.is(jobs.Queued)
		}
		l := d.claim()
		if d.job.Attempt != 1 || d.job.Epoch != 3 {
			t.Errorf("after 2 interruptions attempt = %d, epoch %d, want 1, 3", d.job.Attempt, d.job.Epoch)
		}
		d.endAttempt(l, jobs.Interrupted)
		d.is(jobs.Failed)
		if d.job.Error.Code != jobs.CodeInterrupted {
			t.Errorf("error = %+v", d.job.Error)
		}
	})
	t.Run("progress forgives interruptions", func(t *testing.T) {
		t.Parallel()
		d := newDesk(t)
		for i := range 5 {
			l := d.claim()
			d.must(func(tx *jobs.Tx) error { _, err := tx.Renew(l, int64(i+1), 0); return err })
			d.endAttempt(l, jobs.Interrupted)
			d.is(jobs.Queued)
		}
	})
	t.Run("stale restarts once", func(t *testing.T) {
		t.Parallel()
		d := newDesk(t)
		d.plan(2)
		l := d.claimPart(0)
		d.must(func(tx *jobs.Tx) error { _, err := tx.RenewPart(d.job.PlanEpoch, 0, l, 6, 60); return err })
		d.endPartAttempt(0, l, jobs.Stale)
		d.is(jobs.Queued)
		if d.job.PlanEpoch != 0 || !d.job.SnapshotTime.IsZero() || d.job.RowsFloor != 6 || d.job.RowsDone != 0 {
			t.Errorf("restarted job = %+v", d.job)
		}
		l = d.claim()
		d.must(func(tx *jobs.Tx) error {
			return tx.EndAttempt(l, jobs.Fail(jobs.CodeSnapshotTooOld, jobs.Stale, "too old", "", nil))
		})
		d.is(jobs.Failed)
		if d.job.Error.Code != jobs.CodeSnapshotTooOld || !strings.Contains(d.job.Error.Remedy, "EXPORTD_PITR") {
			t.Errorf("error = %+v", d.job.Error)
		}
	})
	t.Run("a second time it ends by the code of what was lost", func(t *testing.T) {
		t.Parallel()
		d := newDesk(t)
		gone := jobs.Fail(jobs.CodePartsMissing, jobs.Stale, "parts are missing", "find out who deletes them", nil)
		for _, want := range []jobs.State{jobs.Queued, jobs.Failed} {
			l := d.claim()
			d.must(func(tx *jobs.Tx) error { return tx.EndAttempt(l, gone) })
			d.is(want)
		}
		if e := d.job.Error; e.Code != jobs.CodePartsMissing || e.Remedy != gone.Remedy || e.Retryable {
			t.Errorf("error = %+v, want the code and the remedy of the failure", e)
		}
	})
}

func TestCancelAndDelete(t *testing.T) {
	t.Parallel()
	cancel := func(tx *jobs.Tx) error { return tx.Cancel("why") }
	remove := func(tx *jobs.Tx) error { return tx.Delete("why") }
	d := newDesk(t)
	l := d.claim()
	d.must(cancel)
	d.is(jobs.Canceled)
	d.must(cancel)
	if len(d.last.Events) != 0 {
		t.Error("canceling again left an event")
	}
	d.refuses(jobs.ErrLeaseLost, func(tx *jobs.Tx) error { return tx.EndAttempt(l, failure(jobs.Transient)) })
	if d.wake() != jobs.Sweep {
		t.Error("a canceled job is not swept")
	}
	d.must((*jobs.Tx).Cleaned)
	if !d.job.Cleanup {
		t.Error("no second sweep after a cancel")
	}
	d.must(remove)
	d.refuses(jobs.ErrNotFound, func(tx *jobs.Tx) error { _, err := tx.Rerun(jobs.RerunFresh, ""); return err })

	d = newDesk(t)
	d.succeed()
	d.refuses(jobs.ErrTransition, cancel)
	epoch := d.job.Epoch
	d.must(remove)
	d.is(jobs.Expired)
	if d.job.Epoch == epoch || !d.job.Cleanup {
		t.Errorf("deleted job = epoch %d as before, cleanup %v", d.job.Epoch, d.job.Cleanup)
	}
	d.must(remove)
	if d.last.Callback != nil {
		t.Error("a deleted job calls back")
	}
}

func TestRerun(t *testing.T) {
	t.Parallel()
	rerun := func(d *desk, mode jobs.RerunMode) (got jobs.RerunMode) {
		d.t.Helper()
		d.must(func(tx *jobs.Tx) (err error) { got, err = tx.Rerun(mode, "why"); return })
		return got
	}
	again := func(tx *jobs.Tx) error { _, err := tx.Rerun(jobs.RerunFresh, ""); return err }
	d := newDesk(t)
	d.refuses(jobs.ErrTransition, again)
	d.plan(3)
	d.refuses(jobs.ErrTransition, again)
	d.commitPart(0, d.claimPart(0))
	d.endPartAttempt(1, d.claimPart(1), jobs.Permanent)
	d.is(jobs.Failed)
	if got := rerun(d, jobs.RerunResume); got != jobs.RerunResume || d.job.PartsDone != 1 {
		t.Errorf("Rerun = %s with %d parts done, want resume with 1", got, d.job.PartsDone)
	}
	if l := d.claim(); l.Token != "" {
		t.Error("the claim of a job with a plan in force gave a lease")
	}
	var notify []int
	d.must(func(tx *jobs.Tx) (err error) { notify, err = tx.Refill([]int{1, 2}); return })
	if !slices.Equal(notify, []int{1, 2}) {
		t.Errorf("Refill = %v, want [1 2]", notify)
	}
	d.endPartAttempt(1, d.claimPart(1), jobs.Permanent)
	d.pass(d.policy.SnapshotLife)
	if got := rerun(d, jobs.RerunResume); got != jobs.RerunFresh || d.job.PartsTotal != 0 {
		t.Errorf("Rerun after the snapshot's life = %s, %d parts, want fresh, 0", got, d.job.PartsTotal)
	}
	d.succeed()
	d.refuses(jobs.ErrTransition, func(tx *jobs.Tx) error { _, err := tx.Rerun(jobs.RerunResume, ""); return err })
	epoch := d.job.Epoch
	if got := rerun(d, jobs.RerunFresh); got != jobs.RerunFresh || d.job.Result != (jobs.Result{}) || d.job.Epoch == epoch {
		t.Errorf("Rerun of a succeeded job = %s with result %+v in epoch %d", got, d.job.Result, d.job.Epoch)
	}
	d.succeed()
	d.pass(d.policy.FileLife)
	for range 2 { // what earlier epochs left, then the file
		if d.wake() == jobs.Sweep {
			d.must((*jobs.Tx).Cleaned)
		}
		d.pass(time.Second)
	}
	d.wake()
	d.is(jobs.Expired)
	rerun(d, jobs.RerunFresh)
	if d.job.Result != (jobs.Result{}) || d.job.AttemptBase != d.job.Attempt {
		t.Errorf("rerun job = result %+v, attempt base %d of %d", d.job.Result, d.job.AttemptBase, d.job.Attempt)
	}
	d.must(func(tx *jobs.Tx) error { return tx.Cancel("") })
	d.pass(d.policy.RecordLife - d.policy.Skew)
	d.refuses(jobs.ErrNotFound, again)
}

// TestFileName: a file has one name, whatever it is downloaded by.
func TestFileName(t *testing.T) {
	t.Parallel()
	from := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	for want, j := range map[string]jobs.Job{
		"vip-messages_2026-06-01_2026-06-30.csv": {Kind: "vip-messages", Params: jobs.Params{"from": from, "to": from.AddDate(0, 1, 0)}},
		"vip-users_2026-06-01.csv":               {Kind: "vip-users", SnapshotTime: from.Add(time.Hour)},
		"vip-users_2026-06-02.zip":               {Kind: "vip-users", SnapshotTime: from.AddDate(0, 0, 1), SheetRows: 5},
	} {
		if got := j.FileName(); got != want {
			t.Errorf("FileName() = %q, want %q", got, want)
		}
	}
}

// TestPlanSheets: the limit of sheets is the plan's: it stays with a rerun that goes on with that, and goes
// with it; what the parts deflate stays with them.
func TestPlanSheets(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.job.Params = d.job.Params.With(jobs.ParamProfile, jobs.ProfileExcel).With(jobs.ParamExcelForm, jobs.ExcelUTF16)
	d.job.Fingerprint = jobs.Fingerprint(d.job.OrgID, d.job.Kind, jobs.ColumnsVersion(d.job.Columns), d.job.Params)
	l := d.claim()
	d.must(func(tx *jobs.Tx) error {
		return tx.Plan(l, d.now, []jobs.Range{{To: "a", Rows: 10}, {From: "a", Rows: 10}}, 15)
	})
	part := d.claimPart(0)
	plain := &jobs.Plain{Size: 1000, CRC32: 7}
	d.must(func(tx *jobs.Tx) error {
		object := d.part(0).ObjectName(d.job, part.Token)
		_, err := tx.CommitPart(d.job.PlanEpoch, 0, part, "w1", jobs.PartResult{Object: object, Rows: 10, Size: 100, Plain: plain})
		return err
	})
	if d.part(0).Plain != plain || !strings.HasSuffix(d.part(0).Object, ".zip") || d.job.Stored().Schema != 2 {
		t.Errorf("the part is %+v", d.part(0))
	}
	for _, size := range []int64{-1, 1<<53 + 1} {
		damaged := *d.part(0)
		damaged.Plain = &jobs.Plain{Size: size}
		if err := damaged.Check(d.job, d.now); !errors.Is(err, jobs.ErrInvalid) {
			t.Errorf("a part of %d plain bytes: %v", size, err)
		}
	}
	d.endPartAttempt(1, d.claimPart(1), jobs.Permanent)
	d.is(jobs.Failed)
	d.must(func(tx *jobs.Tx) error { _, err := tx.Rerun(jobs.RerunResume, "r"); return err })
	if d.job.SheetRows != 15 || d.job.PartsDone != 1 {
		t.Errorf("run again, it has sheets of %d rows and %d parts", d.job.SheetRows, d.job.PartsDone)
	}
	d.must(func(tx *jobs.Tx) error { return tx.Cancel("") })
	d.must(func(tx *jobs.Tx) error { _, err := tx.Rerun(jobs.RerunFresh, "r"); return err })
	if d.job.SheetRows != 0 || d.job.PartsTotal != 0 {
		t.Errorf("run again from the beginning, it has sheets of %d rows", d.job.SheetRows)
	}
	d.job.SheetRows = 15
	if err := d.job.Check(d.now); err == nil {
		t.Error("sheets without a plan are taken")
	}
}

// TestLose: a file that storage lost expires before its time, once, and for its own job only.
func TestLose(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	lose := func(tx *jobs.Tx) error { return tx.LoseFile(d.job.Result.Object) }
	d.refuses(jobs.ErrNotDue, lose)
	d.succeed()
	d.refuses(jobs.ErrNotDue, func(tx *jobs.Tx) error { return tx.LoseFile("another") })
	file, epoch := d.job.FileExpiresAt, d.job.Epoch
	d.must(lose)
	d.is(jobs.Expired)
	if d.job.Error == nil || d.job.Error.Code != jobs.CodeFileLost || !d.job.Cleanup || d.job.Epoch != epoch+1 {
		t.Errorf("a lost file gives %+v", d.job)
	}
	if !d.job.WakeAt.Equal(file) {
		t.Errorf("WakeAt = %s: what is left in storage is deleted before the file's time, %s", d.job.WakeAt, file)
	}
	d.refuses(jobs.ErrNotDue, lose)
	d.must(func(tx *jobs.Tx) error {
		mode, err := tx.Rerun(jobs.RerunResume, "files lost")
		if mode != jobs.RerunFresh {
			t.Errorf("Rerun = %s, want fresh", mode)
		}
		return err
	})
	if d.is(jobs.Queued); d.job.Error != nil {
		t.Errorf("a rerun has error %+v", d.job.Error)
	}
}
