package jobs_test

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"exportd/jobs"
)

// shown is a job as stores give it to readers: what makes no sense, as what it is ended as.
func shown(d *desk) *jobs.Job {
	again := *d.job
	tx := jobs.NewTx(d.policy, d.now, "", &again, nil)
	if tx.Invalidate() != nil {
		return d.job
	}
	return &again
}

// agree compares what the rule says of a job as it is listed with what becomes of a rerun, by itself and by a
// batch, and gives the reason.
func agree(t *testing.T, what string, d *desk, mode jobs.RerunMode) jobs.Refusal {
	t.Helper()
	reason := func(err error) jobs.Refusal {
		refused, ok := errors.AsType[*jobs.RerunError](err)
		switch {
		case err == nil:
			return ""
		case !ok:
			t.Errorf("%s, mode %s: %v, want a RerunError", what, mode, err)
			return "another error"
		}
		known := 0
		for _, sentinel := range []error{jobs.ErrNotFound, jobs.ErrUnknownSchema, jobs.ErrTransition} {
			if errors.Is(err, sentinel) {
				known++
			}
		}
		if known != 1 || refused.JobID != d.job.ID {
			t.Errorf("%s, mode %s: %v is %d of the errors that callers know", what, mode, err, known)
		}
		return refused.Reason
	}
	want := reason(shown(d).Rerunnable(mode, d.policy, d.now))
	alone, batch := *d, *d
	if got := reason(alone.do(func(tx *jobs.Tx) error { _, err := tx.Rerun(mode, "r"); return err })); got != want {
		t.Errorf("%s, mode %s: Rerun gives %q, the rule %q", what, mode, got, want)
	}
	b := &jobs.Batch{ID: jobs.NewID(), Mode: mode, Reason: "r"}
	if got := reason(batch.do(func(tx *jobs.Tx) error { return tx.RerunIn(b) })); got != want {
		t.Errorf("%s, mode %s: RerunIn gives %q, the rule %q", what, mode, got, want)
	}
	if want != "" {
		return want
	}
	if alone.job.State != jobs.Queued || alone.job.Check(d.now) != nil || batch.job.BatchID != b.ID {
		t.Errorf("%s, mode %s: run again it is %s (%v), of batch %q", what, mode, alone.job.State, alone.job.Check(d.now), batch.job.BatchID)
	}
	if err := batch.do(func(tx *jobs.Tx) error { return tx.RerunIn(b) }); !errors.Is(err, jobs.ErrNotDue) {
		t.Errorf("%s: the batch runs it again a second time: %v", what, err)
	}
	return ""
}

// TestRerunnable: whatever a job's document holds, at whatever stage, the rule that lists and batches ask and
// the transition say the same, and every refusal is one that callers can tell by.
func TestRerunnable(t *testing.T) {
	t.Parallel()
	count := map[jobs.Refusal]int{}
	try := func(what string, d *desk) {
		for _, mode := range []jobs.RerunMode{jobs.RerunResume, jobs.RerunFresh} {
			count[agree(t, what, d, mode)]++
			late := *d
			late.pass(d.policy.RecordLife)
			count[agree(t, what+", late", &late, mode)]++
		}
	}
	for stage, make := range stages(t) {
		d := make()
		try(stage, d)
		gone := *d
		gone.must(func(tx *jobs.Tx) error { return tx.Delete("") })
		try(stage+" and deleted", &gone)
		damaged := *d
		again := *d.job
		damaged.job, again.Damage = &again, "of another type: phase"
		try(stage+" and of another type", &damaged)
		eachField(reflect.ValueOf(d.job).Elem(), "", func(name string, field reflect.Value) {
			was := field.Interface()
			defer func() { field.Set(reflect.ValueOf(was)) }()
			for _, v := range extremes(field) {
				field.Set(reflect.ValueOf(v).Convert(field.Type()))
				try(stage+" with "+name, d)
			}
		})
	}
	for _, r := range append([]jobs.Refusal{""}, jobs.Refusals...) {
		if count[r] == 0 {
			t.Errorf("no job was refused for %q", r)
		}
	}
	t.Logf("reasons: %v", count)
}

// A refused move says what the job is, so that nobody has to read it again to tell.
func TestTransitionError(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.succeed()
	err := d.do(func(tx *jobs.Tx) error { return tx.Cancel("") })
	e, ok := errors.AsType[*jobs.TransitionError](err)
	if !ok || e.State != jobs.Succeeded || e.To != jobs.Canceled || !errors.Is(err, jobs.ErrTransition) {
		t.Errorf("cancel of a succeeded job = %v", err)
	}
}

// A job that was damaged while it ran, and is run again before anybody has ended it, ends once to its
// receiver and leaves nothing in storage unswept.
func TestRerunOfDamaged(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.claim()
	d.job.Interruptions = -1
	d.must(func(tx *jobs.Tx) error { _, err := tx.Rerun(jobs.RerunResume, "r"); return err })
	if d.last.Callback == nil || d.last.Callback.Event != "export.failed" || len(d.last.Events) != 2 {
		t.Errorf("it was ended with callback %+v and %d events", d.last.Callback, len(d.last.Events))
	}
	d.pass(time.Minute)
	d.succeed()
	if !d.job.Cleanup {
		t.Error("objects of the damaged run are not swept")
	}
}
