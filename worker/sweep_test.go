package worker_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"exportd/internal/export"
	"exportd/jobs"
	"exportd/worker"
)

// sweeping is oneFile that sweeps as the real pipeline does.
type sweeping struct {
	oneFile
	real *export.Exporter
	now  func() time.Time
}

func (s sweeping) Plan(context.Context, *jobs.Job) (export.Plan, error) {
	return export.Plan{Snapshot: s.now(), Rows: 3, Parts: []jobs.Range{{Rows: 3}}}, nil
}

func (s sweeping) Sweep(ctx context.Context, j *jobs.Job) (int, error) { return s.real.Sweep(ctx, j) }

// TestSweepLooksWhereItMust: from its request to the end of its record, the bucket is not listed for a job
// that one claim carried out, nor for one that was canceled before any; it is for one whose first worker was
// killed after it had written, and what that left goes.
func TestSweepLooksWhereItMust(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	calls := func() (lists, deletes int64) {
		m := r.cloud.Faults().Counters().Methods
		return m["Storage/ListObjects"].Calls, m["Storage/DeleteObject"].Calls
	}
	left := func(prefix string) (n int) {
		for _, err := range r.objects.List(t.Context(), prefix) {
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
		return n
	}
	stop := r.work(t, func(c *worker.Config) {
		c.Exporter = sweeping{oneFile{r.objects}, export.New(nil, r.objects, export.Config{}), r.clock.Now}
	})
	gone := func(id string) {
		t.Helper()
		last := time.Now()
		eventually(t, time.Minute, func() bool {
			j, err := r.store.Get(t.Context(), id)
			if err == nil && time.Since(last) > 100*time.Millisecond {
				last = time.Now()
				r.clock.put(j.WakeAt.Add(time.Second)) // on to the next thing that is due
			}
			return errors.Is(err, jobs.ErrNotFound)
		}, func() any { return id })
	}

	id := r.submit(t, "")
	r.succeeds(t, id, time.Minute)
	j, err := r.store.Get(t.Context(), id)
	if err != nil || !j.Swept() || j.Cleanup {
		t.Fatalf("after its success: %+v, %v", j, err)
	}
	gone(id)
	if lists, deletes := calls(); lists != 0 || deletes != 1 {
		t.Errorf("a plain job cost %d lists and %d deletes, want 0 and 1", lists, deletes)
	}
	if n := left(j.ObjectPrefix()); n != 0 {
		t.Errorf("%d objects are left", n)
	}

	before, _ := calls()
	sub := jobs.Submission{OrgID: "org-1", KeyID: "key_one1", Kind: "vip-users", Fresh: true, Params: j.Params}
	canceled, err := r.store.Submit(t.Context(), sub)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.store.Update(t.Context(), canceled.Job.ID, "test", func(tx *jobs.Tx) error { return tx.Cancel("") }); err != nil {
		t.Fatal(err)
	}
	gone(canceled.Job.ID)
	if lists, _ := calls(); lists != before {
		t.Errorf("a job that nobody began cost %d lists", lists-before)
	}

	killed, err := r.store.Submit(t.Context(), sub)
	if err != nil {
		t.Fatal(err)
	}
	j, err = r.store.Update(t.Context(), killed.Job.ID, "killed", func(tx *jobs.Tx) error { _, err := tx.Claim("killed"); return err })
	if err != nil {
		t.Fatal(err)
	}
	w := r.objects.Create(t.Context(), j.ResultName(), jobs.ObjectAttrs{})
	_, _ = w.Write([]byte(fileText))
	if _, err := w.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.clock.put(j.WakeAt.Add(time.Second))
	r.succeeds(t, j.ID, time.Minute)
	gone(j.ID)
	stop()
	if lists, _ := calls(); lists == before {
		t.Error("the bucket was not listed for a job that was claimed twice")
	}
	if n := left(j.ObjectPrefix()); n != 0 {
		t.Errorf("%d objects of a killed worker are left", n)
	}
}
