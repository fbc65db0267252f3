package jobstore_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/firestore"
	"go.uber.org/goleak"

	"exportd/internal/jobstore"
	"exportd/internal/localcloud/fault"
	"exportd/internal/localcloud/localcloudtest"
	"exportd/jobs"
	"exportd/jobs/jobstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, localcloudtest.LeakOptions()...) }

func policy() jobs.Policy {
	return jobs.Policy{
		LeaseFor: 30 * time.Second, RenewEvery: 5 * time.Second, Skew: 5 * time.Second, NotifyAgain: 15 * time.Second, MaxAttempts: 3,
		MaxInterruptions: 3, BackoffMin: time.Second, BackoffMax: time.Minute, Window: 2, SnapshotLife: time.Hour,
		FileLife: 24 * time.Hour, RecordLife: 48 * time.Hour, SweepAfter: time.Minute, Jitter: func() float64 { return 0 },
	}
}

type bench struct {
	*jobstore.Store
	clock  *jobstest.Clock
	client *firestore.Client
	faults func() fault.Counters
}

func open(t *testing.T, limits jobs.Limits) bench {
	t.Helper()
	cloud := localcloudtest.Start(t)
	c := jobstest.NewClock()
	return bench{jobstore.New(jobstore.Config{Client: cloud.Firestore, Policy: policy(), Limits: limits, ReuseFor: time.Minute, Now: c.Now}), c, cloud.Firestore, func() fault.Counters { return cloud.Faults().Counters() }}
}

func request(org string, month int) jobs.Submission {
	return jobs.Submission{OrgID: org, KeyID: "key", Kind: "vip-users", Params: jobs.Params{
		"workspaceId": "w", "mediumId": "m", "birthdayMonth": int64(month), "profile": jobs.ProfileRFC4180}}
}

func (b bench) submit(t *testing.T, s jobs.Submission) jobs.Submitted {
	t.Helper()
	got, err := b.Submit(t.Context(), s)
	if err != nil {
		t.Fatalf("Submit(%+v) = %v", s, err)
	}
	return got
}

// update runs a transition; time goes on before it, as events are in the order of time.
func (b bench) update(t *testing.T, id string, fn func(*jobs.Tx) error) *jobs.Job {
	t.Helper()
	b.clock.Pass(time.Millisecond)
	j, err := b.Update(t.Context(), id, "test", fn)
	if err != nil {
		t.Fatalf("Update = %v", err)
	}
	return j
}

func (b bench) succeed(t *testing.T, id string) {
	t.Helper()
	var lease jobs.Lease
	b.update(t, id, func(tx *jobs.Tx) (err error) { lease, err = tx.Claim("w"); return err })
	b.update(t, id, func(tx *jobs.Tx) error { return tx.Pin(lease, b.clock.Now(), 3) })
	b.update(t, id, func(tx *jobs.Tx) error {
		return tx.Succeed(lease, jobs.Result{Object: tx.Job.ResultName(), Rows: 3, Size: 9})
	})
}

// TestKnownJobs: whoever holds a job's lease commits its next transition without a read, and is not deceived
// when somebody else has changed the job since.
func TestKnownJobs(t *testing.T) {
	t.Parallel()
	cloud := localcloudtest.Start(t)
	c := jobstest.NewClock()
	process := func() bench {
		return bench{jobstore.New(jobstore.Config{Client: cloud.Firestore, Policy: policy(), Now: c.Now}), c, cloud.Firestore, nil}
	}
	worker, other := process(), process()
	reads := func() int64 { return cloud.Faults().Counters().Methods["Firestore/BatchGetDocuments"].Calls }
	var lease jobs.Lease
	claim := func(tx *jobs.Tx) (err error) { lease, err = tx.Claim("w"); return err }
	renew := func(rows int64) func(tx *jobs.Tx) error {
		return func(tx *jobs.Tx) error { _, err := tx.Renew(lease, rows, rows); return err }
	}

	id := worker.submit(t, request("org", 1)).Job.ID
	worker.update(t, id, claim)
	before := reads()
	worker.update(t, id, func(tx *jobs.Tx) error { return tx.Pin(lease, c.Now(), 3) })
	worker.update(t, id, renew(1))
	if n := reads() - before; n != 0 {
		t.Errorf("the holder of the lease read the job %d times", n)
	}

	other.update(t, id, renew(2)) // in the holder's name, behind its back
	if j := worker.update(t, id, renew(3)); j.RowsDone != 3 || j.RowsTotal != 3 {
		t.Errorf("after somebody else's change: %+v", j)
	}
	other.update(t, id, func(tx *jobs.Tx) error { return tx.Cancel("enough") })
	if _, err := worker.Update(t.Context(), id, "w", renew(3)); !errors.Is(err, jobs.ErrLeaseLost) {
		t.Errorf("Renew of a canceled job = %v, want ErrLeaseLost", err)
	}

	id = worker.submit(t, request("org", 2)).Job.ID
	worker.update(t, id, claim)
	other.update(t, id, func(tx *jobs.Tx) error { return tx.Cancel("enough") })
	other.update(t, id, func(tx *jobs.Tx) error { _, err := tx.Rerun(jobs.RerunFresh, "after all"); return err })
	worker.update(t, id, claim) // refused for the job that is known, which is running

	id = worker.submit(t, request("org", 3)).Job.ID
	worker.update(t, id, claim)
	other.update(t, id, func(tx *jobs.Tx) error { return tx.Cancel("enough") })
	if j := worker.update(t, id, func(*jobs.Tx) error { return nil }); j.State != jobs.Canceled {
		t.Errorf("a transition that changes nothing left the job %s, want it as it is", j.State)
	}
}

// A document that somebody changed by hand into nonsense ends as failed, and the rest goes on.
func TestDamagedDocument(t *testing.T) {
	t.Parallel()
	b := open(t, jobs.Limits{})
	id := b.submit(t, request("org", 1)).Job.ID
	if _, err := b.client.Collection("ExportJobs").Doc(id).Set(t.Context(), map[string]any{"epoch": "many", "state": 7}, firestore.MergeAll); err != nil {
		t.Fatal(err)
	}
	j := b.update(t, id, func(tx *jobs.Tx) error { _, err := tx.Wake(); return err })
	if j.State != jobs.Failed || j.Error.Code != jobs.CodeInvalidJob || j.OrgID != "org" {
		t.Errorf("damaged job after Wake = %+v", j)
	}
	if _, err := b.Get(t.Context(), id); err != nil {
		t.Errorf("Get = %v", err)
	}
	if _, err := b.Get(t.Context(), "../x"); !errors.Is(err, jobs.ErrNotFound) {
		t.Errorf("Get of a made-up id = %v, want ErrNotFound", err)
	}
}

// TestPurge: a record whose life is over goes, of a hundred in one commit, and nothing but it is read or
// deleted; one that was run again stays. What hangs on it says when it lapses, and is as gone from then on.
func TestPurge(t *testing.T) {
	t.Parallel()
	b := open(t, jobs.Limits{})
	var all []*jobs.Job
	for i := range 12 {
		s := request("org", i+1)
		s.CallbackURL = "https://example.com/x"
		id := b.submit(t, s).Job.ID
		b.succeed(t, id)
		all = append(all, &jobs.Job{ID: id})
	}
	again := b.submit(t, request("other", 1)).Job.ID
	b.update(t, again, func(tx *jobs.Tx) error { return tx.Cancel("") })
	all = append(all, &jobs.Job{ID: again})
	b.clock.Pass(policy().FileLife)
	for _, j := range all[:12] {
		b.update(t, j.ID, func(tx *jobs.Tx) error { _, err := tx.Wake(); return err })
		b.update(t, j.ID, (*jobs.Tx).Cleaned)
	}
	b.update(t, again, func(tx *jobs.Tx) error { _, err := tx.Rerun(jobs.RerunFresh, ""); return err })
	b.clock.Pass(policy().RecordLife)
	before := b.faults()
	for range 2 { // safe to repeat
		if err := b.Purge(t.Context(), all); err != nil {
			t.Fatalf("Purge = %v", err)
		}
	}
	after := b.faults()
	if n := after.Methods["Firestore/Commit"].Calls - before.Methods["Firestore/Commit"].Calls; n != 1 {
		t.Errorf("%d commits for 12 records, want 1", n)
	}
	if n := after.DocumentsWritten - before.DocumentsWritten; n != 12 {
		t.Errorf("%d documents written for 12 records, want 12", n)
	}
	if _, err := b.Get(t.Context(), again); err != nil {
		t.Errorf("a job that was run again: %v", err)
	}
	for _, group := range []string{"events", "ExportCallbacks", "ExportFingerprints"} {
		docs, err := b.client.CollectionGroup(group).Documents(t.Context()).GetAll()
		if err != nil || len(docs) < 12 {
			t.Fatalf("%d %s are left for the database to delete, %v", len(docs), group, err)
		}
		field := "exportLapsesAt"
		if group == "ExportFingerprints" {
			field = "expiresAt"
		}
		for _, doc := range docs {
			at, _ := doc.DataAt(field)
			if at, ok := at.(time.Time); !ok || at.Before(doc.CreateTime.Add(policy().RecordLife-time.Minute)) {
				t.Errorf("%s lapses at %v", doc.Ref.Path, at)
			}
		}
	}
	b.clock.Pass(8 * 24 * time.Hour)
	if events, err := b.Events(t.Context(), all[0].ID); err != nil || len(events) > 0 {
		t.Errorf("events past their time = %v, %v", events, err)
	}
	if calls, err := b.Callbacks(t.Context(), all[0].ID); err != nil || len(calls) > 0 {
		t.Errorf("callbacks past their time = %v, %v", calls, err)
	}
}

// TestPurgeOlder: of a job that an older build made, nothing lapses: all that hangs on it is deleted.
func TestPurgeOlder(t *testing.T) {
	t.Parallel()
	b := open(t, jobs.Limits{})
	id := b.submit(t, request("org", 1)).Job.ID
	b.update(t, id, func(tx *jobs.Tx) error { return tx.Cancel("") })
	b.update(t, id, func(tx *jobs.Tx) error { tx.Job.Lapses = false; return nil })
	b.clock.Pass(policy().RecordLife)
	if err := b.Purge(t.Context(), []*jobs.Job{{ID: id}}); err != nil {
		t.Fatal(err)
	}
	docs, err := b.client.CollectionGroup("events").Documents(t.Context()).GetAll()
	if _, gerr := b.Get(t.Context(), id); err != nil || len(docs) > 0 || !errors.Is(gerr, jobs.ErrNotFound) {
		t.Errorf("%d events are left, %v; the job: %v", len(docs), err, gerr)
	}
}

// TestPartsOfOneProcessShareCommits: transitions of a job's parts that come while one is under way are
// committed together. One that is refused leaves nothing behind, and each caller is given the job as its own
// transition left it, so that only one of them meets the last part.
func TestPartsOfOneProcessShareCommits(t *testing.T) {
	t.Parallel()
	const parts = 10
	cloud := localcloudtest.Start(t)
	p := policy()
	p.Window = parts
	store := jobstore.New(jobstore.Config{Client: cloud.Firestore, Policy: p, ReuseFor: time.Minute})
	submitted, err := store.Submit(t.Context(), request("org", 1))
	if err != nil {
		t.Fatal(err)
	}
	id := submitted.Job.ID
	var lease jobs.Lease
	ranges := make([]jobs.Range, parts)
	for i := range ranges {
		ranges[i] = jobs.Range{From: fmt.Sprint(i), To: fmt.Sprint(i + 1), Rows: 1}
	}
	var j *jobs.Job
	for _, fn := range []func(*jobs.Tx) error{
		func(tx *jobs.Tx) (err error) { lease, err = tx.Claim("w"); return err },
		func(tx *jobs.Tx) error { return tx.Plan(lease, time.Now(), ranges, 0) },
	} {
		if j, err = store.Update(t.Context(), id, "test", fn); err != nil {
			t.Fatal(err)
		}
	}
	before := cloud.Faults().Counters().Methods["Firestore/Commit"].Calls
	refused := errors.New("refused")
	var all sync.WaitGroup
	finalizers := make(chan int, parts)
	for i := range parts {
		all.Go(func() {
			var part jobs.Lease
			if _, err := store.UpdatePart(t.Context(), id, jobs.PartID(j.PlanEpoch, i), "test", func(tx *jobs.Tx) (err error) {
				_, part, err = tx.ClaimPart(j.PlanEpoch, i, "w")
				return err
			}); err != nil {
				t.Errorf("claim part %d = %v", i, err)
			}
			var next jobs.Next
			after, err := store.UpdatePart(t.Context(), id, jobs.PartID(j.PlanEpoch, i), "test", func(tx *jobs.Tx) (err error) {
				next, err = tx.CommitPart(j.PlanEpoch, i, part, "w", jobs.PartResult{Object: fmt.Sprint(i), Rows: 1})
				return err
			})
			if err != nil {
				t.Errorf("commit part %d = %v", i, err)
			} else if next.Finalize {
				finalizers <- after.PartsDone
			}
		})
		all.Go(func() {
			if _, err := store.Update(t.Context(), id, "test", func(tx *jobs.Tx) error { tx.Job.PartsDone += 100; return refused }); !errors.Is(err, refused) {
				t.Errorf("Update = %v, want %v", err, refused)
			}
		})
	}
	all.Wait()
	close(finalizers)
	var done []int
	for n := range finalizers {
		done = append(done, n)
	}
	if !slices.Equal(done, []int{parts}) {
		t.Errorf("the file is made by those who saw %v parts done, want one who saw %d", done, parts)
	}
	if commits := cloud.Faults().Counters().Methods["Firestore/Commit"].Calls - before; commits >= 2*parts {
		t.Errorf("%d transitions took %d commits, want fewer", 2*parts, commits)
	} else {
		t.Logf("%d transitions took %d commits", 2*parts, commits)
	}
}

// due lists what is due now, in all shards.
func (b bench) due(t *testing.T, kind jobs.DueKind) (names []jobs.Message) {
	t.Helper()
	page, err := b.Due(t.Context(), kind, jobs.AllShards(), b.clock.Now(), 1000, nil)
	if err != nil {
		t.Fatalf("Due = %v", err)
	}
	for _, d := range page.Docs {
		names = append(names, d.Message)
	}
	return names
}

// TestBatchUnchanged: what leaves a batch as it is writes nothing; what damages it is mended all the same.
func TestBatchUnchanged(t *testing.T) {
	t.Parallel()
	b := open(t, jobs.Limits{})
	made, err := b.CreateBatch(t.Context(), jobs.BatchRequest{Reason: "r", Actor: "op", Mode: jobs.RerunResume, MaxPerSecond: 1, Canary: true})
	if err != nil {
		t.Fatal(err)
	}
	ref := b.client.Collection("ExportBatches").Doc(made.ID)
	written := func() time.Time {
		doc, err := ref.Get(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return doc.UpdateTime
	}
	proceed := func() {
		if _, err := b.UpdateBatch(t.Context(), made.ID, func(tx *jobs.BatchTx) error { _, err := tx.Proceed(jobs.BatchOutcome{}); return err }); err != nil {
			t.Fatal(err)
		}
	}
	before := written()
	if proceed(); !written().Equal(before) {
		t.Error("a canary that goes on is written")
	}
	if _, err := ref.Update(t.Context(), []firestore.Update{{Path: "matched", Value: "many"}}); err != nil {
		t.Fatal(err)
	}
	before = written()
	if proceed(); !written().After(before) {
		t.Error("a batch that makes no sense stays as it is")
	}
}
