package jobs_test

import (
	"math"
	"testing"
	"time"

	"exportd/jobs"
)

// TestSlow: a job is slow when it ran for much longer than its rows predict, whatever it waited before.
func TestSlow(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		rows     int64
		parts    int
		ran      time.Duration
		attempts int // of runs before
		want     bool
	}{
		"a few rows":                {rows: 100, ran: time.Second},
		"a few rows, hanging":       {rows: 100, ran: 15 * time.Second, want: true},
		"one part":                  {rows: 50_000, ran: 50 * time.Second},
		"one part, at 600 a second": {rows: 50_000, ran: 80 * time.Second, want: true},
		"many parts":                {rows: 10_000_000, parts: 20, ran: 20 * time.Minute},
		"many parts, one by one":    {rows: 10_000_000, parts: 20, ran: 45 * time.Minute, want: true},
		"run again":                 {rows: 100, ran: time.Hour, attempts: 1},
	} {
		start := time.Unix(1_800_000_000, 0)
		j := &jobs.Job{CreatedAt: start.Add(-time.Hour), StartedAt: start, FinishedAt: start.Add(tc.ran), RowsTotal: tc.rows, PartsTotal: tc.parts, AttemptBase: tc.attempts}
		if got := j.Slow(); got != tc.want {
			t.Errorf("%s: slow = %t, expected were %s", name, got, j.Expected())
		}
	}
	if (&jobs.Job{StartedAt: time.Unix(1, 0)}).Slow() {
		t.Error("a job that runs is slow")
	}
}

const ms = time.Millisecond

// with has a transition be told what its attempt has spent.
func with(s jobs.Spent, fn func(tx *jobs.Tx) error) func(tx *jobs.Tx) error {
	return func(tx *jobs.Tx) error { tx.Spent = s; return fn(tx) }
}

func (d *desk) spent(want jobs.Spent) {
	d.t.Helper()
	var parts []*jobs.Part
	for _, p := range d.parts {
		parts = append(parts, p)
	}
	if got := d.job.SpentWith(parts); got != want {
		d.t.Errorf("%s job: spent\n%+v, want\n%+v", d.job.State, got, want)
	}
}

// TestSpentOfOnePart: what an attempt has reported counts however it ends, once, and the timeline tells it.
func TestSpentOfOnePart(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.pass(4 * time.Second)
	l := d.claim()
	d.must(with(jobs.Spent{Count: 12 * ms}, func(tx *jobs.Tx) error { return tx.Pin(l, d.now, 3) }))
	d.spent(jobs.Spent{Wait: 4 * time.Second, Count: 12 * ms})
	d.must(with(jobs.Spent{Count: 12 * ms, Scan: 5 * time.Second}, func(tx *jobs.Tx) error { _, err := tx.Renew(l, 1, 1); return err }))
	d.must(with(jobs.Spent{Count: 12 * ms, Scan: 6 * time.Second}, func(tx *jobs.Tx) error { return tx.EndAttempt(l, failure(jobs.Transient)) }))
	d.spent(jobs.Spent{Wait: 4 * time.Second, Count: 12 * ms, Scan: 6 * time.Second})
	d.pass(d.job.NotBefore.Sub(d.now) + 2*time.Second) // the pause is no waiting for a slot
	l = d.claim()
	d.must(with(jobs.Spent{Scan: time.Second}, func(tx *jobs.Tx) error { _, err := tx.Renew(l, 1, 1); return err }))
	d.pass(time.Minute) // its worker is killed
	d.must(func(tx *jobs.Tx) error { _, err := tx.Wake(); return err })
	d.is(jobs.Queued)
	d.pass(time.Second)
	l = d.claim()
	d.must(with(jobs.Spent{Scan: 55 * time.Second, Encode: 40 * ms, Upload: 210 * ms}, func(tx *jobs.Tx) error { return tx.Succeed(l, jobs.Result{Object: "o", Rows: 3, Size: 9}) }))
	all := jobs.Spent{Wait: 7 * time.Second, Count: 12 * ms, Scan: 62 * time.Second, Encode: 40 * ms, Upload: 210 * ms}
	d.spent(all)
	want := "3 rows, 9 bytes; wait 7s, count 12ms, scan 1m2s, encode 40ms, upload 210ms; slow: ran 1m3.75s, at most 3s was expected"
	if got := d.last.Events[len(d.last.Events)-1].Message; got != want {
		t.Errorf("timeline: %q, want %q", got, want)
	}
	d.must(func(tx *jobs.Tx) error { _, err := tx.Rerun(jobs.RerunFresh, "again"); return err })
	d.spent(jobs.Spent{})
}

// TestSpentOfCanceled: also of a job that is canceled, in the queue or at work, it is known where its time
// went.
func TestSpentOfCanceled(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.pass(9 * time.Second)
	d.must(func(tx *jobs.Tx) error { return tx.Cancel("") })
	d.spent(jobs.Spent{Wait: 9 * time.Second})

	d = newDesk(t)
	l := d.claim()
	d.must(with(jobs.Spent{Scan: 3 * time.Second}, func(tx *jobs.Tx) error { _, err := tx.Renew(l, 1, 1); return err }))
	d.must(func(tx *jobs.Tx) error { return tx.Cancel("") })
	d.spent(jobs.Spent{Scan: 3 * time.Second})
}

// TestSpentOfParts: parts keep their own, and their job has it once: of those that end in the commit that
// writes the job anyway, of others where they are shown. No failure or renewal of a part writes the job.
func TestSpentOfParts(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	l := d.claim()
	d.must(with(jobs.Spent{Count: 5 * ms, Plan: 7 * ms}, func(tx *jobs.Tx) error { return tx.Plan(l, d.now, make([]jobs.Range, 3), 0) }))
	epoch := d.job.PlanEpoch
	one := jobs.Spent{Wait: time.Second, Scan: 2 * time.Second, Encode: ms, Yield: 2 * ms, Upload: 3 * ms}
	l0, before := d.claimPart(0), *d.job
	d.must(with(jobs.Spent{Scan: time.Second}, func(tx *jobs.Tx) error { _, err := tx.RenewPart(epoch, 0, l0, 1, 1); return err }))
	d.spent(jobs.Spent{Count: 5 * ms, Plan: 7 * ms, Scan: time.Second})
	d.must(with(one, func(tx *jobs.Tx) error {
		_, err := tx.EndPartAttempt(epoch, 0, l0, failure(jobs.Transient))
		return err
	}))
	if d.job.Spent != before.Spent || d.job.Rev != before.Rev || d.job.WakeAt != before.WakeAt {
		t.Errorf("a part's failure changes the job to %+v", d.job)
	}
	d.pass(time.Minute)
	l0 = d.claimPart(0)
	d.must(with(one, func(tx *jobs.Tx) error {
		_, err := tx.CommitPart(epoch, 0, l0, "w", jobs.PartResult{Object: d.part(0).ObjectName(d.job, l0.Token)})
		return err
	}))
	twice := jobs.Spent{Count: 5 * ms, Plan: 7 * ms, PartWait: 2 * time.Second, Scan: 4 * time.Second, Encode: 2 * ms, Yield: 4 * ms, Upload: 6 * ms}
	d.spent(twice)
	if got := d.part(0).Total(); got.Wait != 2*time.Second || got.Scan != 4*time.Second {
		t.Errorf("the part has %+v", got)
	}
	l1, l2 := d.claimPart(1), d.claimPart(2)
	d.must(with(jobs.Spent{Upload: time.Minute}, func(tx *jobs.Tx) error { _, err := tx.RenewPart(epoch, 2, l2, 1, 1); return err }))
	d.must(with(one, func(tx *jobs.Tx) error {
		_, err := tx.EndPartAttempt(epoch, 1, l1, failure(jobs.Permanent))
		return err
	}))
	d.is(jobs.Failed)
	thrice := twice.Plus(jobs.Spent{PartWait: time.Second, Scan: 2 * time.Second, Encode: ms, Yield: 2 * ms, Upload: 3 * ms})
	d.spent(thrice.Plus(jobs.Spent{Upload: time.Minute}))
	d.pass(2 * time.Hour) // it is swept: no part can be listed any more
	d.must(func(tx *jobs.Tx) error { _, err := tx.Wake(); return err })
	if d.job.PlanEpoch != 0 {
		t.Fatalf("job = %+v", d.job)
	}
	d.spent(thrice)
}

// TestSpentOfRestart: what parts had done for a snapshot that could no longer be read was done.
func TestSpentOfRestart(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.plan(2)
	epoch := d.job.PlanEpoch
	l0, l1 := d.claimPart(0), d.claimPart(1)
	d.must(with(jobs.Spent{Scan: time.Second}, func(tx *jobs.Tx) error { _, err := tx.RenewPart(epoch, 0, l0, 1, 1); return err }))
	d.must(with(jobs.Spent{Scan: 2 * time.Second}, func(tx *jobs.Tx) error { _, err := tx.EndPartAttempt(epoch, 1, l1, failure(jobs.Stale)); return err }))
	d.is(jobs.Queued)
	d.spent(jobs.Spent{Scan: 3 * time.Second})
}

// TestSpentIsBounded: whatever documents hold, sums do not overflow, and nothing is less than nothing.
func TestSpentIsBounded(t *testing.T) {
	t.Parallel()
	s := jobs.Spent{Scan: math.MaxInt64, Encode: math.MinInt64, Upload: -1}
	for range 1000 {
		s = s.Plus(jobs.Spent{Scan: math.MaxInt64, Encode: math.MinInt64, Upload: 1})
	}
	if s.Scan <= 0 || s.Encode != 0 || s.Upload != 1000 {
		t.Errorf("sum = %+v", s)
	}
}
