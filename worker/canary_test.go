package worker_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"exportd/internal/export"
	"exportd/internal/inmemory"
	"exportd/jobs"
	"exportd/worker"
)

// mending exports as thinAir does once it is mended, and so many times at most; before and after, it lacks an
// index.
type mending struct {
	thinAir
	plans, good atomic.Int64
}

func (e *mending) Plan(ctx context.Context, j *jobs.Job) (export.Plan, error) {
	if e.plans.Add(1); e.good.Add(-1) < 0 {
		return export.Plan{}, jobs.Fail(jobs.CodeMissingIndex, jobs.Permanent, "an index is missing", "make it", nil).About("index a")
	}
	return e.thinAir.Plan(ctx, j)
}

// TestCanary: of forty jobs that failed by one cause, two operators begin the rerun at once. What was not
// mended costs a job of each; what holds for a while costs no more than a stage; what is mended runs each job
// once.
func TestCanary(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name              string
		good              int64 // of all jobs run again, so many succeed
		operators         int
		stopped           bool
		atLeast, atMostIn int64 // jobs run again
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
				queue, exporter := inmemory.NewQueue(), &mending{}
				ctx, stop := context.WithCancel(t.Context())
				var workers sync.WaitGroup
				defer workers.Wait()
				defer stop()
				for _, id := range []string{"w1", "w2"} {
					pool := worker.New(worker.Config{ID: id, Store: store, Queue: queue, Exporter: exporter, Log: zap.NewNop(), JobSlots: 4, PartSlots: 4, Drain: time.Second})
					workers.Go(func() {
						if err := pool.Run(ctx); err != nil {
							t.Errorf("Run() = %v", err)
						}
					})
				}
				const all = 40
				for range all {
					notify(t, queue, accept(t, store, jobs.Submission{OrgID: "org", Fresh: true}, "w", 1))
				}
				cases := func(id string) int64 {
					got, err := store.CauseCases(ctx, jobs.CauseQuery{ID: id, To: time.Now().Add(time.Hour)})
					if err != nil {
						t.Fatal(err)
					}
					return got.Count
				}
				cause := jobs.Cause{Code: jobs.CodeMissingIndex, What: "index a"}.ID()
				for cases(cause) < all {
					<-time.After(time.Second)
				}
				exporter.plans.Store(0)
				exporter.good.Store(c.good)
				var ids []string
				for range c.operators {
					b, err := store.CreateBatch(ctx, jobs.BatchRequest{Mode: jobs.RerunFresh, Actor: "op", Reason: "r", MaxPerSecond: 20, Canary: true,
						Filter: jobs.BatchFilter{State: jobs.Failed, ErrorCode: jobs.CodeMissingIndex, Cause: cause}})
					if err != nil {
						t.Fatal(err)
					}
					ids = append(ids, b.ID)
				}
				rerun := int64(0)
				for _, id := range ids {
					b, n, err := store.Batch(ctx, id)
					for ; err == nil && b.FinishedAt.IsZero(); b, n, err = store.Batch(ctx, id) {
						<-time.After(time.Second)
					}
					if err != nil || (b.Stopped != "") != c.stopped {
						t.Errorf("the batch is %+v, %v, want it stopped: %t", b, err, c.stopped)
					}
					rerun += n
				}
				<-time.After(time.Minute) // nothing goes on behind it
				if ran := exporter.plans.Load(); rerun < c.atLeast || rerun > c.atMostIn || ran != rerun {
					t.Errorf("%d jobs were run again, in %d runs, want %d to %d, each once", rerun, ran, c.atLeast, c.atMostIn)
				}
				if left := cases(cause); left != all-min(c.good, rerun) {
					t.Errorf("%d jobs still have failed by it, want %d", left, all-min(c.good, rerun))
				}
			})
		})
	}
}
