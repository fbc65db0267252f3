package worker_test

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"exportd/internal/export"
	"exportd/internal/inmemory"
	"exportd/internal/telemetry"
	"exportd/jobs"
	"exportd/worker"
)

// faulty is thinAir with a fault for the jobs of an org.
type faulty struct{ thinAir }

func (e *faulty) Write(ctx context.Context, s export.Spec, p *export.Progress) (jobs.PartResult, error) {
	if s.Job.OrgID == "faulty" {
		panic("no such column")
	}
	return e.thinAir.Write(ctx, s, p)
}

// TestPanic: a panic of an export, of one part and of many, ends that export and no other, and each attempt's
// line has the form by which Error Reporting groups it.
func TestPanic(t *testing.T) {
	t.Parallel()
	cfg, err := settings()
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		store := inmemory.NewStore(inmemory.Config{Policy: cfg.Policy(), ReuseFor: time.Minute})
		queue := inmemory.NewQueue()
		var log bytes.Buffer
		logger, err := telemetry.NewLogger(&log, telemetry.LogConfig{Level: "info", Service: "exportd-worker", Version: "1.2.3"})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		var workers sync.WaitGroup
		pool := worker.New(worker.Config{ID: "w1", Store: store, Queue: queue, Exporter: &faulty{}, Log: logger, JobSlots: 2, PartSlots: 2, Drain: time.Second})
		workers.Go(func() { _ = pool.Run(ctx) })
		for _, org := range []string{"faulty", "org"} {
			for _, parts := range []int64{1, 3} {
				id := accept(t, store, jobs.Submission{OrgID: org}, "w", parts)
				notify(t, queue, id)
				var j jobs.Job
				if err := store.Watch(ctx, id, func(now *jobs.Job) bool { j = *now; return j.State.Ended() }); err != nil {
					t.Fatal(err)
				}
				if want := map[string]jobs.State{"faulty": jobs.Failed, "org": jobs.Succeeded}[org]; j.State != want || want == jobs.Failed && j.Error.Code != jobs.CodeInternal {
					t.Errorf("the job of %s in %d parts is %s, %+v", org, parts, j.State, j.Error)
				}
			}
		}
		stop()
		workers.Wait()
		faults := 0
		for text := range strings.Lines(log.String()) {
			var line struct {
				Severity, Message string
				Stack             string `json:"stack_trace"`
				Code              string
				JobID             string `json:"job_id"`
				ServiceContext    struct{ Service, Version string }
			}
			if err := json.Unmarshal([]byte(text), &line); err != nil {
				t.Fatal(err)
			}
			if line.Severity != "ERROR" {
				continue
			}
			faults++
			if !strings.HasPrefix(line.Stack, "panic: no such column\n\ngoroutine ") || !strings.Contains(line.Stack, "(*faulty).Write(") || line.JobID == "" || line.Code != "INTERNAL" || line.ServiceContext.Service != "exportd-worker" {
				t.Errorf("it cannot be grouped: %s", text)
			}
		}
		if faults < 2 {
			t.Errorf("%d lines of faults:\n%s", faults, log.String())
		}
	})
}
