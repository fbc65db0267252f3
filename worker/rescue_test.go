package worker_test

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"sync/atomic"
	"testing"
	"time"

	"cloud.google.com/go/firestore"

	"exportd/internal/jobstore"
	"exportd/jobs"
	"exportd/worker"
)

// moody is a store of which some transitions always fail, or which is cut off altogether.
type moody struct {
	*jobstore.Store
	fails func(jobID string) bool
	dead  atomic.Bool
	tried atomic.Int64
	// refused counts the partitions that were asked for while it was cut off.
	refused atomic.Int64
}

var errMoody = errors.New("it always fails")

func (m *moody) Update(ctx context.Context, jobID, actor string, fn func(*jobs.Tx) error) (*jobs.Job, error) {
	if m.fails != nil && m.fails(jobID) {
		m.tried.Add(1)
		return nil, errMoody
	}
	return m.Store.Update(ctx, jobID, actor, fn)
}

func (m *moody) HoldPartition(ctx context.Context, index int, owner string) (bool, error) {
	if m.dead.Load() {
		m.refused.Add(1)
		return false, jobs.ErrUnavailable
	}
	return m.Store.HoldPartition(ctx, index, owner)
}

func (m *moody) LeavePartition(ctx context.Context, index int, owner string) error {
	if m.dead.Load() {
		return jobs.ErrUnavailable
	}
	return m.Store.LeavePartition(ctx, index, owner)
}

// write creates many documents.
func (r *rig) write(t testing.TB, docs map[string]any) {
	t.Helper()
	bulk := r.firestore.BulkWriter(t.Context())
	var writes []*firestore.BulkWriterJob
	for path, doc := range docs {
		w, err := bulk.Create(r.firestore.Doc(path), doc)
		if err != nil {
			t.Fatal(err)
		}
		writes = append(writes, w)
	}
	bulk.End()
	for _, w := range writes {
		if _, err := w.Results(); err != nil {
			t.Fatal(err)
		}
	}
}

// queued is a job that waits for its next attempt and is due at wakeAt.
func (r *rig) queued(wakeAt time.Time) *jobs.Job {
	j := &jobs.Job{
		ID: jobs.NewID(), Schema: jobs.SchemaVersion, OrgID: "org-1", KeyID: "key_one1", Kind: "vip-users", State: jobs.Queued, Attempt: 1,
		Params:    jobs.Params{"workspaceId": "ws1", "mediumId": "m1", "profile": jobs.ProfileRFC4180},
		CreatedAt: r.clock.Now().Add(-time.Minute), NotBefore: wakeAt, WakeAt: wakeAt,
	}
	j.Shard, j.Fingerprint = jobs.ShardOf(j.ID), jobs.Fingerprint(j.OrgID, j.Kind, 1, j.Params)
	return j
}

// TestRescuerPassesBy: documents that nobody can look after do not stand before the others: not those that
// are none of ours, not parts whose job is gone, not those whose transition fails.
func TestRescuerPassesBy(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	past := r.clock.Now().Add(-time.Hour)
	docs, bad := map[string]any{}, map[string]bool{}
	for i := range 1000 {
		docs[fmt.Sprintf("ExportJobs/Foreign%d", i)] = map[string]any{"schema": jobs.SchemaVersion, "shard": i % jobs.Shards, "wakeAt": past}
		gone := jobs.NewID()
		docs["ExportJobs/"+gone+"/parts/"+jobs.PartID(1, 0)] = jobs.Part{Schema: jobs.SchemaVersion, JobID: gone, PlanEpoch: 1, State: jobs.PartPending, WakeAt: past, Shard: jobs.PartShard(gone, 0)}
	}
	for range 400 {
		j := r.queued(past)
		j.OrgID = "org-2" // else the end of the last one notifies them
		j.Fingerprint = jobs.Fingerprint(j.OrgID, j.Kind, 1, j.Params)
		docs["ExportJobs/"+j.ID], bad[j.ID] = j, true
	}
	last := r.queued(past.Add(time.Minute))
	docs["ExportJobs/"+last.ID] = last
	r.write(t, docs)

	store := &moody{Store: r.store, fails: func(id string) bool { return bad[id] }}
	frozen := r.clock.Now() // what was passed by once is not tried again
	r.work(t, func(c *worker.Config) { c.Store, c.Now = store, func() time.Time { return frozen } })
	var j *jobs.Job
	eventually(t, time.Minute, func() bool {
		var err error
		if j, err = r.store.Get(t.Context(), last.ID); err != nil {
			t.Fatal(err)
		}
		return j.State == jobs.Succeeded
	}, func() any { return j })
	// Each of those that fail was tried at most once before.
	if n := store.tried.Load(); n > int64(len(bad)) {
		t.Errorf("the job behind them came after %d tries on %d that fail", n, len(bad))
	}
	eventually(t, time.Minute, func() bool {
		for _, kind := range []jobs.DueKind{jobs.DueJobs, jobs.DueParts} {
			page, err := r.store.Due(t.Context(), kind, jobs.AllShards(), r.clock.Now(), 2000, nil)
			if err != nil {
				t.Fatal(err)
			}
			if slices.ContainsFunc(page.Docs, func(d jobs.Due) bool { return d.Foreign || d.Message.PlanEpoch > 0 }) {
				return false
			}
		}
		return true
	}, func() any { return "what nobody can look after is still due" })
}

// TestRescuerAsksAhead: what is due before the rescuer asks again is done at its time, not when it asks
// again; what is due later is left. By the clock of its questions, that time never comes.
func TestRescuerAsksAhead(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	frozen := r.clock.Now()
	soon, later := r.queued(frozen.Add(time.Second).Truncate(time.Microsecond)), r.queued(frozen.Add(time.Minute).Truncate(time.Microsecond))
	later.OrgID = "org-2" // else the end of the other notifies it
	later.Fingerprint = jobs.Fingerprint(later.OrgID, later.Kind, 1, later.Params)
	r.write(t, map[string]any{"ExportJobs/" + soon.ID: soon, "ExportJobs/" + later.ID: later})
	stop := r.work(t, func(c *worker.Config) { c.Now = func() time.Time { return frozen } })
	r.succeeds(t, soon.ID, time.Minute)
	stop()
	if j, err := r.store.Get(t.Context(), later.ID); err != nil || !j.WakeAt.Equal(later.WakeAt) {
		t.Errorf("a job that is due in a minute is %+v, %v", j, err)
	}
}

// TestRescuerTriesAgain: a partition that could not be taken at first is taken once it can be; it was after
// ten minutes.
func TestRescuerTriesAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	j := r.queued(r.clock.Now().Add(-time.Minute).Truncate(time.Microsecond))
	r.write(t, map[string]any{"ExportJobs/" + j.ID: j})
	store := &moody{Store: r.store}
	store.dead.Store(true)
	r.work(t, func(c *worker.Config) { c.Store = store })
	eventually(t, time.Minute, func() bool { return store.refused.Load() > 0 }, func() any { return "no partition was asked for" })
	store.dead.Store(false)
	r.succeeds(t, j.ID, time.Minute)
}

// TestPartitions: the shards are shared out among the workers, and those of one that dies are taken over.
func TestPartitions(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	if err := r.store.Divide(t.Context(), func(d *jobs.Division) { d.Partitions, d.Workers = 4, 4 }); err != nil {
		t.Fatal(err)
	}
	stores := make([]*moody, 4)
	for i := range stores {
		stores[i] = &moody{Store: r.store}
		r.work(t, func(c *worker.Config) { c.ID, c.Store, c.Callbacks = fmt.Sprint("w", i), stores[i], nil })
	}
	var held []jobs.Partition
	owners := func() (names []string) {
		var err error
		if _, held, err = r.store.Partitions(t.Context(), 4); err != nil {
			t.Fatal(err)
		}
		for _, p := range held {
			if p.Owner != "" && !slices.Contains(names, p.Owner) {
				names = append(names, p.Owner)
			}
		}
		return names
	}
	all := func() bool {
		return !slices.ContainsFunc(held, func(p jobs.Partition) bool { return p.Owner == "" })
	}
	// One each, on a machine that has time for all of them; one that starts late finds none left.
	eventually(t, time.Minute, func() bool { return len(owners()) >= 2 && all() }, func() any { return held })

	dead := held[0].Owner
	for i, s := range stores {
		s.dead.Store(fmt.Sprint("w", i) == dead)
	}
	r.clock.put(r.clock.Now().Add(8 * time.Second)) // the others renew
	eventually(t, time.Minute, func() bool {
		if slices.Contains(owners(), dead) {
			r.clock.put(r.clock.Now().Add(100 * time.Millisecond))
			return false
		}
		return all()
	}, func() any { return held })
}

// TestLonelyRescuerComesBack: where there is one worker, nobody else takes a partition that it has lost
// because it could not write. It does so itself as soon as it can, and does not pause for the ten minutes
// that are right where others are.
func TestLonelyRescuerComesBack(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	store := &moody{Store: r.store}
	r.work(t, func(c *worker.Config) { c.Store, c.Callbacks = store, nil })
	var held []jobs.Partition
	isHeld := func() bool {
		var err error
		if _, held, err = r.store.Partitions(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		return held[0].Owner != ""
	}
	state := func() any { return held }
	eventually(t, time.Minute, isHeld, state)
	store.dead.Store(true)
	lost := r.clock.Now().Add(2 * jobs.RoleTTL)
	r.clock.put(lost)
	eventually(t, time.Minute, func() bool { return store.refused.Load() >= 2 }, state) // lost, and looked for
	store.dead.Store(false)
	eventually(t, time.Minute, isHeld, state)
	if late := r.clock.Now().Sub(lost); late > time.Minute {
		t.Errorf("came back %s after it could", late)
	}
}

// TestDivision: a partition is as two of twice as many, and together they have every shard once.
func TestDivision(t *testing.T) {
	t.Parallel()
	for n := 1; n <= jobs.MaxPartitions; n *= 2 {
		seen := map[int]int{}
		for k := range n {
			mine := jobs.Division{Partitions: n}.Shards(k)
			if len(mine) == 0 {
				t.Errorf("partition %d of %d has no shard", k, n)
			}
			for _, s := range mine {
				seen[s]++
			}
			halves := slices.Concat(jobs.Division{Partitions: 2 * n}.Shards(k), jobs.Division{Partitions: 2 * n}.Shards(k+n))
			slices.Sort(halves)
			if !slices.Equal(mine, halves) {
				t.Errorf("partition %d of %d is %v, its halves %v", k, n, mine, halves)
			}
		}
		for s := range jobs.Shards {
			if seen[s] != 1 {
				t.Errorf("of %d partitions %d have shard %d", n, seen[s], s)
			}
		}
	}
}
