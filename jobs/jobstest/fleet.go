package jobstest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"exportd/jobs"
)

var batchCases = []storeCase{
	{"a batch is worked through and counts what it has run again", jobs.Limits{}, batchThrough},
	{"of two who are through with a page one counts", jobs.Limits{}, batchPageOnce},
}

func batchThrough(t *testing.T, b *bench) {
	ctx := t.Context()
	failed := b.job(t, "org", 1)
	b.fail(t, failed)
	b.job(t, "org", 2)
	made, err := b.CreateBatch(ctx, jobs.BatchRequest{Reason: "r", Actor: "op", Mode: jobs.RerunFresh, MaxPerSecond: 5, Filter: jobs.BatchFilter{State: jobs.Failed}})
	if err != nil {
		t.Fatalf("CreateBatch = %v", err)
	}
	if due, err := b.DueBatches(ctx, b.Now(), 5); err != nil || len(due) != 1 || due[0].ID != made.ID {
		t.Errorf("DueBatches = %+v, %v", due, err)
	}
	if _, err := b.UpdateBatch(ctx, made.ID, func(tx *jobs.BatchTx) error { _, err := tx.Claim(); return err }); err != nil {
		t.Errorf("UpdateBatch = %v", err)
	}
	if due, err := b.DueBatches(ctx, b.Now(), 5); err != nil || len(due) > 0 {
		t.Errorf("due while it is held: %+v, %v", due, err)
	}
	page, err := b.List(ctx, made.Filter.List("", 10))
	if err != nil || len(page.Jobs) != 1 {
		t.Fatalf("List = %+v, %v", page, err)
	}
	b.update(t, failed, func(tx *jobs.Tx) error { return tx.RerunIn(made) })
	if _, err := b.Update(ctx, failed, "op", func(tx *jobs.Tx) error { return tx.RerunIn(made) }); !errors.Is(err, jobs.ErrNotDue) {
		t.Errorf("a second rerun by the batch = %v, want ErrNotDue", err)
	}
	if _, err := b.UpdateBatch(ctx, made.ID, func(tx *jobs.BatchTx) error { return tx.Advance("", 1, map[string]int{"x": 2}, "") }); err != nil {
		t.Errorf("UpdateBatch = %v", err)
	}
	got, n, err := b.Batch(ctx, made.ID)
	if err != nil || n != 1 || got.FinishedAt.IsZero() || got.Matched != 1 || got.Skipped["x"] != 2 || got.Filter.State != jobs.Failed {
		t.Errorf("Batch = %+v, %d, %v", got, n, err)
	}
	b.Pass(time.Second)
	second, err := b.CreateBatch(ctx, jobs.BatchRequest{Reason: "r", Mode: jobs.RerunFresh, MaxPerSecond: 1})
	if err != nil {
		t.Fatal(err)
	}
	if all, err := b.Batches(ctx, 5); err != nil || len(all) != 2 || all[0].ID != second.ID {
		t.Errorf("Batches = %+v, %v, want the newest first", all, err)
	}
}

func batchPageOnce(t *testing.T, b *bench) {
	made, err := b.CreateBatch(t.Context(), jobs.BatchRequest{Reason: "r", Mode: jobs.RerunFresh, MaxPerSecond: 5})
	if err != nil {
		t.Fatal(err)
	}
	page := jobs.NewID() // whatever leads on
	if p, err := b.List(t.Context(), jobs.List{}); err == nil && p.Next != "" {
		page = p.Next
	}
	for i := range 3 {
		b.job(t, "org", i+1)
	}
	if p, err := b.List(t.Context(), jobs.List{PageSize: 1}); err != nil || p.Next == "" {
		t.Fatalf("List = %+v, %v", p, err)
	} else {
		page = p.Next
	}
	n := race(t, 4, jobs.ErrLeaseLost, func(int) error {
		_, err := b.UpdateBatch(context.Background(), made.ID, func(tx *jobs.BatchTx) error { return tx.Advance("", 1, nil, page) })
		return err
	})
	if got, _, err := b.Batch(t.Context(), made.ID); err != nil || n != 1 || got.Matched != 1 || got.Cursor != page {
		t.Errorf("%d of 4 counted the page: %+v, %v", n, got, err)
	}
}

var fleetCases = []storeCase{
	{"a partition is held by one, until it shows no life or leaves", jobs.Limits{}, partitions},
	{"of rescuers that take a partition at the same time one has it", jobs.Limits{}, partitionOnce},
	{"who watches the switches is told of each change", jobs.Limits{}, watchesSwitches},
	{"workers that show life are counted", jobs.Limits{}, presence},
	{"the state of the system is counted", jobs.Limits{}, stats},
}

func partitions(t *testing.T, b *bench) {
	ctx := t.Context()
	for i, step := range []struct {
		owner string
		after time.Duration
		want  bool
	}{{"a", 0, true}, {"b", time.Second, false}, {"a", time.Second, true}, {"b", 20 * time.Second, true}} {
		b.Pass(step.after)
		if ok, err := b.HoldPartition(ctx, 0, step.owner); err != nil || ok != step.want {
			t.Errorf("step %d: HoldPartition by %s = %v, %v, want %v", i, step.owner, ok, err, step.want)
		}
	}
	if err := b.Divide(ctx, func(d *jobs.Division) { d.Partitions, d.Workers = 2, 3 }); err != nil {
		t.Errorf("Divide = %v", err)
	}
	d, held, err := b.Partitions(ctx, 2)
	if err != nil || d.Partitions != 2 || d.Workers != 3 || len(held) != 2 || held[0].Owner != "b" || held[1].Owner != "" {
		t.Errorf("Partitions = %+v, %+v, %v", d, held, err)
	}
	if err := b.LeavePartition(ctx, 0, "a"); err != nil { // not its own
		t.Errorf("LeavePartition = %v", err)
	}
	if ok, err := b.HoldPartition(ctx, 0, "a"); ok || err != nil {
		t.Errorf("a partition was given up by whoever does not hold it: %v, %v", ok, err)
	}
	if err := b.LeavePartition(ctx, 0, "b"); err != nil {
		t.Errorf("LeavePartition = %v", err)
	}
	if ok, err := b.HoldPartition(ctx, 0, "a"); !ok || err != nil {
		t.Errorf("HoldPartition once it was left = %v, %v", ok, err)
	}
}

func partitionOnce(t *testing.T, b *bench) {
	var won atomic.Int64
	var all sync.WaitGroup
	for _, owner := range []string{"a", "b", "c", "d", "e"} {
		all.Go(func() {
			ok, err := b.HoldPartition(context.Background(), 3, owner)
			if err != nil {
				t.Errorf("HoldPartition = %v", err)
			}
			if ok {
				won.Add(1)
			}
		})
	}
	all.Wait()
	if n := won.Load(); n != 1 {
		t.Errorf("%d rescuers have the partition, want 1", n)
	}
}

func watchesSwitches(t *testing.T, b *bench) {
	ctx, stop := context.WithCancelCause(t.Context())
	defer stop(nil)
	told, done := make(chan jobs.Switches, 8), make(chan error, 1)
	go func() { done <- b.WatchSwitches(ctx, func(s jobs.Switches) { told <- s }) }()
	if s := <-told; s.Division.Partitions != 1 || s.Paused[jobs.QueueParts].Paused {
		t.Errorf("the first is %+v", s)
	}
	until := func(what string, fits func(jobs.Switches) bool) {
		t.Helper()
		for s := range told {
			if fits(s) {
				break
			}
		}
		if s, err := b.Switches(ctx); err != nil || !fits(s) {
			t.Errorf("%s: Switches = %+v, %v", what, s, err)
		}
	}
	if err := b.SetPaused(ctx, jobs.QueueParts, true, "op", "to look"); err != nil {
		t.Fatal(err)
	}
	until("paused", func(s jobs.Switches) bool {
		p := s.Paused[jobs.QueueParts]
		return p.Paused && p.Actor == "op" && p.Reason == "to look"
	})
	if err := b.Divide(ctx, func(d *jobs.Division) { d.Partitions = 4 }); err != nil {
		t.Fatal(err)
	}
	until("divided", func(s jobs.Switches) bool { return s.Division.Partitions == 4 })
	if err := b.SetPaused(ctx, jobs.QueueParts, false, "op", "seen"); err != nil {
		t.Fatal(err)
	}
	until("resumed", func(s jobs.Switches) bool { return !s.Paused[jobs.QueueParts].Paused && s.Division.Partitions == 4 })
	stop(errTest)
	if err := <-done; !errors.Is(err, errTest) {
		t.Errorf("WatchSwitches whose context ended = %v, want the cause", err)
	}
}

func presence(t *testing.T, b *bench) {
	ctx := t.Context()
	other := jobs.Worker{ID: "w2", Slots: jobs.Slots{Jobs: 3, Parts: 5}}
	for _, w := range []jobs.Worker{{ID: "w1"}, {ID: "w2"}, other} { // w2 anew, with other slots
		if err := b.ShowAlive(ctx, w, time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := b.Alive(ctx); err != nil || !slices.Equal(got, []jobs.Worker{{ID: "w1"}, other}) {
		t.Errorf("Alive = %v, %v, want w1 and w2", got, err)
	}
	if err := b.ShowGone(ctx, "w1"); err != nil {
		t.Fatal(err)
	}
	if got, err := b.Alive(ctx); err != nil || !slices.Equal(got, []jobs.Worker{other}) {
		t.Errorf("Alive = %v, %v, want w2", got, err)
	}
	b.Pass(2 * time.Minute)
	if got, err := b.Alive(ctx); err != nil || len(got) > 0 {
		t.Errorf("Alive past its time = %v, %v", got, err)
	}
}

func stats(t *testing.T, b *bench) {
	ctx := t.Context()
	b.job(t, "org", 1)
	oldest := b.Now()
	b.Pass(time.Second)
	b.job(t, "org", 2)
	b.succeed(t, b.job(t, "org", 3))
	b.fail(t, b.job(t, "org", 4))
	if err := errors.Join(b.ShowAlive(ctx, jobs.Worker{ID: "w1"}, time.Minute), b.NoteDead(ctx, jobs.QueueParts, "not JSON"), b.NoteDead(ctx, jobs.QueueParts, "no such job"),
		b.SetPaused(ctx, jobs.QueueExports, true, "op", "deploy")); err != nil {
		t.Fatal(err)
	}
	st, err := b.Stats(ctx)
	if err != nil || st.States[jobs.Queued] != 2 || st.States[jobs.Succeeded] != 1 || st.States[jobs.Failed] != 1 || st.ErrorCodes[jobs.CodeTooManyRows] != 1 || len(st.ErrorCodes) != 1 ||
		!st.OldestQueuedAt.Equal(oldest) || !slices.Equal(st.Workers, []string{"w1"}) || !st.Paused[jobs.QueueExports].Paused || len(st.Partitions) != 1 {
		t.Errorf("Stats = %+v, %v", st, err)
	}
	if d := st.DeadLetters[jobs.QueueParts]; d.Count != 2 || d.Reason != "no such job" || d.At.IsZero() {
		t.Errorf("DeadLetters = %+v", d)
	}
}
