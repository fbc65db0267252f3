package jobstore_test

import (
	"context"
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
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, localcloudtest.LeakOptions()...) }

// clock is a time that tests move.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

func policy() jobs.Policy {
	return jobs.Policy{
		LeaseFor: 30 * time.Second, RenewEvery: 5 * time.Second, Skew: 5 * time.Second, RingAgain: 15 * time.Second, MaxAttempts: 3,
		MaxInterruptions: 3, BackoffMin: time.Second, BackoffMax: time.Minute, Window: 2, SnapshotLife: time.Hour,
		FileLife: 24 * time.Hour, RecordLife: 48 * time.Hour, SweepAfter: time.Minute, Jitter: func() float64 { return 0 },
	}
}

type bench struct {
	*jobstore.Store
	clock  *clock
	client *firestore.Client
	faults func() fault.Counters
}

func open(t *testing.T, limits jobs.Limits) bench {
	t.Helper()
	cloud := localcloudtest.Start(t)
	c := &clock{t: time.Now().UTC().Truncate(time.Second)}
	return bench{jobstore.New(jobstore.Config{Client: cloud.Firestore, Policy: policy(), Limits: limits, ReuseFor: time.Minute, Now: c.now}), c, cloud.Firestore, func() fault.Counters { return cloud.Faults().Counters() }}
}

func request(org string, month int) jobs.Submission {
	return jobs.Submission{OrgID: org, KeyID: "key", Kind: jobs.KindUsers, Params: jobs.Params{
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
	b.clock.add(time.Millisecond)
	j, err := b.Update(t.Context(), id, "test", fn)
	if err != nil {
		t.Fatalf("Update = %v", err)
	}
	return j
}

func TestSubmitShares(t *testing.T) {
	t.Parallel()
	b := open(t, jobs.Limits{})
	first := b.submit(t, request("org1", 1))
	if first.Reused || first.Job.State != jobs.Queued || first.Job.WakeAt.IsZero() {
		t.Fatalf("first Submit = %+v", first.Job)
	}
	if again := b.submit(t, request("org1", 1)); !again.Reused || again.Job.ID != first.Job.ID {
		t.Error("an equal request did not attach to the job in flight")
	}
	if other := b.submit(t, request("org2", 1)); other.Reused {
		t.Error("another org's equal request was given the job")
	}
	fresh := request("org1", 1)
	fresh.Fresh = true
	if got := b.submit(t, fresh); got.Reused {
		t.Error("a request for a fresh job was given an old one")
	}
	b.update(t, b.submit(t, request("org1", 1)).Job.ID, func(tx *jobs.Tx) error { return tx.Cancel("test") })
	if got := b.submit(t, request("org1", 1)); got.Reused {
		t.Error("a canceled job was reused")
	}
}

func TestSubmitReusesSuccess(t *testing.T) {
	t.Parallel()
	b := open(t, jobs.Limits{})
	id := b.submit(t, request("org", 1)).Job.ID
	b.succeed(t, id)
	if got := b.submit(t, request("org", 1)); !got.Reused || got.Job.ID != id {
		t.Error("a fresh success was not reused")
	}
	b.clock.add(61 * time.Second)
	if got := b.submit(t, request("org", 1)); got.Reused {
		t.Error("a success of 61 s ago was reused")
	}
}

func (b bench) succeed(t *testing.T, id string) {
	t.Helper()
	var lease jobs.Lease
	b.update(t, id, func(tx *jobs.Tx) (err error) { lease, err = tx.Claim("w"); return err })
	b.update(t, id, func(tx *jobs.Tx) error { return tx.Pin(lease, b.clock.now(), 3) })
	b.update(t, id, func(tx *jobs.Tx) error {
		return tx.Succeed(lease, jobs.Result{Object: tx.Job.ResultName(), Rows: 3, Size: 9})
	})
}

// TestKnownJobs: whoever holds a job's lease commits its next transition without a read, and
// is not deceived when somebody else has changed the job since.
func TestKnownJobs(t *testing.T) {
	t.Parallel()
	cloud := localcloudtest.Start(t)
	c := &clock{t: time.Now().UTC().Truncate(time.Second)}
	process := func() bench {
		return bench{jobstore.New(jobstore.Config{Client: cloud.Firestore, Policy: policy(), Now: c.now}), c, cloud.Firestore, nil}
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
	worker.update(t, id, func(tx *jobs.Tx) error { return tx.Pin(lease, c.now(), 3) })
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
	other.update(t, id, func(tx *jobs.Tx) error { _, err := tx.Rerun(jobs.Fresh, "after all"); return err })
	worker.update(t, id, claim) // refused for the job that is known, which is running

	id = worker.submit(t, request("org", 3)).Job.ID
	worker.update(t, id, claim)
	other.update(t, id, func(tx *jobs.Tx) error { return tx.Cancel("enough") })
	if j := worker.update(t, id, func(*jobs.Tx) error { return nil }); j.State != jobs.Canceled {
		t.Errorf("a transition that changes nothing left the job %s, want it as it is", j.State)
	}
}

func TestIdempotencyKey(t *testing.T) {
	t.Parallel()
	b := open(t, jobs.Limits{})
	s := request("org", 1)
	s.IdempotencyKey, s.Fresh = "k", true
	first := b.submit(t, s)
	if again := b.submit(t, s); !again.Reused || again.Job.ID != first.Job.ID {
		t.Error("the same key made a second job")
	}
	other := request("org", 2)
	other.IdempotencyKey = "k"
	if _, err := b.Submit(t.Context(), other); !errors.Is(err, jobs.ErrIdempotencyMismatch) {
		t.Errorf("the same key for another request = %v, want ErrIdempotencyMismatch", err)
	}
	elsewhere := request("org2", 2)
	elsewhere.IdempotencyKey = "k"
	if got := b.submit(t, elsewhere); got.Reused {
		t.Error("another org's key was taken for ours")
	}
	b.clock.add(25 * time.Hour)
	if err := b.PurgePointers(t.Context(), b.clock.now()); err != nil {
		t.Errorf("PurgePointers = %v", err)
	}
	if got := b.submit(t, s); got.Job.ID == first.Job.ID {
		t.Error("a key was good for longer than 24 h")
	}
}

// TestIdempotencyKeyOfSharedJob: a key that was given the job of an equal request gives it
// for as long as one that made it.
func TestIdempotencyKeyOfSharedJob(t *testing.T) {
	t.Parallel()
	b := open(t, jobs.Limits{})
	id := b.submit(t, request("org", 1)).Job.ID
	s := request("org", 1)
	s.IdempotencyKey = "k"
	if got := b.submit(t, s); got.Job.ID != id {
		t.Fatal("an equal request with a key did not attach to the job in flight")
	}
	b.update(t, id, func(tx *jobs.Tx) error { return tx.Cancel("test") })
	if got := b.submit(t, s); got.Job.ID != id || !got.Reused {
		t.Error("the key made a second job once its first had ended")
	}
	other := request("org", 2)
	other.IdempotencyKey = "k"
	if _, err := b.Submit(t.Context(), other); !errors.Is(err, jobs.ErrIdempotencyMismatch) {
		t.Errorf("the same key for another request = %v, want ErrIdempotencyMismatch", err)
	}
	b.clock.add(25 * time.Hour)
	if got := b.submit(t, s); got.Job.ID == id {
		t.Error("a key was good for longer than 24 h")
	}
}

func TestSubmitSideBySideMakesOneJob(t *testing.T) {
	t.Parallel()
	b := open(t, jobs.Limits{})
	ids := make([]string, 8)
	var all sync.WaitGroup
	for i := range ids {
		all.Go(func() {
			got, err := b.Submit(context.Background(), request("org", 1))
			if err != nil {
				t.Errorf("Submit = %v", err)
				return
			}
			ids[i] = got.Job.ID
		})
	}
	all.Wait()
	if slices.Sort(ids); ids[0] != ids[len(ids)-1] {
		t.Errorf("8 equal requests made jobs %v, want one", slices.Compact(ids))
	}
}

func TestQueueLimit(t *testing.T) {
	t.Parallel()
	b := open(t, jobs.Limits{QueuedJobs: 2, RunningJobs: 1})
	running := b.submit(t, request("org", 1)).Job.ID
	b.update(t, running, func(tx *jobs.Tx) error { _, err := tx.Claim("w"); return err })
	oldest := b.submit(t, request("org", 2)).Job.ID
	b.clock.add(time.Second)
	b.submit(t, request("org", 3))
	_, err := b.Submit(t.Context(), request("org", 4))
	if full, ok := errors.AsType[*jobs.QueueFullError](err); !ok || full.Limit != 2 || !slices.Equal(full.RunningIDs, []string{running}) {
		t.Errorf("third queued job = %+v, want QueueFullError with the running job", err)
	}
	if id, any, err := b.Waiting(t.Context(), "org"); err != nil || id != oldest || !any {
		t.Errorf("Waiting = %s, %v, %v, want %s", id, any, err, oldest)
	}
}

// TestList runs every combination of filters: each must have its index, and page.
func TestList(t *testing.T) {
	t.Parallel()
	b := open(t, jobs.Limits{})
	var want []string
	for i := range 7 {
		want = append(want, b.submit(t, request("org", i+1)).Job.ID)
		b.clock.add(time.Second)
	}
	slices.Reverse(want)
	b.submit(t, request("other", 1))
	for mask := range 1 << 5 {
		l := jobs.List{OrgID: "org", PageSize: 3}
		for i, set := range []func(){
			func() { l.State = jobs.Queued }, func() { l.Kind = jobs.KindUsers }, func() { l.WorkspaceID = "w" },
			func() { l.CreatedAfter, l.CreatedBefore = b.clock.now().Add(-time.Hour), b.clock.now().Add(time.Hour) },
			func() { l.ErrorCode = jobs.CodeInternal },
		} {
			if mask>>i&1 == 1 {
				set()
			}
		}
		var got []string
		for {
			page, err := b.List(t.Context(), l)
			if err != nil {
				t.Fatalf("List(%+v) = %v", l, err)
			}
			for _, j := range page.Jobs {
				got = append(got, j.ID)
			}
			if l.PageToken = page.Next; page.Next == "" {
				break
			}
		}
		if expect := want; l.ErrorCode == "" && !slices.Equal(got, expect) || l.ErrorCode != "" && len(got) > 0 {
			t.Errorf("List(%+v) = %v, want %v", l, got, expect)
		}
	}
	if _, err := b.List(t.Context(), jobs.List{PageToken: "nonsense"}); !errors.Is(err, jobs.ErrInvalid) {
		t.Errorf("List with a made-up token = %v, want ErrInvalid", err)
	}
}

func TestPartsAndProgress(t *testing.T) {
	t.Parallel()
	b := open(t, jobs.Limits{})
	id := b.submit(t, request("org", 1)).Job.ID
	var lease jobs.Lease
	b.update(t, id, func(tx *jobs.Tx) (err error) { lease, err = tx.Claim("w"); return err })
	ranges := []jobs.Range{{To: "a", Rows: 10}, {From: "a", To: "b", Rows: 10}, {From: "b", Rows: 10}}
	j := b.update(t, id, func(tx *jobs.Tx) error { return tx.Plan(lease, b.clock.now(), ranges) })
	var part jobs.Lease
	b.update(t, id, func(tx *jobs.Tx) (err error) { _, part, err = tx.ClaimPart(j.PlanEpoch, 0, "w"); return err })
	b.update(t, id, func(tx *jobs.Tx) error { _, err := tx.RenewPart(j.PlanEpoch, 0, part, 4, 40); return err })
	if rows, bytes, err := b.Progress(t.Context(), j); err != nil || rows != 4 || bytes != 40 {
		t.Errorf("Progress = %d rows, %d bytes, %v, want 4, 40", rows, bytes, err)
	}
	b.update(t, id, func(tx *jobs.Tx) error {
		_, err := tx.CommitPart(j.PlanEpoch, 0, part, "w", jobs.PartResult{Object: "o", Rows: 10, Size: 100})
		return err
	})
	if rows, bytes, err := b.Progress(t.Context(), j); err != nil || rows != 10 || bytes != 100 {
		t.Errorf("Progress after the commit = %d rows, %d bytes, %v, want 10, 100", rows, bytes, err)
	}
	if parts, err := b.Parts(t.Context(), j); err != nil || len(parts) != 3 || parts[0].State != jobs.PartDone || parts[2].From != "b" {
		t.Errorf("Parts = %+v, %v", parts, err)
	}
	b.update(t, id, func(tx *jobs.Tx) error { _, _, err := tx.ClaimPart(j.PlanEpoch, 1, "w"); return err })
	b.clock.add(time.Hour)
	if due := b.due(t, jobs.DueParts); !slices.Equal(due, []jobs.Message{{JobID: id, PlanEpoch: j.PlanEpoch, Part: 1}}) {
		t.Errorf("due parts = %+v", due)
	}
	if due := b.due(t, jobs.DueJobs); !slices.Equal(due, []jobs.Message{{JobID: id}}) {
		t.Errorf("due jobs = %v, want the job", due)
	}
	events, err := b.Events(t.Context(), id)
	var types []jobs.EventType
	for _, e := range events {
		types = append(types, e.Type)
	}
	if err != nil || !slices.Equal(types, []jobs.EventType{jobs.EventClaimed, jobs.EventPlanned}) {
		t.Errorf("Events = %v, %v", types, err)
	}
}

func TestUpdateUnderContention(t *testing.T) {
	t.Parallel()
	b := open(t, jobs.Limits{})
	id := b.submit(t, request("org", 1)).Job.ID
	won := make([]bool, 8)
	var all sync.WaitGroup
	for i := range won {
		all.Go(func() {
			_, err := b.Update(context.Background(), id, "test", func(tx *jobs.Tx) error { _, err := tx.Claim(fmt.Sprint(i)); return err })
			if err != nil && !errors.Is(err, jobs.ErrNotDue) {
				t.Errorf("Claim = %v, want nil or ErrNotDue", err)
			}
			won[i] = err == nil
		})
	}
	all.Wait()
	if n := len(slices.DeleteFunc(won, func(w bool) bool { return !w })); n != 1 {
		t.Errorf("%d of 8 claims stood, want 1", n)
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

// TestPurge: a record whose life is over goes, of a hundred in one commit, and nothing but it is
// read or deleted; one that was run again stays. What hangs on it says when it lapses, and is as gone
// from then on.
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
	b.clock.add(policy().FileLife)
	for _, j := range all[:12] {
		b.update(t, j.ID, func(tx *jobs.Tx) error { _, err := tx.Wake(); return err })
		b.update(t, j.ID, (*jobs.Tx).Cleaned)
	}
	b.update(t, again, func(tx *jobs.Tx) error { _, err := tx.Rerun(jobs.Fresh, ""); return err })
	b.clock.add(policy().RecordLife)
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
	b.clock.add(8 * 24 * time.Hour)
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
	b.clock.add(policy().RecordLife)
	if err := b.Purge(t.Context(), []*jobs.Job{{ID: id}}); err != nil {
		t.Fatal(err)
	}
	docs, err := b.client.CollectionGroup("events").Documents(t.Context()).GetAll()
	if _, gerr := b.Get(t.Context(), id); err != nil || len(docs) > 0 || !errors.Is(gerr, jobs.ErrNotFound) {
		t.Errorf("%d events are left, %v; the job: %v", len(docs), err, gerr)
	}
}

func TestStatsLeasesAndBatches(t *testing.T) {
	t.Parallel()
	b := open(t, jobs.Limits{})
	ctx := t.Context()
	b.submit(t, request("org", 1))
	b.succeed(t, b.submit(t, request("org", 2)).Job.ID)
	if err := errors.Join(b.ShowAlive(ctx, "w1", time.Minute), b.NoteDead(ctx, jobs.QueueParts, "not JSON"),
		b.SetPaused(ctx, jobs.QueueExports, true, "api key k", "deploy")); err != nil {
		t.Fatal(err)
	}
	st, err := b.Stats(ctx)
	if err != nil || st.States[jobs.Queued] != 1 || st.States[jobs.Succeeded] != 1 || st.OldestQueuedAt.IsZero() ||
		!slices.Equal(st.Workers, []string{"w1"}) || !st.Paused[jobs.QueueExports].Paused || st.DeadLetters[jobs.QueueParts].Count != 1 {
		t.Errorf("Stats = %+v, %v", st, err)
	}
	for _, step := range []struct {
		owner string
		after time.Duration
		want  bool
	}{{"a", 0, true}, {"b", time.Second, false}, {"a", time.Second, true}, {"b", 20 * time.Second, true}} {
		b.clock.add(step.after)
		if ok, err := b.Acquire(ctx, "rescuer", step.owner, 10*time.Second); err != nil || ok != step.want {
			t.Errorf("Acquire by %s after %s = %v, %v, want %v", step.owner, step.after, ok, err, step.want)
		}
	}
	if err := b.Release(ctx, "rescuer", "b"); err != nil {
		t.Errorf("Release = %v", err)
	}
	made, err := b.CreateBatch(ctx, jobs.BatchRequest{Reason: "r", MaxPerSecond: 5, Filter: jobs.BatchFilter{State: jobs.Failed}})
	if err != nil {
		t.Fatalf("CreateBatch = %v", err)
	}
	due, err := b.DueBatches(ctx, b.clock.now(), 5)
	if err != nil || len(due) != 1 || due[0].ID != made.ID {
		t.Errorf("DueBatches = %+v, %v", due, err)
	}
	if _, err := b.UpdateBatch(ctx, made.ID, func(tx *jobs.BatchTx) error { return tx.Advance("", 0, nil, "") }); err != nil {
		t.Errorf("UpdateBatch = %v", err)
	}
	if got, n, err := b.Batch(ctx, made.ID); err != nil || n != 0 || got.FinishedAt.IsZero() || got.Filter.State != jobs.Failed {
		t.Errorf("Batch = %+v, %d, %v", got, n, err)
	}
	if all, err := b.Batches(ctx, 5); err != nil || len(all) != 1 {
		t.Errorf("Batches = %v, %v", all, err)
	}
}

func TestWatch(t *testing.T) {
	t.Parallel()
	b := open(t, jobs.Limits{})
	id := b.submit(t, request("org", 1)).Job.ID
	states := make(chan jobs.State, 4)
	done := make(chan error, 1)
	go func() {
		done <- b.Watch(context.Background(), id, func(j *jobs.Job) bool { states <- j.State; return j.State.Ended() })
	}()
	if s := <-states; s != jobs.Queued {
		t.Errorf("first state = %s, want queued", s)
	}
	b.update(t, id, func(tx *jobs.Tx) error { return tx.Cancel("test") })
	if s := <-states; s != jobs.Canceled {
		t.Errorf("next state = %s, want canceled", s)
	}
	if err := <-done; err != nil {
		t.Errorf("Watch = %v", err)
	}
	if err := b.Watch(t.Context(), jobs.NewID(), func(*jobs.Job) bool { return true }); !errors.Is(err, jobs.ErrNotFound) {
		t.Errorf("Watch of an unknown job = %v, want ErrNotFound", err)
	}
}

// TestPartsOfOneProcessShareCommits: transitions of a job's parts that come while one is under
// way are committed together. One that is refused leaves nothing behind, and each caller is
// given the job as its own transition left it, so that only one of them meets the last part.
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
		func(tx *jobs.Tx) error { return tx.Plan(lease, time.Now(), ranges) },
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
	page, err := b.Due(t.Context(), kind, jobs.AllShards(), b.clock.now(), 100, nil)
	if err != nil {
		t.Fatalf("Due = %v", err)
	}
	for _, d := range page.Docs {
		names = append(names, d.Message)
	}
	return names
}
