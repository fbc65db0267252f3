package jobstest

import (
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"exportd/jobs"
)

var placeCases = []storeCase{
	{"of claims at the same time as many stand as the org may have", jobs.Limits{RunningJobs: 3}, placesExact},
	{"a place is taken and given back many times", jobs.Limits{RunningJobs: 1}, placeTurns},
	{"a free place is left to the jobs that have waited longest", jobs.Limits{RunningJobs: 2}, placePromised},
	{"a place comes back when its job is canceled", jobs.Limits{RunningJobs: 1}, placeBack(func(_ jobs.Lease, tx *jobs.Tx) error { return tx.Cancel("") }, false)},
	{"a place comes back when its job is deleted", jobs.Limits{RunningJobs: 1}, placeBack(func(_ jobs.Lease, tx *jobs.Tx) error { return tx.Delete("") }, false)},
	{"a place comes back when its job fails", jobs.Limits{RunningJobs: 1}, placeBack(func(l jobs.Lease, tx *jobs.Tx) error {
		return tx.EndAttempt(l, jobs.Fail(jobs.CodeTooManyRows, jobs.Permanent, "", "", nil))
	}, false)},
	{"a place comes back when its job is to try again", jobs.Limits{RunningJobs: 1}, placeBack(func(l jobs.Lease, tx *jobs.Tx) error {
		return tx.EndAttempt(l, jobs.Fail(jobs.CodeUnavailable, jobs.Transient, "", "", nil))
	}, true)},
	{"a place comes back when its job succeeds", jobs.Limits{RunningJobs: 1}, placeBack(func(l jobs.Lease, tx *jobs.Tx) error {
		if err := tx.Pin(l, tx.Now, 3); err != nil {
			return err
		}
		return tx.Succeed(l, jobs.Result{Object: tx.Job.ResultName(), Rows: 3, Size: 9})
	}, false)},
}

func placesExact(t *testing.T, b *bench) {
	const jobsOf = 24
	ids := make([]string, jobsOf)
	for i := range ids {
		ids[i] = b.job(t, "org", i%12+1)
		b.Pass(time.Second)
	}
	var running atomic.Int64
	var all sync.WaitGroup
	for _, id := range ids {
		all.Go(func() {
			ok, err := b.runs(id)
			if err != nil {
				t.Errorf("claim = %v", err)
			}
			if ok {
				running.Add(1)
			}
		})
	}
	all.Wait()
	if n := running.Load(); n != 3 {
		t.Errorf("%d jobs run, want 3", n)
	}
	if ok, err := b.runs(b.job(t, "other", 1)); err != nil || !ok {
		t.Errorf("a claim of another org = %v, %v", ok, err)
	}
}

func placeTurns(t *testing.T, b *bench) {
	id := b.job(t, "org", 1)
	for i := range 2*jobs.PlaceTurns + 1 {
		if ok, err := b.runs(id); !ok || err != nil {
			t.Fatalf("claim %d of a free place = %v, %v", i, ok, err)
		}
		b.Pass(time.Second)
		next := b.job(t, "org", i+2)
		if ok, err := b.runs(next); ok || err != nil {
			t.Fatalf("claim %d of a taken place = %v, %v", i, ok, err)
		}
		b.update(t, id, cancel)
		id = next
	}
}

// placePromised: jobs get the places that become free in their order, however many there are at once; and one
// that nobody takes is anybody's once the rescuer was due.
func placePromised(t *testing.T, b *bench) {
	var ids []string
	for i := range 6 {
		ids = append(ids, b.job(t, "org", i+1))
		b.Pass(time.Second)
		if ok, err := b.runs(ids[i]); err != nil || ok != (i < 2) {
			t.Fatalf("claim of job %d = %v, %v", i, ok, err)
		}
	}
	runs := func(i int, want bool) {
		t.Helper()
		if ok, err := b.runs(ids[i]); ok != want || err != nil {
			t.Errorf("claim of job %d = %v, %v, want %v", i, ok, err, want)
		}
	}
	b.update(t, ids[0], cancel)
	runs(3, false)
	runs(2, true)
	b.update(t, ids[1], cancel)
	b.update(t, ids[2], cancel)
	if next, err := b.Next(t.Context(), "org"); err != nil || !slices.Equal(next, ids[3:5]) {
		t.Errorf("Next beside two free places = %v, %v, want %v", next, err, ids[3:5])
	}
	runs(5, false)
	runs(4, true)
	b.Pass(3 * time.Second)
	if !slices.ContainsFunc(b.due(t, jobs.DueJobs), func(m jobs.Message) bool { return m.JobID == ids[5] }) {
		t.Error("a job that has left a place to another is not looked after when that has had its time")
	}
	runs(5, true)
}

// placeBack: whichever way a job stops running, its place is free in the same commit, and the job that has
// waited longest is notified even if nobody lives to notify it.
func placeBack(end func(l jobs.Lease, tx *jobs.Tx) error, again bool) func(t *testing.T, b *bench) {
	return func(t *testing.T, b *bench) {
		first := b.job(t, "org", 1)
		lease := b.claim(t, first)
		b.Pass(time.Second)
		second := b.job(t, "org", 2)
		b.Pass(time.Second)
		third := b.job(t, "org", 3)
		for _, id := range []string{second, third, second} {
			if ok, err := b.runs(id); ok || err != nil {
				t.Fatalf("claim beside a running job = %v, %v", ok, err)
			}
		}
		b.Pass(time.Minute) // they are not notified one by one meanwhile
		for _, due := range b.due(t, jobs.DueJobs) {
			if due.JobID != first {
				t.Errorf("a job that waits for a place is due after a minute")
			}
		}
		b.update(t, first, func(tx *jobs.Tx) error { return end(lease, tx) })
		b.Pass(3 * time.Second) // and nobody notifies
		page, err := b.Due(t.Context(), jobs.DuePlaces, jobs.AllShards(), b.Now(), 10, nil)
		if err != nil || len(page.Docs) != 1 || page.Docs[0].Foreign {
			t.Fatalf("due places = %+v, %v, want the one that was freed", page.Docs, err)
		}
		want := second
		if again {
			want = first // has waited longest, and its pause is over
		}
		if notify, err := b.WakePlace(t.Context(), page.Docs[0]); err != nil || !slices.Equal(notify, []string{want}) {
			t.Fatalf("WakePlace = %s, %v, want %s", notify, err, want)
		}
		if ok, err := b.runs(second); !ok || err != nil {
			t.Errorf("claim of a free place = %v, %v", ok, err)
		}
	}
}
