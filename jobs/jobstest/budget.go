package jobstest

import (
	"errors"
	"testing"
	"time"

	"exportd/jobs"
)

var budgetCases = []storeCase{
	{"a budget is reserved by new jobs alone, and settled once by their end", jobs.Limits{}, budgetOfJobs},
	{"no two jobs get the same of a budget", jobs.Limits{}, budgetAtOnce},
}

// morning has the clock be at an hour past the beginning of a day.
func (b *bench) morning() {
	next := b.Now().Truncate(24 * time.Hour).Add(25 * time.Hour)
	b.Pass(next.Sub(b.Now()))
}

// budgeted is a request of a key that may have 25 rows and 100 reads a day.
func budgeted(month int, rows, reads int64) jobs.Submission {
	s := request("org", month)
	s.Budget = &jobs.BudgetRequest{Budget: jobs.Budget{Rows: 25, Reads: 100}, Counted: true, AskRows: rows, AskReads: reads}
	return s
}

func (b *bench) spent(t *testing.T, what string, rows, reads int64) {
	t.Helper()
	days, err := b.BudgetDays(t.Context(), []string{"key", "another"})
	if err != nil || len(days) != 2 || days[1].KeyID != "another" || days[1].Rows != 0 {
		t.Fatalf("%s: days are %+v, %v", what, days, err)
	}
	if day := days[0]; day.Rows != rows || day.Reads != reads {
		t.Errorf("%s: %d rows and %d reads are spent; want %d and %d", what, day.Rows, day.Reads, rows, reads)
	}
}

func budgetOfJobs(t *testing.T, b *bench) {
	b.morning()
	first := budgeted(1, 10, 12)
	uncounted := first
	uncounted.Budget = &jobs.BudgetRequest{Budget: first.Budget.Budget}
	if _, err := b.Submit(t.Context(), uncounted); !errors.Is(err, jobs.ErrUncounted) {
		t.Errorf("Submit before its export was counted = %v, want ErrUncounted", err)
	}
	if found, err := b.Find(t.Context(), uncounted); found != nil || err != nil {
		t.Errorf("what was refused made job %v, %v", found, err)
	}
	id := b.submit(t, first).Job.ID
	b.spent(t, "queued", 10, 12)
	if again := b.submit(t, uncounted); again.Job.ID != id {
		t.Error("an equal request was counted")
	}
	b.submit(t, first)
	b.spent(t, "attached to", 10, 12)
	b.succeed(t, id)
	b.spent(t, "succeeded with 3 rows", 3, 5)
	if j, err := b.Get(t.Context(), id); err != nil || j.Budget == nil || !j.Budget.Settled {
		t.Errorf("the job remembers %+v, %v", j, err)
	}
	id = b.submit(t, budgeted(2, 20, 22)).Job.ID
	b.spent(t, "a second queued", 23, 27)
	race(t, 8, jobs.ErrTransition, func(int) error { _, err := b.Update(t.Context(), id, "test", cancel); return err })
	b.spent(t, "canceled before any read", 3, 5)
	id = b.submit(t, budgeted(3, 20, 22)).Job.ID
	b.fail(t, id)
	b.spent(t, "failed before its snapshot", 3, 5)
	id = b.submit(t, budgeted(3, 20, 22)).Job.ID
	l := b.claim(t, id)
	b.update(t, id, func(tx *jobs.Tx) error { return tx.Pin(l, b.Now(), 20) })
	b.update(t, id, cancel)
	b.spent(t, "canceled while it read", 3, 27)
	b.update(t, id, func(tx *jobs.Tx) error { _, err := tx.Rerun(jobs.RerunFresh, "again"); return err })
	b.succeed(t, id)
	b.spent(t, "run again by an operator", 3, 27)
	_, err := b.Submit(t.Context(), budgeted(4, 23, 1))
	over, ok := errors.AsType[*jobs.BudgetError](err)
	if !ok || over.Left() != (jobs.Budget{Rows: 22, Reads: 73}) || !over.Day.RenewsAt().Equal(b.Now().Truncate(24*time.Hour).Add(24*time.Hour)) || over.Whole() {
		t.Errorf("Submit of more rows than are left = %+v, %v", over, err)
	}
	if _, err = b.Submit(t.Context(), budgeted(4, 1, 74)); !errors.As(err, &over) {
		t.Errorf("Submit of more reads than are left = %v", err)
	}
	b.spent(t, "refused", 3, 27)
	late := b.submit(t, budgeted(5, 22, 73)).Job.ID
	uncounted.Params = request("org", 6).Params
	if _, err = b.Submit(t.Context(), uncounted); !errors.As(err, &over) {
		t.Errorf("Submit when nothing is left, before it was counted = %v, want no count", err)
	}
	b.Pass(24 * time.Hour)
	b.spent(t, "the next day", 0, 0)
	b.succeed(t, late)
	b.spent(t, "what ends a day later", 0, 0)
	b.submit(t, budgeted(6, 25, 100))
}

func budgetAtOnce(t *testing.T, b *bench) {
	b.morning()
	ids := make([]string, 8)
	made := race(t, len(ids), jobs.ErrUncounted, func(i int) error {
		got, err := b.Submit(t.Context(), budgeted(i+1, 10, 10))
		if _, over := errors.AsType[*jobs.BudgetError](err); over {
			return jobs.ErrUncounted // so that race counts it as lost
		}
		if err == nil {
			ids[i] = got.Job.ID
		}
		return err
	})
	if made != 2 {
		t.Errorf("%d jobs of 10 rows were made of a budget of 25", made)
	}
	b.spent(t, "side by side", int64(made)*10, int64(made)*10)
	race(t, len(ids), jobs.ErrNotFound, func(i int) error {
		if ids[i] == "" {
			return jobs.ErrNotFound
		}
		_, err := b.Update(t.Context(), ids[i], "test", cancel)
		return err
	})
	b.spent(t, "canceled side by side", 0, 0)
}
