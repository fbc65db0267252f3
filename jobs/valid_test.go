package jobs_test

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"exportd/jobs"
)

// extremes are values of a field's type that nothing writes, or few things do.
func extremes(v reflect.Value) []any {
	switch v.Interface().(type) {
	case time.Time:
		year := func(y int) time.Time { return time.Date(y, 1, 1, 0, 0, 0, 0, time.UTC) }
		return []any{time.Time{}, year(1).Add(time.Second), year(1999), year(2200), year(9999)}
	case *jobs.JobError:
		return []any{(*jobs.JobError)(nil), &jobs.JobError{}, &jobs.JobError{Code: "X", Message: strings.Repeat("x", 1<<20)}}
	}
	switch v.Kind() {
	case reflect.String:
		return []any{"", "x", "a/b", "..", "\x00", strings.Repeat("x", 1<<20), "msg_failed_1", "https://example.com/other"}
	case reflect.Int, reflect.Int64:
		return []any{0, 1, -1, -7, 3, 1001, 2_000_000_000, math.MaxInt64, math.MinInt64}
	case reflect.Bool:
		return []any{true, false}
	}
	return nil
}

// eachField calls fn with every field of a document, those of structs inside included.
func eachField(v reflect.Value, name string, fn func(name string, v reflect.Value)) {
	for i := range v.NumField() {
		f, n := v.Field(i), name+v.Type().Field(i).Name
		if v.Type().Field(i).Tag.Get("firestore") == "-" {
			continue
		}
		if extremes(f) != nil {
			fn(n, f)
		} else if f.Kind() == reflect.Struct {
			eachField(f, n+".", fn)
		}
	}
}

// stages are jobs in everything that a job passes through.
func stages(t *testing.T) map[string]func() *desk {
	return map[string]func() *desk{
		"queued":  func() *desk { return newDesk(t) },
		"running": func() *desk { d := newDesk(t); d.claim(); return d },
		"parts":   func() *desk { d := newDesk(t); d.plan(3); d.commitPart(0, d.claimPart(0)); return d },
		"finalize": func() *desk {
			d := newDesk(t)
			d.plan(2)
			d.commitPart(0, d.claimPart(0))
			d.commitPart(1, d.claimPart(1))
			return d
		},
		"succeeded": func() *desk { d := newDesk(t); d.succeed(); return d },
		"failed": func() *desk {
			d := newDesk(t)
			d.plan(2)
			d.endPartAttempt(0, d.claimPart(0), jobs.Permanent)
			return d
		},
		"canceled": func() *desk { d := newDesk(t); d.must(func(tx *jobs.Tx) error { return tx.Cancel("") }); return d },
		"expired":  func() *desk { d := newDesk(t); d.succeed(); d.pass(d.policy.FileLife); d.wake(); return d },
	}
}

// TestDamagedJob: whatever a field holds, at whatever stage, a job either is whole or is ended once, as a job
// that is whole; and its callback, if it can be made, is a new one.
func TestDamagedJob(t *testing.T) {
	t.Parallel()
	tried, ended := 0, 0
	for stage, make := range stages(t) {
		whole := make()
		if err := whole.job.Check(whole.now); err != nil {
			t.Errorf("a job that is %s: %v", stage, err)
		}
		eachField(reflect.ValueOf(whole.job).Elem(), "", func(name string, field reflect.Value) {
			for _, value := range extremes(field) {
				d := make()
				v := reflect.ValueOf(d.job).Elem()
				for n := range strings.SplitSeq(name, ".") {
					v = v.FieldByName(n)
				}
				v.Set(reflect.ValueOf(value).Convert(v.Type()))
				tried++
				if d.job.Schema > 1 && d.job.Schema < 1002 {
					continue // another build's
				}
				if err := d.job.Check(d.now); err == nil {
					continue
				} else if !errors.Is(err, jobs.ErrInvalid) || len(err.Error()) > 1000 {
					t.Errorf("%s with %s: Check() = %.200v", stage, name, err)
				}
				ended++
				checkInvalidated(t, d, fmt.Sprintf("%s with %s = %.40v", stage, name, value))
			}
		})
	}
	t.Logf("%d documents, %d ended as damaged", tried, ended)
}

func checkInvalidated(t *testing.T, d *desk, what string) {
	t.Helper()
	told := jobs.CallbackID(d.job)
	if duty := d.wake(); duty != jobs.Nothing || d.job.State != jobs.Failed || d.job.Error.Code != jobs.CodeInvalidJob {
		t.Errorf("%s: Wake() = %d, job is %s", what, duty, d.job.State)
	}
	if cb := d.last.Callback; cb != nil && (cb.ID == told || !jobs.ValidCallbackID(cb.ID)) {
		t.Errorf("%s: the callback is %s, that of the end before was %s", what, cb.ID, told)
	}
	if err := d.job.Check(d.now); err != nil {
		t.Errorf("%s: after Invalidate: %v", what, err)
	}
	d.pass(d.policy.RecordLife + time.Hour)
	for range 5 {
		if d.wake() == jobs.Purge {
			return
		}
		if d.job.Cleanup {
			d.must((*jobs.Tx).Cleaned)
		}
		d.pass(d.policy.RecordLife)
	}
	t.Errorf("%s: it is never purged", what)
}

// TestDamagedStates: a state goes with some phases only.
func TestDamagedStates(t *testing.T) {
	t.Parallel()
	for stage, make := range stages(t) {
		for _, s := range append([]jobs.State{"", "paused"}, jobs.States...) {
			for _, p := range []jobs.Phase{jobs.PhaseStart, jobs.PhaseParts, jobs.PhaseFinalize, "other"} {
				d := make()
				if d.job.State == s && d.job.Phase == p {
					continue
				}
				d.job.State, d.job.Phase = s, p
				if err := d.job.Check(d.now); err != nil {
					checkInvalidated(t, d, fmt.Sprintf("%s as %s %s", stage, s, p))
				} else if s.Ended() && s != jobs.Failed && stage != "succeeded" && stage != "expired" { // these two have the same
					t.Errorf("a job that was %s passes as %s in phase %q", stage, s, p)
				}
			}
		}
	}
}

// TestDamagedPart: a plan with a record that makes no sense is dropped once, and then ends its job; the part
// is not due again.
func TestDamagedPart(t *testing.T) {
	t.Parallel()
	made := newDesk(t)
	made.plan(2)
	tried := 0
	eachField(reflect.ValueOf(made.part(0)).Elem(), "", func(name string, field reflect.Value) {
		for _, value := range extremes(field) {
			d := newDesk(t)
			d.plan(2)
			id, plan := d.part(0).ID, d.job.PlanEpoch
			v := reflect.ValueOf(d.parts[id]).Elem()
			for n := range strings.SplitSeq(name, ".") {
				v = v.FieldByName(n)
			}
			v.Set(reflect.ValueOf(value).Convert(v.Type()))
			tried++
			if d.parts[id].Check(d.job, d.now) == nil {
				continue
			}
			d.parts[id].WakeAt = d.now
			what := fmt.Sprintf("part with %s = %.40v", name, value)
			d.refuses(jobs.ErrInvalid, func(tx *jobs.Tx) error { _, _, err := tx.ClaimPart(plan, 0, "w"); return err })
			d.must(func(tx *jobs.Tx) error { _, err := tx.WakePart(plan, 0); return err })
			if d.job.State != jobs.Queued || d.job.PlanEpoch != 0 || d.job.SnapshotRestarts != 1 || !d.parts[id].WakeAt.IsZero() {
				t.Errorf("%s: job = %s, plan %d", what, d.job.State, d.job.PlanEpoch)
			}
			d.plan(2)
			d.must(func(tx *jobs.Tx) error { return tx.VoidPlan(d.job.PlanEpoch, jobs.ErrInvalid) })
			if d.job.State != jobs.Failed || d.job.Error.Code != jobs.CodeInvalidJob {
				t.Errorf("%s a second time: job is %s, %+v", what, d.job.State, d.job.Error)
			}
		}
	})
	d := newDesk(t)
	d.plan(2)
	delete(d.parts, d.part(1).ID)
	d.refuses(jobs.ErrInvalid, func(tx *jobs.Tx) error { _, _, err := tx.ClaimPart(d.job.PlanEpoch, 1, "w"); return err })
	t.Logf("%d documents", tried)
}

// TestDamagedCount: a job whose count of finished parts is too low starts over once all of them are done; it
// would wait for ever for one that is not there.
func TestDamagedCount(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.plan(2)
	d.commitPart(0, d.claimPart(0))
	d.job.PartsDone = 0
	d.commitPart(1, d.claimPart(1))
	d.must(func(tx *jobs.Tx) error { _, err := tx.Refill(nil); return err })
	if d.job.State != jobs.Queued || d.job.PlanEpoch != 0 || d.job.SnapshotRestarts != 1 {
		t.Errorf("job = %+v, want it to start over", d.job)
	}
}

// TestOverslept: whoever looks at a job that is asleep for longer than a transition sends it to sleep does
// what is due; a pause of years is over.
func TestOverslept(t *testing.T) {
	t.Parallel()
	never := time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)
	for stage, make := range stages(t) {
		for _, wake := range []time.Time{{}, never} {
			d := make()
			overdue := func() (yes bool) {
				d.must(func(tx *jobs.Tx) error { yes = tx.Overdue(); return nil })
				return yes
			}
			if overdue() {
				t.Errorf("a job that is %s is overdue at %s", stage, d.job.WakeAt)
			}
			d.job.WakeAt = wake
			bad := false
			func() { // the desk reports jobs without WakeAt
				job := *d.job
				tx := jobs.NewTx(d.policy, d.now, "test", &job, nil)
				bad = tx.Overdue()
			}()
			if !bad {
				t.Errorf("a job that is %s and sleeps until %s is not overdue", stage, wake)
			}
			if d.wake(); !d.job.WakeAt.After(d.now) || d.job.WakeAt.Equal(never) {
				t.Errorf("a job that is %s and slept until %s sleeps until %s", stage, wake, d.job.WakeAt)
			}
		}
	}
	d := newDesk(t)
	d.job.NotBefore = never
	d.claim()
	d = newDesk(t)
	d.plan(2)
	d.part(0).NotBefore, d.part(0).WakeAt = never, never
	d.must(func(tx *jobs.Tx) error {
		if notify, err := tx.WakePart(d.job.PlanEpoch, 0); !notify || err != nil {
			t.Errorf("WakePart() of a part that waits until 2200 = %t, %v", notify, err)
		}
		return nil
	})
	d.claimPart(0)
}

// TestDamagedCallback: whatever a field holds, a delivery is whole or is ended once, and its job's timeline
// says so.
func TestDamagedCallback(t *testing.T) {
	t.Parallel()
	policy := jobs.Policy{Skew: 5 * time.Second, NotifyAgain: 15 * time.Second, MaxInterruptions: 2}
	for _, held := range []bool{false, true} {
		d := newDesk(t)
		d.must(func(tx *jobs.Tx) error { return tx.Cancel("") })
		made := func() *jobs.CallbackTx {
			cb := *d.last.Callback
			tx := &jobs.CallbackTx{Policy: policy, Now: d.now, Actor: "test", Callback: &cb}
			if held {
				if _, err := tx.Claim("w"); err != nil {
					t.Fatal(err)
				}
			}
			return tx
		}
		whole := made()
		if err := whole.Callback.Check(d.now); err != nil {
			t.Fatal(err)
		}
		tried, ended := 0, 0
		eachField(reflect.ValueOf(whole.Callback).Elem(), "", func(name string, field reflect.Value) {
			for _, value := range extremes(field) {
				tx := made()
				v := reflect.ValueOf(tx.Callback).Elem()
				for n := range strings.SplitSeq(name, ".") {
					v = v.FieldByName(n)
				}
				v.Set(reflect.ValueOf(value).Convert(v.Type()))
				tried++
				what := fmt.Sprintf("callback with %s = %.40v", name, value)
				if s := tx.Callback.Schema; s > 1 && s <= 1000 || tx.Callback.Check(tx.Now) == nil {
					continue
				}
				ended++
				if !tx.Overdue() {
					t.Errorf("%s is not overdue", what)
				}
				if err := tx.Invalidate(); err != nil || len(tx.Events) == 0 {
					t.Errorf("%s: Invalidate() = %v, %d events", what, err, len(tx.Events))
				}
				if err := tx.Callback.Check(tx.Now); err != nil || !tx.Callback.WakeAt.IsZero() || tx.Overdue() {
					t.Errorf("%s: after Invalidate: %v, due at %s", what, err, tx.Callback.WakeAt)
				}
				if err := tx.Redeliver(""); !errors.Is(err, jobs.ErrTransition) {
					t.Errorf("%s: Redeliver() = %v", what, err)
				}
			}
		})
		t.Logf("%d documents, %d ended as damaged", tried, ended)
	}
}
