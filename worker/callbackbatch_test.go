package worker_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"exportd/internal/inmemory"
	"exportd/jobs"
	"exportd/worker"
)

// mendedReceiver is one that answers so many callbacks with 200 and all others with 503.
type mendedReceiver struct {
	store       *inmemory.Store
	asked, good atomic.Int64
}

// serve makes the attempts that are due until ctx ends.
func (r *mendedReceiver) serve(ctx context.Context, t *testing.T) {
	for ctx.Err() == nil {
		page, _, err := r.store.ListCallbacks(ctx, jobs.CallbackList{State: jobs.CallbackPending})
		if err != nil {
			t.Error(err)
		}
		for _, cb := range page {
			if cb.NextAt.After(time.Now()) {
				continue
			}
			r.asked.Add(1)
			result := jobs.CallbackResult{State: jobs.CallbackDelivered, Attempt: jobs.CallbackAttempt{Status: 200}}
			if r.good.Add(-1) < 0 { // and tried again tomorrow
				result = jobs.CallbackResult{State: jobs.CallbackPending, Attempt: jobs.CallbackAttempt{Status: 503, NextAt: time.Now().Add(24 * time.Hour)}}
			}
			if err := attempted(ctx, r.store, cb.ID, result); err != nil {
				t.Error(err)
			}
		}
		<-time.After(100 * time.Millisecond)
	}
}

// attempted has an attempt at a callback end.
func attempted(ctx context.Context, store *inmemory.Store, id string, result jobs.CallbackResult) error {
	var l jobs.Lease
	if _, err := store.UpdateCallback(ctx, id, "w", func(tx *jobs.CallbackTx) (err error) { l, err = tx.Claim("w"); return err }); err != nil {
		return err
	}
	_, err := store.UpdateCallback(ctx, id, "w", func(tx *jobs.CallbackTx) error {
		result.Attempt.At = tx.Now
		return tx.Record(l, result)
	})
	return err
}

// TestCallbackCanary: of forty callbacks that were given up by one cause, two operators send them again at
// once. A receiver that is not mended gets one of each; one that answers for a while no more than a stage;
// one that is mended gets each once.
func TestCallbackCanary(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name              string
		good              int64
		operators         int
		stopped           bool
		atLeast, atMostIn int64
	}{
		{"not mended", 0, 2, true, 2, 2},
		{"mended for five", 5, 1, true, 6, 11},
		{"mended for twenty", 20, 1, true, 21, 40},
		{"mended", 1000, 2, false, 40, 40},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cfg, err := settings()
			if err != nil {
				t.Fatal(err)
			}
			synctest.Test(t, func(t *testing.T) {
				store := inmemory.NewStore(inmemory.Config{Policy: cfg.Policy(), ReuseFor: time.Minute})
				ctx, stop := context.WithCancel(t.Context())
				var all sync.WaitGroup
				defer all.Wait()
				defer stop()
				const count = 40
				cause := ""
				for range count {
					cause = givenUpCallback(t, store)
				}
				for _, id := range []string{"w1", "w2"} {
					pool := worker.New(worker.Config{ID: id, Store: store, Queue: inmemory.NewQueue(), Exporter: &thinAir{}, Log: zap.NewNop(), JobSlots: 4, PartSlots: 4, Drain: time.Second})
					all.Go(func() {
						if err := pool.Run(ctx); err != nil {
							t.Errorf("Run() = %v", err)
						}
					})
				}
				receiver := &mendedReceiver{store: store}
				receiver.good.Store(c.good)
				all.Go(func() { receiver.serve(ctx, t) })
				<-time.After(time.Minute)
				var ids []string
				for range c.operators {
					b, err := store.CreateBatch(ctx, jobs.BatchRequest{Actor: "op", Reason: "r", MaxPerSecond: 20, Canary: true, Callbacks: &jobs.CallbackFilter{State: jobs.CallbackExhausted, Cause: cause}})
					if err != nil {
						t.Fatal(err)
					}
					ids = append(ids, b.ID)
				}
				sent := int64(0)
				for _, id := range ids {
					b, n, err := store.Batch(ctx, id)
					for ; err == nil && b.FinishedAt.IsZero(); b, n, err = store.Batch(ctx, id) {
						<-time.After(time.Second)
					}
					if err != nil || (b.Stopped != "") != c.stopped {
						t.Errorf("the batch is %+v, %v, want it stopped: %t", b, err, c.stopped)
					}
					sent += n
				}
				<-time.After(time.Minute) // nothing goes on behind it
				if asked := receiver.asked.Load(); sent < c.atLeast || sent > c.atMostIn || asked != sent {
					t.Errorf("%d callbacks were sent again, in %d attempts, want %d to %d, each once", sent, asked, c.atLeast, c.atMostIn)
				}
			})
		})
	}
}

// givenUpCallback makes a job whose callback was given up, and gives the cause.
func givenUpCallback(t *testing.T, store *inmemory.Store) (cause string) {
	t.Helper()
	id := accept(t, store, jobs.Submission{OrgID: "org", Fresh: true, CallbackURL: "https://hooks.example/in"}, "w", 1)
	if _, err := store.Update(t.Context(), id, "test", func(tx *jobs.Tx) error { return tx.Cancel("r") }); err != nil {
		t.Fatal(err)
	}
	found, err := store.Callbacks(t.Context(), id)
	if err != nil || len(found) != 1 {
		t.Fatalf("callbacks of a canceled job: %v, %v", found, err)
	}
	if err := attempted(t.Context(), store, found[0].ID, jobs.CallbackResult{State: jobs.CallbackExhausted, Attempt: jobs.CallbackAttempt{Status: 503}}); err != nil {
		t.Fatal(err)
	}
	if found, err = store.Callbacks(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	return found[0].CauseID
}
