package worker_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"exportd/internal/export"
	"exportd/internal/inmemory"
	"exportd/jobs"
	"exportd/worker"
)

// timed is thinAir that takes its time: a second for each object, 20 for that of a job of February.
type timed struct{ thinAir }

func (e *timed) Plan(ctx context.Context, j *jobs.Job) (export.Plan, error) {
	<-time.After(20 * time.Millisecond)
	plan, err := e.thinAir.Plan(ctx, j)
	plan.Counting = 20 * time.Millisecond
	return plan, err
}

func (e *timed) Write(ctx context.Context, s export.Spec, p *export.Progress) (jobs.PartResult, error) {
	took := time.Second
	if s.Job.OrgID == "slow" {
		took = 20 * time.Second
	}
	select {
	case <-time.After(took):
		p.Scanning.Store(int64(took))
	case <-ctx.Done():
		return jobs.PartResult{}, context.Cause(ctx)
	}
	return e.thinAir.Write(ctx, s, p)
}

// TestSlowAtLoad: where 120 exports wait for the slots of two workers, for up to half a minute, none is slow
// but the two that are; and each says where its time went, in its record and in its line.
func TestSlowAtLoad(t *testing.T) {
	t.Parallel()
	cfg, err := settings()
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		store := inmemory.NewStore(inmemory.Config{Policy: cfg.Policy(), ReuseFor: time.Minute})
		queue, exporter := inmemory.NewQueue(), &timed{}
		core, lines := observer.New(zap.InfoLevel)
		ctx, stop := context.WithCancel(t.Context())
		var workers sync.WaitGroup
		defer workers.Wait()
		defer stop()
		for _, id := range []string{"w1", "w2"} {
			pool := worker.New(worker.Config{ID: id, Store: store, Queue: queue, Exporter: exporter, Log: zap.New(core), JobSlots: 2, PartSlots: 4, Drain: time.Second})
			workers.Go(func() { _ = pool.Run(ctx) })
		}
		slow := map[string]bool{}
		var ids []string
		for i := range 120 {
			org, parts := "org", int64(1)
			if i%60 == 10 {
				org = "slow"
			}
			if i%10 == 5 {
				parts = 4
			}
			id := accept(t, store, jobs.Submission{OrgID: org}, string(rune('a'+i)), parts)
			notify(t, queue, id)
			ids, slow[id] = append(ids, id), org == "slow"
		}
		longest := time.Duration(0)
		for _, id := range ids {
			var j jobs.Job
			if err := store.Watch(ctx, id, func(now *jobs.Job) bool { j = *now; return j.State.Ended() }); err != nil || j.State != jobs.Succeeded {
				t.Fatalf("job %s is %s, %v", id, j.State, err)
			}
			parts, err := store.Parts(ctx, &j)
			if err != nil {
				t.Fatal(err)
			}
			s := j.SpentWith(parts)
			if want := time.Duration(max(j.PartsTotal, 1)) * time.Second; j.Slow() != slow[id] || s.Wait != j.StartedAt.Sub(j.CreatedAt) || s.Count != 20*time.Millisecond || !slow[id] && s.Scan != want {
				t.Errorf("a job of %s, of %d parts, is slow: %t; it ran %s and spent %s", j.OrgID, j.PartsTotal, j.Slow(), j.FinishedAt.Sub(j.StartedAt), s)
			}
			longest = max(longest, s.Wait)
		}
		if longest < 20*time.Second || longest > time.Minute {
			t.Errorf("the longest wait was %s: that is no load", longest)
		}
		stop() // a line is written after its job has ended
		workers.Wait()
		marked := lines.FilterField(zap.Bool("slow", true)).All()
		if len(marked) != 2 || marked[0].ContextMap()["org_id"] != "slow" || marked[1].ContextMap()["org_id"] != "slow" || marked[0].ContextMap()["scan_ms"] != 20*time.Second {
			t.Errorf("%d lines are marked: %v", len(marked), marked)
		}
	})
}
