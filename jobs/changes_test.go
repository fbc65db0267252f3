package jobs_test

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"exportd/jobs"
)

// comparing is a queued job that is to tell the changes to a file of 12 rows.
func comparing(t *testing.T) *desk {
	d := newDesk(t)
	since := jobs.NewID()
	d.job.Params = jobs.Params{jobs.ParamSince: since}
	d.job.Fingerprint = jobs.Fingerprint("o", "vip-users", 1, d.job.Params)
	d.job.Base = &jobs.Whole{Object: "exports/o/" + since + "/1/vip-users-x.csv", Rows: 12, Size: 120, Snapshot: d.now}
	return d
}

// compared is its result where of 10 rows 2 were added and 3 have changed.
func (d *desk) compared() jobs.Result {
	return jobs.Result{
		Object: d.job.ResultName(), Rows: 10, Size: 50, Changes: &jobs.Changes{Added: 2, Changed: 3, Removed: 4, Unchanged: 5},
		Whole: &jobs.Whole{Object: d.job.WholeName(), Rows: 10, Size: 100, Snapshot: d.now},
	}
}

// TestSucceedWithChanges: changes must lead from the rows of the one snapshot to those of the other, and what
// was written on the way is swept, but for the file with all rows.
func TestSucceedWithChanges(t *testing.T) {
	t.Parallel()
	d := comparing(t)
	l := d.claim()
	d.must(func(tx *jobs.Tx) error { return tx.Pin(l, d.now, 10) })
	for name, change := range map[string]func(r *jobs.Result){
		"nothing compared":     func(r *jobs.Result) { r.Changes = nil },
		"no file of all rows":  func(r *jobs.Result) { r.Whole = nil },
		"a row too few before": func(r *jobs.Result) { r.Changes.Removed-- },
		"a row too many now":   func(r *jobs.Result) { r.Changes.Added++ },
		"one kind for another": func(r *jobs.Result) { r.Changes.Changed--; r.Changes.Added++ },
		"a longer file":        func(r *jobs.Result) { r.Whole.Rows++ },
	} {
		r := d.compared()
		change(&r)
		err := d.do(func(tx *jobs.Tx) error { return tx.Succeed(l, r) })
		if f, ok := errors.AsType[*jobs.Failure](err); !ok || f.Code != jobs.CodeCountMismatch {
			t.Errorf("%s: %v", name, err)
		}
	}
	r := d.compared()
	d.must(func(tx *jobs.Tx) error { return tx.Succeed(l, r) })
	if w := d.job.Whole(); w != *r.Whole || d.job.Result.FileRows() != 9 || !d.job.Cleanup || d.job.Swept() {
		t.Errorf("the file with all rows is %+v, %d rows are in the other, to be swept: %t", w, d.job.Result.FileRows(), d.job.Cleanup)
	}
	if err := d.job.Check(d.now); err != nil || d.last.Callback.Rows != 9 {
		t.Errorf("it is %v, the callback tells %d rows", err, d.last.Callback.Rows)
	}
	plain := newDesk(t)
	plain.succeed()
	if w := plain.job.Whole(); w.Object != plain.job.Result.Object || w.Rows != 10 || plain.job.WholeName() != plain.job.ResultName() {
		t.Errorf("a job without since has all rows in %+v", w)
	}
}

// TestDamagedChanges: a job that cannot tell the changes that were asked for is ended, whatever is wrong with
// what its file was to be made of, or is.
func TestDamagedChanges(t *testing.T) {
	t.Parallel()
	done := func() *desk {
		d := comparing(t)
		l := d.claim()
		d.must(func(tx *jobs.Tx) error { return tx.Pin(l, d.now, 10) })
		r := d.compared()
		d.must(func(tx *jobs.Tx) error { return tx.Succeed(l, r) })
		return d
	}
	documents := map[string]func(j *jobs.Job) any{
		"base": func(j *jobs.Job) any { return j.Base }, "whole": func(j *jobs.Job) any { return j.Result.Whole }, "changes": func(j *jobs.Job) any { return j.Result.Changes },
	}
	ended := 0
	for name, of := range documents {
		eachField(reflect.ValueOf(of(done().job)).Elem(), "", func(field string, v reflect.Value) {
			for _, value := range extremes(v) {
				d := done()
				f := reflect.ValueOf(of(d.job)).Elem().FieldByName(field)
				f.Set(reflect.ValueOf(value).Convert(f.Type()))
				if err := d.job.Check(d.now); errors.Is(err, jobs.ErrInvalid) {
					ended++
					checkInvalidated(t, d, fmt.Sprintf("%s.%s = %.40v", name, field, value))
				}
			}
		})
	}
	for name, damage := range map[string]func(j *jobs.Job){
		"no base": func(j *jobs.Job) { j.Base = nil }, "no whole": func(j *jobs.Job) { j.Result.Whole = nil }, "no changes": func(j *jobs.Job) { j.Result.Changes = nil },
		"the base of another org": func(j *jobs.Job) { j.Base.Object = strings.Replace(j.Base.Object, "/o/", "/other/", 1) },
		"the base of another job": func(j *jobs.Job) {
			j.Base.Object = strings.Replace(j.Base.Object, j.Params.Since(), jobs.NewID(), 1)
		},
		"whole is the result": func(j *jobs.Job) { j.Result.Whole.Object = j.Result.Object },
	} {
		d := done()
		damage(d.job)
		if err := d.job.Check(d.now); !errors.Is(err, jobs.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		checkInvalidated(t, d, name)
	}
	d := newDesk(t)
	d.job.Base = &jobs.Whole{Object: "exports/o/x/1/y", Snapshot: d.now}
	if err := d.job.Check(d.now); !errors.Is(err, jobs.ErrInvalid) {
		t.Errorf("a base that nobody asked for: %v", err)
	}
	if ended < 60 {
		t.Errorf("%d documents ended as damaged", ended)
	}
}
