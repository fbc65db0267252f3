// Package jobstest has what every store of jobs, queue and store of objects promises, as tests that run on
// any of them.
package jobstest

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"exportd/jobs"
)

// Store is all that a store is to workers and servers.
type Store interface {
	jobs.SubmitStore
	jobs.TxStore
	jobs.PartStore
	jobs.WaitStore
	jobs.JobReader
	jobs.DueStore
	jobs.PurgeStore
	jobs.PartitionStore
	jobs.SwitchStore
	jobs.PresenceStore
	jobs.BatchStore
	jobs.BatchAdmin
	jobs.ReceiverStore
	jobs.CallbackAdmin
	jobs.ControlStore
	jobs.DeadLetterStore
	jobs.RollupStore
	jobs.CauseStore
	jobs.AuditStore
	jobs.LinkStore
}

// Config is what a store is to be opened with.
type Config struct {
	Policy   jobs.Policy
	Limits   jobs.Limits
	ReuseFor time.Duration
	Now      func() time.Time
}

// policy has the numbers of the suite: files live for less than idempotency keys do.
func policy() jobs.Policy {
	return jobs.Policy{
		LeaseFor: 30 * time.Second, RenewEvery: 5 * time.Second, Skew: 5 * time.Second, NotifyAgain: 15 * time.Second, MaxAttempts: 3,
		MaxInterruptions: 3, BackoffMin: time.Second, BackoffMax: time.Minute, Window: 2, SnapshotLife: time.Hour,
		FileLife: 12 * time.Hour, RecordLife: 48 * time.Hour, SweepAfter: time.Minute, Jitter: func() float64 { return 0 },
	}
}

// storeCase is one promise. limits are those of the store that it opens.
type storeCase struct {
	name   string
	limits jobs.Limits
	run    func(t *testing.T, b *bench)
}

// StoreSuite runs every case on an empty store of its own, which open gives.
func StoreSuite(t *testing.T, open func(t *testing.T, c Config) Store) {
	t.Helper()
	n := 0
	for _, group := range [][]storeCase{submitCases, txCases, placeCases, readCases, dueCases, callbackCases, batchCases, fleetCases, rollupCases, budgetCases, causeCases, fileLinkCases} {
		for _, c := range group {
			n++
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				clock := NewClock()
				c.run(t, &bench{open(t, Config{Policy: policy(), Limits: c.limits, ReuseFor: time.Minute, Now: clock.Now}), clock})
			})
		}
	}
	t.Logf("%d cases", n)
}

// Clock is a time that tests move.
type Clock struct {
	mu sync.Mutex
	at time.Time
}

// NewClock is at the present second.
func NewClock() *Clock { return &Clock{at: time.Now().UTC().Truncate(time.Second)} }

// Now is the time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

// Pass lets time go by.
func (c *Clock) Pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

type bench struct {
	Store
	*Clock
}

// race tries n times at once and counts the tries that stand; all others must fail with lost.
func race(t *testing.T, n int, lost error, try func(i int) error) int {
	t.Helper()
	var won atomic.Int64
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			switch err := try(i); {
			case err == nil:
				won.Add(1)
			case !errors.Is(err, lost):
				t.Errorf("try %d of %d = %v, want nil or %v", i, n, err, lost)
			}
		})
	}
	all.Wait()
	return int(won.Load())
}

func request(org string, month int) jobs.Submission {
	return jobs.Submission{OrgID: org, KeyID: "key", Kind: "vip-users", Params: jobs.Params{
		"workspaceId": "w", "mediumId": "m", "birthdayMonth": int64(month), jobs.ParamProfile: jobs.ProfileRFC4180}}
}

// submit makes a submission, of which Find has said before what becomes of it.
func (b *bench) submit(t *testing.T, s jobs.Submission) jobs.Submitted {
	t.Helper()
	found, err := b.Find(t.Context(), s)
	if err != nil {
		t.Fatalf("Find(%+v) = %v", s, err)
	}
	got, err := b.Submit(t.Context(), s)
	if err != nil {
		t.Fatalf("Submit(%+v) = %v", s, err)
	}
	if (found != nil) != got.Reused || found != nil && found.ID != got.Job.ID {
		t.Errorf("Find(%+v) = %v, and Submit gives job %s, there before: %t", s, found, got.Job.ID, got.Reused)
	}
	return got
}

// job makes a queued job.
func (b *bench) job(t *testing.T, org string, month int) string {
	t.Helper()
	s := request(org, month)
	s.Fresh, s.CallbackURL = true, "https://hooks.example/x"
	return b.submit(t, s).Job.ID
}

// update runs a transition; time goes on before it, as events are in the order of time.
func (b *bench) update(t *testing.T, id string, fn func(*jobs.Tx) error) *jobs.Job {
	t.Helper()
	b.Pass(time.Millisecond)
	j, err := b.Update(t.Context(), id, "test", fn)
	if err != nil {
		t.Fatalf("Update = %v", err)
	}
	return j
}

func (b *bench) claim(t *testing.T, id string) (l jobs.Lease) {
	t.Helper()
	b.update(t, id, func(tx *jobs.Tx) (err error) { l, err = tx.Claim("w"); return err })
	return l
}

// runs tries to claim a job and says whether it runs.
func (b *bench) runs(id string) (bool, error) {
	j, err := b.Update(context.Background(), id, "test", func(tx *jobs.Tx) error { _, err := tx.Claim("w"); return err })
	return err == nil && j.State == jobs.Running, err
}

func (b *bench) succeed(t *testing.T, id string) {
	t.Helper()
	l := b.claim(t, id)
	b.update(t, id, func(tx *jobs.Tx) error { return tx.Pin(l, b.Now(), 3) })
	b.update(t, id, func(tx *jobs.Tx) error {
		return tx.Succeed(l, jobs.Result{Object: tx.Job.ResultName(), Rows: 3, Size: 9})
	})
}

func (b *bench) fail(t *testing.T, id string) {
	t.Helper()
	l := b.claim(t, id)
	b.update(t, id, func(tx *jobs.Tx) error {
		return tx.EndAttempt(l, jobs.Fail(jobs.CodeTooManyRows, jobs.Permanent, "too many", "", nil))
	})
}

func cancel(tx *jobs.Tx) error { return tx.Cancel("test") }
func remove(tx *jobs.Tx) error { return tx.Delete("test") }

// plan claims a job and cuts it into n parts of 10 rows.
func (b *bench) plan(t *testing.T, id string, n int) *jobs.Job {
	t.Helper()
	l := b.claim(t, id)
	ranges := make([]jobs.Range, n)
	for i := range ranges {
		ranges[i].Rows = 10
	}
	return b.update(t, id, func(tx *jobs.Tx) error { return tx.Plan(l, b.Now(), ranges, 0) })
}

// claimPart claims a part, and gives the object that its holder writes.
func (b *bench) claimPart(t *testing.T, j *jobs.Job, i int) (l jobs.Lease, object string) {
	t.Helper()
	b.Pass(time.Millisecond)
	_, err := b.UpdatePart(t.Context(), j.ID, jobs.PartID(j.PlanEpoch, i), "test", func(tx *jobs.Tx) error {
		p, lease, err := tx.ClaimPart(j.PlanEpoch, i, "w")
		if err == nil {
			l, object = lease, p.ObjectName(tx.Job, lease.Token)
		}
		return err
	})
	if err != nil {
		t.Fatalf("claim part %d = %v", i, err)
	}
	return l, object
}

// due lists what is due now, in all shards.
func (b *bench) due(t *testing.T, kind jobs.DueKind) (names []jobs.Message) {
	t.Helper()
	page, err := b.Due(t.Context(), kind, jobs.AllShards(), b.Now(), 100, nil)
	if err != nil {
		t.Fatalf("Due = %v", err)
	}
	for _, d := range page.Docs {
		names = append(names, d.Message)
	}
	return names
}

// errTest is what a transition fails with that is to leave nothing behind.
var errTest = errors.New("refused by the test")
