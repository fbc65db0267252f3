package jobs_test

import (
	"errors"
	"testing"
	"time"

	"exportd/jobs"
)

// desk holds one job and its parts and runs transitions on them as a store would.
type desk struct {
	t      *testing.T
	policy jobs.Policy
	now    time.Time
	job    *jobs.Job
	parts  map[string]*jobs.Part
	last   *jobs.Tx // the last transaction that was kept
}

func newDesk(t *testing.T) *desk {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	return &desk{
		t: t, now: now, parts: map[string]*jobs.Part{},
		policy: jobs.Policy{
			LeaseFor: 30 * time.Second, RenewEvery: 5 * time.Second, Skew: 2 * time.Second, NotifyAgain: 20 * time.Second,
			MaxAttempts: 3, MaxInterruptions: 2, BackoffMin: time.Second, BackoffMax: time.Minute, Window: 2,
			SnapshotLife: time.Hour, FileLife: 24 * time.Hour, RecordLife: 48 * time.Hour, SweepAfter: time.Minute,
			Jitter: func() float64 { return 0.5 },
		},
		job: &jobs.Job{
			ID: jobs.NewID(), Schema: jobs.SchemaVersion, OrgID: "o", Kind: "vip-users", State: jobs.Queued,
			CreatedAt: now, WakeAt: now.Add(20 * time.Second), CallbackURL: "https://example.com/hook", Fingerprint: jobs.Fingerprint("o", "vip-users", 1, jobs.Params{}),
		},
	}
}

// do runs a transition and keeps what it changed unless it fails.
func (d *desk) do(fn func(tx *jobs.Tx) error) error {
	d.t.Helper()
	job := *d.job
	tx := jobs.NewTx(d.policy, d.now, "test", &job, func(id string) (*jobs.Part, error) {
		p, ok := d.parts[id]
		if !ok {
			return nil, jobs.ErrNotFound
		}
		part := *p
		return &part, nil
	})
	if err := fn(tx); err != nil {
		return err
	}
	d.job, d.last = &job, tx
	for _, p := range append(tx.ChangedParts(), tx.NewParts...) {
		d.parts[p.ID] = p
	}
	if d.job.WakeAt.IsZero() {
		d.t.Errorf("job is %s and has no WakeAt", d.job.State)
	}
	return nil
}

func (d *desk) must(fn func(tx *jobs.Tx) error) {
	d.t.Helper()
	if err := d.do(fn); err != nil {
		d.t.Fatal(err)
	}
}

func (d *desk) refuses(want error, fn func(tx *jobs.Tx) error) {
	d.t.Helper()
	if err := d.do(fn); !errors.Is(err, want) {
		d.t.Errorf("transition on a job that is %s = %v, want %v", d.job.State, err, want)
	}
}

func (d *desk) is(want jobs.State) {
	d.t.Helper()
	if d.job.State != want {
		d.t.Fatalf("job is %s (%+v), want %s", d.job.State, d.job.Error, want)
	}
}

func (d *desk) pass(by time.Duration) { d.now = d.now.Add(by) }

func (d *desk) claim() (l jobs.Lease) {
	d.t.Helper()
	d.must(func(tx *jobs.Tx) (err error) { l, err = tx.Claim("w1"); return })
	return l
}

// plan claims the job and cuts it into n parts of 10 rows.
func (d *desk) plan(n int) {
	d.t.Helper()
	l := d.claim()
	ranges := make([]jobs.Range, n)
	for i := range ranges {
		ranges[i].Rows = 10
	}
	d.must(func(tx *jobs.Tx) error { return tx.Plan(l, d.now, ranges, 0) })
}

func (d *desk) claimPart(i int) (l jobs.Lease) {
	d.t.Helper()
	d.must(func(tx *jobs.Tx) (err error) { _, l, err = tx.ClaimPart(d.job.PlanEpoch, i, "w1"); return })
	return l
}

func (d *desk) commitPart(i int, l jobs.Lease) (next jobs.Next) {
	d.t.Helper()
	d.must(func(tx *jobs.Tx) (err error) {
		next, err = tx.CommitPart(d.job.PlanEpoch, i, l, "w1", jobs.PartResult{Object: d.part(i).ObjectName(d.job, l.Token), Rows: 10, Size: 100})
		return
	})
	return next
}

func (d *desk) endPartAttempt(i int, l jobs.Lease, c jobs.Class) (notify bool) {
	d.t.Helper()
	d.must(func(tx *jobs.Tx) (err error) {
		notify, err = tx.EndPartAttempt(d.job.PlanEpoch, i, l, failure(c))
		return
	})
	return notify
}

func (d *desk) endAttempt(l jobs.Lease, c jobs.Class) {
	d.t.Helper()
	d.must(func(tx *jobs.Tx) error { return tx.EndAttempt(l, failure(c)) })
}

func (d *desk) wake() (duty jobs.Duty) {
	d.t.Helper()
	d.must(func(tx *jobs.Tx) (err error) { duty, err = tx.Wake(); return })
	if duty != jobs.Nothing && duty != jobs.Purge && !d.job.WakeAt.After(d.now) {
		d.t.Errorf("after duty %d WakeAt is not in the future", duty)
	}
	return duty
}

func (d *desk) part(i int) *jobs.Part { return d.parts[jobs.PartID(d.job.PlanEpoch, i)] }

// succeed carries a queued job out in one part.
func (d *desk) succeed() {
	d.t.Helper()
	l := d.claim()
	d.must(func(tx *jobs.Tx) error { return tx.Pin(l, d.now, 10) })
	d.must(func(tx *jobs.Tx) error {
		return tx.Succeed(l, jobs.Result{Object: d.job.ResultName(), Rows: 10, Size: 100})
	})
}

func failure(c jobs.Class) *jobs.Failure {
	return jobs.Fail(jobs.CodeUnavailable, c, "it broke", "mend it", errors.New("cause"))
}
