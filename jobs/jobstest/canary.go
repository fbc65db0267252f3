package jobstest

import (
	"testing"
	"time"

	"exportd/jobs"
)

// changeBatch makes a transition of a batch, and gives it as it is then.
func (b *bench) changeBatch(t *testing.T, id string, fn func(*jobs.BatchTx) error) *jobs.Batch {
	t.Helper()
	after, err := b.UpdateBatch(t.Context(), id, fn)
	if err != nil {
		t.Fatal(err)
	}
	return after
}

func canary(t *testing.T, b *bench) {
	cause := b.lacking(t, b.job(t, "org", 1), "a")
	batch := b.causeBatch(t, cause)
	proceed := func(o jobs.BatchOutcome) (most int64, after *jobs.Batch) {
		t.Helper()
		after = b.changeBatch(t, batch.ID, func(tx *jobs.BatchTx) (err error) { most, err = tx.Proceed(o); return err })
		return min(most, 100), after
	}
	for _, step := range []struct {
		outcome jobs.BatchOutcome
		most    int64 // 100 stands for all
	}{
		{jobs.BatchOutcome{}, 1}, {jobs.BatchOutcome{Rerun: 1, Live: 1}, 0}, {jobs.BatchOutcome{Rerun: 1}, 10}, {jobs.BatchOutcome{Rerun: 5, Live: 3}, 6},
		{jobs.BatchOutcome{Rerun: 11, Live: 1}, 0}, {jobs.BatchOutcome{Rerun: 11}, 100}, {jobs.BatchOutcome{Rerun: 60, Live: 9}, 100},
	} {
		most, after := proceed(step.outcome)
		if most != step.most || !after.FinishedAt.IsZero() || most == 0 && (after.WakeAt.Before(b.Now()) || after.WakeAt.After(b.Now().Add(time.Minute))) {
			t.Errorf("after %+v it may run %d and wakes at %s, want %d", step.outcome, most, after.WakeAt, step.most)
		}
	}
	most, after := proceed(jobs.BatchOutcome{Rerun: 61, Live: 3, Again: "some"})
	if most != 0 || after.FinishedAt.IsZero() || after.Stopped == "" || !after.WakeAt.IsZero() {
		t.Errorf("after one failed again it may run %d: %+v", most, after)
	}
	if most, after := proceed(jobs.BatchOutcome{Rerun: 61}); most != 0 || after.Stopped == "" {
		t.Errorf("once stopped it may run %d", most)
	}
}

func waitingCanary(t *testing.T, b *bench) {
	ids := []string{b.job(t, "org", 1)}
	batch := b.causeBatch(t, b.lacking(t, ids[0], "a"))
	change := func(fn func(*jobs.BatchTx) error) *jobs.Batch { t.Helper(); return b.changeBatch(t, batch.ID, fn) }
	if after := change(func(tx *jobs.BatchTx) error { return tx.Advance("", 1, nil, "") }); !after.Listed || !after.FinishedAt.IsZero() || !after.WakeAt.After(b.Now()) {
		t.Errorf("a canary whose job runs is %+v", after)
	}
	proceed := func(o jobs.BatchOutcome) *jobs.Batch {
		t.Helper()
		return change(func(tx *jobs.BatchTx) error {
			most, err := tx.Proceed(o)
			if most != 0 {
				t.Errorf("it may run %d more", most)
			}
			return err
		})
	}
	if after := proceed(jobs.BatchOutcome{Rerun: 1, Live: 1}); !after.FinishedAt.IsZero() || !after.WakeAt.After(b.Now()) {
		t.Errorf("while its job runs it is %+v", after)
	}
	b.Pass(24 * time.Hour)
	if after := proceed(jobs.BatchOutcome{Rerun: 1, Live: 1}); after.WakeAt.After(b.Now().Add(2 * time.Minute)) {
		t.Errorf("after a day it is looked at again at %s, it is %s", after.WakeAt, b.Now())
	}
	if after := proceed(jobs.BatchOutcome{Rerun: 1}); !after.FinishedAt.IsZero() {
		t.Errorf("by what was counted before all were listed it has ended: %+v", after)
	}
	if after := proceed(jobs.BatchOutcome{Rerun: 1, Listed: true}); after.FinishedAt.IsZero() || after.Stopped != "" || !after.WakeAt.IsZero() {
		t.Errorf("when its job has ended it is %+v", after)
	}
}
