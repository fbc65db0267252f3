package jobs_test

import (
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"exportd/jobs"
)

// reserving is a desk whose job has reserved 10 rows and 12 reads of today.
func reserving(t *testing.T) *desk {
	d := newDesk(t)
	d.job.Schema = 2
	d.job.Budget = &jobs.Reservation{Day: d.now.UTC().Truncate(24 * time.Hour), Rows: 10, Reads: 12}
	return d
}

// TestSettle: what a job has reserved is settled by what its run came to, while its day counts.
func TestSettle(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		rows            int64 // of the file; -1 for none, -2 for no snapshot either
		after           time.Duration
		rowsBy, readsBy int64
		none            bool
	}{
		"fewer rows than counted": {rows: 3, rowsBy: -7, readsBy: -7},
		"more rows than counted":  {rows: 15, rowsBy: 5, readsBy: 5},
		"as counted":              {rows: 10, none: true},
		"no file":                 {rows: -1, rowsBy: -10},
		"no snapshot":             {rows: -2, rowsBy: -10, readsBy: -12},
		"over by a clock ahead":   {rows: 3, after: 24 * time.Hour, rowsBy: -7, readsBy: -7},
		"a day no longer kept":    {rows: 3, after: 48 * time.Hour, none: true},
	} {
		d := reserving(t)
		before := d.job.Budget
		l := d.claim()
		d.now = d.now.Add(tc.after)
		if tc.rows == -1 {
			d.must(func(tx *jobs.Tx) error { return tx.Pin(l, d.now, 10) })
		}
		if tc.rows < 0 {
			d.must(func(tx *jobs.Tx) error { return tx.Cancel("no more") })
		} else {
			d.must(func(tx *jobs.Tx) error { return tx.Pin(l, d.now, tc.rows) })
			d.must(func(tx *jobs.Tx) error {
				return tx.Succeed(l, jobs.Result{Object: d.job.ResultName(), Rows: tc.rows})
			})
		}
		by := d.last.Settlement
		if before.Settled || !d.job.Budget.Settled || (by == nil) != tc.none || by != nil && (by.Rows != tc.rowsBy || by.Reads != tc.readsBy || by.KeyID != d.job.KeyID || !by.Day.Equal(before.Day)) {
			t.Errorf("%s: settled %+v, want %d rows and %d reads", name, by, tc.rowsBy, tc.readsBy)
		}
	}
}

// TestSettleChanges: of an export of changes the rows of its file count, and the reads of all that it has
// compared.
func TestSettleChanges(t *testing.T) {
	t.Parallel()
	d := comparing(t)
	d.job.Budget = reserving(t).job.Budget
	l := d.claim()
	d.must(func(tx *jobs.Tx) error { return tx.Pin(l, d.now, 10) })
	d.must(func(tx *jobs.Tx) error { return tx.Succeed(l, d.compared()) })
	if by := d.last.Settlement; by == nil || by.Rows != -1 || by.Reads != 0 {
		t.Errorf("settled %+v, want the 9 rows of the file of 10 that were reserved, and all reads", by)
	}
}

// TestDamagedReservation: a job whose reservation makes no sense is ended as any that is damaged, and gives
// nothing of it back.
func TestDamagedReservation(t *testing.T) {
	t.Parallel()
	ended := 0
	eachField(reflect.ValueOf(*reserving(t).job.Budget), "", func(field string, v reflect.Value) {
		for _, value := range extremes(v) {
			d := reserving(t)
			f := reflect.ValueOf(d.job.Budget).Elem().FieldByName(field)
			f.Set(reflect.ValueOf(value).Convert(f.Type()))
			if err := d.job.Check(d.now); errors.Is(err, jobs.ErrInvalid) {
				ended++
				checkInvalidated(t, d, fmt.Sprintf("%s = %.40v", field, value))
				if d.last.Settlement != nil {
					t.Errorf("%s = %.40v: settled %+v", field, value, d.last.Settlement)
				}
			}
		}
	})
	if ended < 8 {
		t.Errorf("only %d kinds of damage are seen", ended)
	}
}

// TestReserve: what is left is never less than nothing, and more than a whole day's is said to be so.
func TestReserve(t *testing.T) {
	t.Parallel()
	day := jobs.NewBudgetDay("key", time.Date(2026, 6, 15, 23, 59, 0, 0, time.UTC))
	day.Rows, day.Reads = 120, -5
	ask := jobs.BudgetRequest{Budget: jobs.Budget{Rows: 100, Reads: 50}, Counted: true}
	if left := day.Left(ask.Budget); left != (jobs.Budget{Reads: 50}) {
		t.Errorf("left are %+v", left)
	}
	for rows, whole := range map[int64]bool{0: false, 1: false, 100: false, 101: true} {
		ask.AskRows = rows
		_, _, err := day.Reserve(ask)
		if over, ok := errors.AsType[*jobs.BudgetError](err); !ok || over.Whole() != whole || !over.Day.RenewsAt().Equal(time.Date(2026, 6, 16, 0, 0, 0, 0, time.UTC)) {
			t.Errorf("%d rows: %+v, %v", rows, over, err)
		}
	}
	ask.AskRows, ask.AskReads, ask.Budget.Rows = 5000, 50, 0 // rows have no limit
	if after, r, err := day.Reserve(ask); err != nil || after.Rows != 5120 || after.Reads != 50 || r.Rows != 5000 || r.Reads != 50 {
		t.Errorf("Reserve = %+v, %+v, %v", after, r, err)
	}
}
