package worker_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/firestore"

	"exportd/jobs"
	"exportd/worker"
)

// finished waits until a batch has ended, and gives how many jobs it has run again.
func (r *rig) finished(t *testing.T, id string) (*jobs.Batch, int64) {
	t.Helper()
	it := r.firestore.Collection("ExportBatches").Doc(id).Snapshots(t.Context())
	defer it.Stop()
	for {
		doc, err := it.Next()
		if err != nil {
			t.Fatal(err)
		}
		if at, _ := doc.Data()["finishedAt"].(time.Time); !at.IsZero() {
			b, rerun, err := r.store.Batch(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			return b, rerun
		}
	}
}

// TestBatchOverDamaged: a batch ends, whatever the jobs are that it meets, and says of each what became of
// it.
func TestBatchOverDamaged(t *testing.T) {
	t.Parallel()
	r := &damageRig{rig: newRig(t)}
	wounds := []struct {
		what  string
		patch []firestore.Update
		want  jobs.Refusal // "": run again
	}{
		{"nothing", nil, ""},
		{"a number that nothing counts to", []firestore.Update{{Path: "interruptions", Value: -1}}, ""},
		{"a phase that is none", []firestore.Update{{Path: "phase", Value: "later"}}, ""},
		{"a state that is none", []firestore.Update{{Path: "state", Value: "lost"}}, ""},
		{"another type", []firestore.Update{{Path: "wakeAt", Value: "soon"}}, ""},
		{"no error", []firestore.Update{{Path: "error", Value: nil}}, ""},
		{"schema 0", []firestore.Update{{Path: "schema", Value: 0}}, ""},
		{"params of another request", []firestore.Update{{Path: "params", Value: map[string]any{"workspaceId": "ws9"}}}, jobs.RefusedDamaged},
		{"no org", []firestore.Update{{Path: "orgId", Value: ""}}, jobs.RefusedDamaged},
		{"schema 7", []firestore.Update{{Path: "schema", Value: 7}}, jobs.RefusedVersion},
		{"deleted", []firestore.Update{{Path: "deletedAt", Value: r.clock.Now()}}, jobs.RefusedDeleted},
		{"a record at its end", []firestore.Update{{Path: "finishedAt", Value: r.clock.Now().Add(-100 * 24 * time.Hour)}}, jobs.RefusedPurged},
		{"a commit that fails", nil, "its record cannot be written: see the worker's log"},
	}
	want, rerun, unwritable := map[string]int{}, int64(0), ""
	for _, w := range wounds {
		id := r.stage(t, "failed")
		if w.patch != nil {
			if _, err := r.firestore.Collection("ExportJobs").Doc(id).Update(t.Context(), w.patch); err != nil {
				t.Fatal(err)
			}
		}
		switch w.want {
		case "":
			rerun++
		default:
			want[string(w.want)]++
			unwritable = id // the last
		}
	}
	made, err := r.store.CreateBatch(t.Context(), jobs.BatchRequest{Reason: "r", Actor: "op", Mode: jobs.RerunResume, MaxPerSecond: 100})
	if err != nil {
		t.Fatal(err)
	}
	store := &moody{Store: r.store, fails: func(id string) bool { return id == unwritable }}
	r.work(t, func(c *worker.Config) { c.Store, c.Callbacks = store, nil })
	b, n := r.finished(t, made.ID)
	if n != rerun || b.Matched != len(wounds) {
		t.Errorf("%d of %d jobs were run again, want %d of %d", n, b.Matched, rerun, len(wounds))
	}
	for reason, n := range want {
		if b.Skipped[reason] != n {
			t.Errorf("%d jobs were passed over because %q, want %d: %v", b.Skipped[reason], reason, n, b.Skipped)
		}
	}
}

// batchRevs notes every version of batches that the worker has written.
type batchRevs struct {
	worker.Store
	mu   sync.Mutex
	revs map[string]bool
}

func (s *batchRevs) UpdateBatch(ctx context.Context, id string, fn func(*jobs.BatchTx) error) (*jobs.Batch, error) {
	b, err := s.Store.UpdateBatch(ctx, id, fn)
	if err == nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.revs[b.Rev] = true
	}
	return b, err
}

// TestBatchWrites: a batch is written when it is taken up, and once for each page: a document bears a write a
// second, and at 100 jobs a second a page is over in a quarter of one.
func TestBatchWrites(t *testing.T) {
	t.Parallel()
	const pages, size = 4, 25
	r := &damageRig{rig: newRig(t)}
	id := r.stage(t, "failed")
	doc, err := r.firestore.Collection("ExportJobs").Doc(id).Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	like, bulk := doc.Data(), r.firestore.BulkWriter(t.Context())
	like["deletedAt"] = r.clock.Now() // passed over: it is not of interest how they run
	for range pages*size - 1 {
		if _, err := bulk.Set(r.firestore.Collection("ExportJobs").Doc(jobs.NewID()), like); err != nil {
			t.Fatal(err)
		}
	}
	bulk.End()
	made, err := r.store.CreateBatch(t.Context(), jobs.BatchRequest{Reason: "r", Actor: "op", Mode: jobs.RerunResume, MaxPerSecond: 100})
	if err != nil {
		t.Fatal(err)
	}
	store := &batchRevs{Store: r.store, revs: map[string]bool{}}
	stop := r.work(t, func(c *worker.Config) { c.Store, c.Callbacks = store, nil })
	b, n := r.finished(t, made.ID)
	stop()
	store.revs[b.Rev] = true // the last write may be seen before the worker has its answer, which the stop then takes away
	if b.Matched != pages*size || n != 1 || len(store.revs) != 1+pages {
		t.Errorf("%d jobs matched, %d were run again, and the batch was written %d times, want %d, 1 and %d", b.Matched, n, len(store.revs), pages*size, 1+pages)
	}
}
