package jobstore_test

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"testing"

	"exportd/jobs"
)

// A transition calls no store: what it asks for is read at once, however many documents that are. A restart
// looks at the parts under way, and the one that fails at its job's place as well.
func TestTransitionsReadAtOnce(t *testing.T) {
	t.Parallel()
	b := open(t, jobs.Limits{RunningJobs: 2})
	id := b.submit(t, request("org", 1)).Job.ID
	var lease jobs.Lease
	b.update(t, id, func(tx *jobs.Tx) (err error) { lease, err = tx.Claim("w"); return err })
	j := b.update(t, id, func(tx *jobs.Tx) error { return tx.Plan(lease, b.clock.Now(), make([]jobs.Range, 6), 0) })
	for i := range 2 { // the window moves on to the fourth
		var part jobs.Part
		b.update(t, id, func(tx *jobs.Tx) error {
			p, l, err := tx.ClaimPart(j.PlanEpoch, i, "w")
			if err == nil {
				part, lease = *p, l
			}
			return err
		})
		b.update(t, id, func(tx *jobs.Tx) error {
			_, err := tx.CommitPart(j.PlanEpoch, i, lease, "w", jobs.PartResult{Object: part.ObjectName(tx.Job, lease.Token)})
			return err
		})
	}
	reads := func() int64 { return b.faults().Methods["Firestore/BatchGetDocuments"].Calls }
	before := reads()
	if j := b.update(t, id, func(tx *jobs.Tx) error { return tx.VoidPlan(j.PlanEpoch, jobs.ErrInvalid) }); j.State != jobs.Queued {
		t.Fatalf("it is %s", j.State)
	}
	if n := reads() - before; n > 3 {
		t.Errorf("the restart made %d reads, want 3: of the job, its place, its four parts", n)
	}
}

// Who leads a group may leave while it reads for another of the group: that one is not told that it left.
func TestLeaderLeavesReading(t *testing.T) {
	t.Parallel()
	b := open(t, jobs.Limits{RunningJobs: 2})
	id := b.submit(t, request("org", 1)).Job.ID
	var lease jobs.Lease
	b.update(t, id, func(tx *jobs.Tx) (err error) { lease, err = tx.Claim("w"); return err })
	j := b.update(t, id, func(tx *jobs.Tx) error { return tx.Plan(lease, b.clock.Now(), make([]jobs.Range, 30), 0) })
	for i := range 30 {
		ctx, leave := context.WithCancel(t.Context())
		begun, hold := make(chan struct{}), make(chan struct{})
		var all sync.WaitGroup
		all.Go(func() { // the first, behind which the others gather
			_, _ = b.Update(t.Context(), id, "first", func(*jobs.Tx) error { close(begun); <-hold; return errLeft })
		})
		<-begun
		all.Go(func() {
			_, _ = b.Update(ctx, id, "leader", func(*jobs.Tx) error { leave(); return errLeft })
		})
		gather()
		all.Go(func() {
			_, err := b.Update(t.Context(), id, "w", func(tx *jobs.Tx) error {
				_, _, err := tx.ClaimPart(j.PlanEpoch, i%6, "w") // which is read for it
				return err
			})
			if err != nil && !errors.Is(err, jobs.ErrTransition) && !errors.Is(err, jobs.ErrNotDue) {
				t.Errorf("round %d: who waited is told %v", i, err)
			}
		})
		gather()
		close(hold)
		all.Wait()
		leave()
	}
}

// gather lets others run, mostly until they wait.
func gather() {
	for range 1000 {
		runtime.Gosched()
	}
}

var errLeft = errors.New("left")
