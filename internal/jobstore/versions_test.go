package jobstore_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"cloud.google.com/go/firestore"

	"exportd/jobs"
)

// ofLaterBuild makes a document one of a version that this build does not read.
func (b bench) ofLaterBuild(t *testing.T, paths ...string) {
	t.Helper()
	for _, path := range paths {
		if _, err := b.client.Doc(path).Update(t.Context(), []firestore.Update{{Path: "schema", Value: jobs.SchemaVersion + 1}}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestLaterVersionLocksNothing: an org all of whose places and queue are taken by jobs of a later version has
// its limits to itself once no build that knows them is at work, and never more than its limit while one is.
func TestLaterVersionLocksNothing(t *testing.T) {
	t.Parallel()
	b := open(t, jobs.Limits{RunningJobs: 1, QueuedJobs: 2})
	first := b.submit(t, request("org", 1)).Job.ID
	if ok, err := b.claim(first); !ok || err != nil {
		t.Fatal(ok, err)
	}
	b.clock.Pass(time.Second)
	var later []string
	for month := 2; month <= 3; month++ {
		later = append(later, b.submit(t, request("org", month)).Job.ID)
		b.clock.Pass(time.Second)
	}
	later = append(later, first)
	for _, id := range later {
		b.ofLaterBuild(t, "ExportJobs/"+id)
	}
	if running, queued, err := b.Usage(t.Context(), "org"); err != nil || running+queued != 0 {
		t.Errorf("Usage = %d running, %d queued, %v; want none", running, queued, err)
	}
	equal := b.submit(t, request("org", 2)) // the queue is not full
	if equal.Reused {
		t.Error("an equal request attached to a job that nobody here can work on")
	}
	mine := equal.Job.ID
	if next, err := b.Next(t.Context(), "org"); err != nil || !slices.Equal(next, []string{mine}) {
		t.Errorf("Next = %s, %v, want %s", next, err, mine)
	}
	if ok, err := b.claim(mine); ok || err != nil {
		t.Fatalf("a claim beside a running job of a later version = %v, %v", ok, err)
	}
	if due := b.due(t, jobs.DueJobs); slices.ContainsFunc(due, func(m jobs.Message) bool { return slices.Contains(later, m.JobID) }) {
		t.Errorf("due are %v, of which this build can do nothing for %v", due, later)
	}
	lookAfter := func() (notified []string) { // the rescuer
		t.Helper()
		b.clock.Pass(5*time.Minute + time.Second)
		page, err := b.Due(t.Context(), jobs.DuePlaces, jobs.AllShards(), b.clock.Now(), 10, nil)
		if err != nil || len(page.Docs) != 1 {
			t.Fatalf("due places = %v, %v", page.Docs, err)
		}
		if notified, err = b.WakePlace(t.Context(), page.Docs[0]); err != nil {
			t.Fatal(err)
		}
		return notified
	}
	ref := b.client.Collection("ExportJobs").Doc(first)
	if _, err := ref.Update(t.Context(), []firestore.Update{{Path: "wakeAt", Value: b.clock.Now().Add(4 * time.Minute)}}); err != nil {
		t.Fatal(err) // a build that knows it has looked after it
	}
	if notified := lookAfter(); len(notified) > 0 {
		t.Errorf("%s is notified while another build works on the job that has the place", notified)
	}
	if notified := lookAfter(); !slices.Equal(notified, []string{mine}) {
		t.Errorf("%q is notified when no build has looked after the job that has the place for minutes, want %s", notified, mine)
	}
	if ok, err := b.claim(mine); !ok || err != nil {
		t.Fatalf("a claim of the place = %v, %v", ok, err)
	}

	// The other build is back: it finds what it left.
	for _, id := range later {
		if _, err := b.client.Doc("ExportJobs/"+id).Update(t.Context(), []firestore.Update{{Path: "schema", Value: jobs.SchemaVersion}}); err != nil {
			t.Fatal(err)
		}
	}
	j := b.update(t, first, func(tx *jobs.Tx) error { _, err := tx.Wake(); return err })
	if j.State != jobs.Queued || j.Place != 0 {
		t.Errorf("after its build is back, the job is %s in place %d, want it queued", j.State, j.Place)
	}
	if ok, err := b.claim(first); ok || err != nil {
		t.Errorf("it claims a place that another has = %v, %v", ok, err)
	}
	b.update(t, mine, func(tx *jobs.Tx) error { return tx.Cancel("") })
	if ok, err := b.claim(first); !ok || err != nil {
		t.Errorf("it claims the free place = %v, %v", ok, err)
	}
}

// lastWanted reports whether somebody is due to look who waits for the one place there is.
func (b bench) lastWanted(t *testing.T) (wanted bool) {
	t.Helper()
	docs, err := b.client.Collection("ExportPlaces").Documents(t.Context()).GetAll()
	if err != nil || len(docs) == 0 {
		t.Fatal(docs, err)
	}
	last := jobs.Place{}
	for _, doc := range docs {
		var p jobs.Place
		if err := doc.DataTo(&p); err != nil {
			t.Fatal(err)
		}
		if p.Turn >= last.Turn {
			last = p
		}
	}
	return last.Wanted
}

// TestPlaceStaysWantedForLaterVersions: who frees a place for which only a job of a later version waits
// leaves it wanted, as the rescuer of that version is to find it.
func TestPlaceStaysWantedForLaterVersions(t *testing.T) {
	t.Parallel()
	b := open(t, jobs.Limits{RunningJobs: 1})
	mine := b.submit(t, request("org", 1)).Job.ID
	if ok, err := b.claim(mine); !ok || err != nil {
		t.Fatal(ok, err)
	}
	theirs := b.submit(t, request("org", 2)).Job.ID
	if ok, err := b.claim(theirs); ok || err != nil {
		t.Fatal(ok, err)
	}
	b.ofLaterBuild(t, "ExportJobs/"+theirs)
	b.update(t, mine, func(tx *jobs.Tx) error { return tx.Cancel("") })
	for range 3 {
		b.clock.Pass(time.Minute)
		page, err := b.Due(t.Context(), jobs.DuePlaces, jobs.AllShards(), b.clock.Now(), 10, nil)
		if err != nil || len(page.Docs) != 1 {
			t.Fatalf("due places = %v, %v", page.Docs, err)
		}
		if notify, err := b.WakePlace(t.Context(), page.Docs[0]); err != nil || len(notify) > 0 {
			t.Errorf("WakePlace = %s, %v", notify, err)
		}
		if !b.lastWanted(t) {
			t.Fatal("nobody will look who waits for the free place")
		}
	}
}

// TestLaterVersionIsShown: callers and operators see a job of a later version; what would change it is
// refused by an error that says why, and batches pass it by.
func TestLaterVersionIsShown(t *testing.T) {
	t.Parallel()
	b := open(t, jobs.Limits{})
	s := request("org", 1)
	s.IdempotencyKey = "k"
	id := b.submit(t, s).Job.ID
	b.ofLaterBuild(t, "ExportJobs/"+id)
	before, err := b.client.Doc("ExportJobs/" + id).Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	j, err := b.GetOf(t.Context(), "org", id)
	if err != nil || j.State != jobs.Queued || !j.Foreign() {
		t.Errorf("GetOf = %+v, %v", j, err)
	}
	if page, err := b.List(t.Context(), jobs.List{OrgID: "org"}); err != nil || len(page.Jobs) != 1 {
		t.Errorf("List = %v, %v", page.Jobs, err)
	}
	if got := b.submit(t, s); got.Job.ID != id {
		t.Errorf("its idempotency key gives job %s, want %s", got.Job.ID, id)
	}
	for name, fn := range map[string]func(*jobs.Tx) error{
		"cancel": func(tx *jobs.Tx) error { return tx.Cancel("") }, "delete": func(tx *jobs.Tx) error { return tx.Delete("") },
		"rerun": func(tx *jobs.Tx) error { _, err := tx.Rerun(jobs.RerunFresh, ""); return err },
	} {
		if _, err := b.Update(t.Context(), id, "test", fn); !errors.Is(err, jobs.ErrUnknownSchema) {
			t.Errorf("%s = %v, want ErrUnknownSchema", name, err)
		}
	}
	for a := range jobs.Audits {
		if found, batches, _, err := b.Suspects(t.Context(), a, ""); err != nil || len(found)+len(batches) != 0 {
			t.Errorf("suspect are %v and %v, %v", found, batches, err)
		}
	}
	after, err := b.client.Doc("ExportJobs/" + id).Get(t.Context())
	if err != nil || !after.UpdateTime.Equal(before.UpdateTime) {
		t.Errorf("it was written to, %v", err)
	}
}

// TestBatchesOfLaterVersions do not stand before those of this one.
func TestBatchesOfLaterVersions(t *testing.T) {
	t.Parallel()
	b := open(t, jobs.Limits{})
	for range 15 {
		batch, err := b.CreateBatch(t.Context(), jobs.BatchRequest{Mode: jobs.RerunResume, MaxPerSecond: 1})
		if err != nil {
			t.Fatal(err)
		}
		b.ofLaterBuild(t, "ExportBatches/"+batch.ID)
	}
	b.clock.Pass(time.Second)
	mine, err := b.CreateBatch(t.Context(), jobs.BatchRequest{Mode: jobs.RerunResume, MaxPerSecond: 1})
	if err != nil {
		t.Fatal(err)
	}
	if due, err := b.DueBatches(t.Context(), b.clock.Now(), 10); err != nil || len(due) != 1 || due[0].ID != mine.ID {
		t.Errorf("DueBatches = %d, %v, want one", len(due), err)
	}
}

// TestBuildsSideBySide: a worker of an older build that has a part while a newer one makes the job one of its
// own version can do nothing more for either, and harms nothing: the newer build takes the part over when the
// lease has run out, and the job ends with the rows of its own holders alone.
func TestBuildsSideBySide(t *testing.T) {
	t.Parallel()
	b := open(t, jobs.Limits{RunningJobs: 1})
	id := b.submit(t, request("org", 1)).Job.ID
	var lease jobs.Lease
	b.update(t, id, func(tx *jobs.Tx) (err error) { lease, err = tx.Claim("old"); return err })
	j := b.update(t, id, func(tx *jobs.Tx) error {
		return tx.Plan(lease, tx.Now, []jobs.Range{{Rows: 3, To: "m"}, {Rows: 4, From: "m"}}, 0)
	})
	part := func(index int, fn func(*jobs.Tx) error) error {
		b.clock.Pass(time.Millisecond)
		_, err := b.UpdatePart(t.Context(), id, jobs.PartID(j.PlanEpoch, index), "test", fn)
		return err
	}
	claim := func(index int, worker string) (l jobs.Lease, err error) {
		err = part(index, func(tx *jobs.Tx) error { _, l, err = tx.ClaimPart(j.PlanEpoch, index, worker); return err })
		return l, err
	}
	commit := func(index int, l jobs.Lease, worker string, rows int64) (next jobs.Next, err error) {
		err = part(index, func(tx *jobs.Tx) error {
			object := (&jobs.Part{PlanEpoch: j.PlanEpoch, Index: index}).ObjectName(j, l.Token)
			next, err = tx.CommitPart(j.PlanEpoch, index, l, worker, jobs.PartResult{Object: object, Rows: rows, Size: 10})
			return err
		})
		return next, err
	}
	old, err := claim(0, "old")
	if err != nil {
		t.Fatal(err)
	}
	setSchema := func(version int) {
		t.Helper()
		if _, err := b.client.Doc("ExportJobs/"+id).Update(t.Context(), []firestore.Update{{Path: "schema", Value: version}}); err != nil {
			t.Fatal(err)
		}
	}
	setSchema(jobs.SchemaVersion + 1) // as the older build sees it from now on
	for name, err := range map[string]error{
		"RenewPart": part(0, func(tx *jobs.Tx) error { _, err := tx.RenewPart(j.PlanEpoch, 0, old, 1, 1); return err }),
		"SettlePart": part(0, func(tx *jobs.Tx) error {
			_, err := tx.EndPartAttempt(j.PlanEpoch, 0, old, jobs.Fail(jobs.CodeUnavailable, jobs.Transient, "", "", nil))
			return err
		}),
		"ClaimPart":  func() error { _, err := claim(1, "old"); return err }(),
		"CommitPart": func() error { _, err := commit(0, old, "old", 3); return err }(),
		"WakePart":   part(0, func(tx *jobs.Tx) error { _, err := tx.WakePart(j.PlanEpoch, 0); return err }),
	} {
		if !errors.Is(err, jobs.ErrUnknownSchema) {
			t.Errorf("%s by the older build = %v, want ErrUnknownSchema", name, err)
		}
	}
	setSchema(jobs.SchemaVersion) // as the newer build sees it
	second, err := claim(1, "new")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := claim(0, "new"); !errors.Is(err, jobs.ErrNotDue) {
		t.Errorf("the newer build claims a part that is held = %v, want ErrNotDue", err)
	}
	if _, err := commit(1, second, "new", 4); err != nil {
		t.Fatal(err)
	}
	b.clock.Pass(time.Minute) // the older build's lease has run out
	if err := part(0, func(tx *jobs.Tx) error { _, err := tx.WakePart(j.PlanEpoch, 0); return err }); err != nil {
		t.Fatal(err)
	}
	b.clock.Pass(time.Minute)
	mine, err := claim(0, "new")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := commit(0, old, "old", 3); !errors.Is(err, jobs.ErrLeaseLost) {
		t.Errorf("the older build commits the part that it has lost = %v, want ErrLeaseLost", err)
	}
	next, err := commit(0, mine, "new", 3)
	if err != nil || !next.Finalize {
		t.Fatalf("the last part = %+v, %v, want the job to be finalized", next, err)
	}
	end := b.update(t, id, func(tx *jobs.Tx) error {
		return tx.Succeed(next.Lease, jobs.Result{Object: tx.Job.ResultName(), Rows: 7, Size: 20})
	})
	if end.State != jobs.Succeeded || end.Place != 0 || end.RowsDone != 7 {
		t.Errorf("the job is %s in place %d with %d rows", end.State, end.Place, end.RowsDone)
	}
}
