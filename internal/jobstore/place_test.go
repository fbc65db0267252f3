package jobstore_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"cloud.google.com/go/firestore"

	"exportd/jobs"
)

// claim tries to claim a job and says whether it runs.
func (b bench) claim(id string) (bool, error) {
	j, err := b.Update(context.Background(), id, "test", func(tx *jobs.Tx) error { _, err := tx.Claim("w"); return err })
	return err == nil && j.State == jobs.Running, err
}

// TestPlaceOfLostJob: a place whose job is not there is found and given to the next.
func TestPlaceOfLostJob(t *testing.T) {
	t.Parallel()
	b := open(t, jobs.Limits{RunningJobs: 1})
	lost := b.submit(t, request("org", 1)).Job.ID
	if ok, err := b.claim(lost); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if _, err := b.client.Collection("ExportJobs").Doc(lost).Delete(t.Context()); err != nil {
		t.Fatal(err)
	}
	next := b.submit(t, request("org", 2)).Job.ID
	if ok, err := b.claim(next); ok || err != nil {
		t.Fatal(ok, err)
	}
	b.clock.Pass(6 * time.Minute)
	page, err := b.Due(t.Context(), jobs.DuePlaces, jobs.AllShards(), b.clock.Now(), 10, nil)
	if err != nil || len(page.Docs) != 1 {
		t.Fatalf("due places = %v, %v", page.Docs, err)
	}
	if notify, err := b.WakePlace(t.Context(), page.Docs[0]); err != nil || !slices.Equal(notify, []string{next}) {
		t.Fatalf("WakePlace = %s, %v, want %s", notify, err, next)
	}
	if ok, err := b.claim(next); !ok || err != nil {
		t.Errorf("claim = %v, %v", ok, err)
	}
}

// TestPlacesRead: a claim reads the documents of one place, and those of the others only if that one is
// taken; the last that is free is found whichever is looked at first.
func TestPlacesRead(t *testing.T) {
	t.Parallel()
	const limit = 5
	b := open(t, jobs.Limits{RunningJobs: limit})
	for n := range limit {
		id := b.submit(t, request("org", n+1)).Job.ID
		before := b.faults().DocumentsRead
		if ok, err := b.claim(id); !ok || err != nil {
			t.Fatalf("claim beside %d running jobs = %v, %v", n, ok, err)
		}
		read := b.faults().DocumentsRead - before
		t.Logf("beside %d running jobs, a claim read %d documents", n, read)
		if n == 0 && read > 1+jobs.PlaceTurns || read > 1+limit*jobs.PlaceTurns {
			t.Errorf("beside %d running jobs, a claim read %d documents, want the job and %d of a place", n, read, jobs.PlaceTurns)
		}
	}
}

// TestPlaceCosts: a claim and an end read and write a place each, and an end by the holder of the lease reads
// nothing.
func TestPlaceCosts(t *testing.T) {
	t.Parallel()
	b := open(t, jobs.Limits{RunningJobs: 5})
	faults := b.faults
	id := b.submit(t, request("org", 1)).Job.ID
	var lease jobs.Lease
	b.update(t, id, func(tx *jobs.Tx) (err error) { lease, err = tx.Claim("w"); return err })
	b.update(t, id, func(tx *jobs.Tx) error { return tx.Pin(lease, b.clock.Now(), 3) })
	before := faults().DocumentsRead
	b.update(t, id, func(tx *jobs.Tx) error { return tx.Succeed(lease, jobs.Result{Object: "o", Rows: 3, Size: 9}) })
	if n := faults().DocumentsRead - before; n != 0 {
		t.Errorf("the end of a job read %d documents, want none", n)
	}
	docs, err := b.client.Collection("ExportPlaces").Where(firestore.DocumentID, ">", b.client.Doc("ExportPlaces/0")).Documents(t.Context()).GetAll()
	if err != nil || len(docs) != 1 || docs[0].Data()["jobId"] != "" {
		t.Errorf("places = %d, %v, want one that is free", len(docs), err)
	}
}

// TestPlaceDocumentsTakeTurns: an org that has jobs run one after the other writes no document of a place as
// often as it takes the place: each bears a write a second.
func TestPlaceDocumentsTakeTurns(t *testing.T) {
	t.Parallel()
	const rounds = 3 * jobs.PlaceTurns
	b := open(t, jobs.Limits{RunningJobs: 1})
	writes, last := map[string]int{}, map[string]time.Time{}
	look := func() {
		docs, err := b.client.Collection("ExportPlaces").Documents(t.Context()).GetAll()
		if err != nil {
			t.Fatal(err)
		}
		for _, doc := range docs {
			if doc.UpdateTime.After(last[doc.Ref.ID]) {
				writes[doc.Ref.ID]++
				last[doc.Ref.ID] = doc.UpdateTime
			}
		}
	}
	for i := range rounds {
		s := request("org", 1)
		s.Fresh = true
		id := b.submit(t, s).Job.ID
		if ok, err := b.claim(id); !ok || err != nil {
			t.Fatalf("claim %d of a free place = %v, %v", i, ok, err)
		}
		look()
		b.update(t, id, func(tx *jobs.Tx) error { return tx.Cancel("") })
		look()
	}
	if len(writes) != jobs.PlaceTurns {
		t.Errorf("a place has %d documents, want %d", len(writes), jobs.PlaceTurns)
	}
	for id, n := range writes {
		if want := 2 * rounds / jobs.PlaceTurns; n != want {
			t.Errorf("document %s of a place was written %d times in %d jobs, want %d", id, n, rounds, want)
		}
	}
}

// TestDamagedTurnStaysTaken: a place whose document no longer says whose turn it is belongs to the job that
// it names, whatever its other documents say, and is mended when that has ended.
func TestDamagedTurnStaysTaken(t *testing.T) {
	t.Parallel()
	for name, turn := range map[string]any{"missing": firestore.Delete, "text": "x", "below zero": -7, "of another document": 3, "too large": 1 << 60} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := open(t, jobs.Limits{RunningJobs: 1})
			run := func(n int) string {
				id := b.submit(t, request("org", n)).Job.ID
				if ok, err := b.claim(id); !ok || err != nil {
					t.Fatalf("claim of a free place = %v, %v", ok, err)
				}
				return id
			}
			end := func(id string) { b.update(t, id, func(tx *jobs.Tx) error { return tx.Cancel("") }) }
			for n := range 7 { // the first document comes round
				end(run(n + 1))
			}
			id := run(8)
			docs, err := b.client.Collection("ExportPlaces").Documents(t.Context()).GetAll()
			docs = slices.DeleteFunc(docs, func(d *firestore.DocumentSnapshot) bool { return d.Data()["jobId"] != id })
			if err != nil || len(docs) != 1 {
				t.Fatalf("%d documents name the running job, %v", len(docs), err)
			}
			if _, err := docs[0].Ref.Update(t.Context(), []firestore.Update{{Path: "turn", Value: turn}}); err != nil {
				t.Fatal(err)
			}
			waits := b.submit(t, request("org", 9)).Job.ID
			if ok, err := b.claim(waits); ok || err != nil {
				t.Errorf("claim beside a running job = %v, %v", ok, err)
			}
			end(waits)
			end(id)
			end(run(10))
			end(run(11))
		})
	}
}
