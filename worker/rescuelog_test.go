package worker_test

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
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

// unavailable is thinAir whose first write cannot be made now.
type unavailable struct {
	thinAir
	once sync.Once
}

func (e *unavailable) Write(ctx context.Context, s export.Spec, p *export.Progress) (res jobs.PartResult, err error) {
	e.once.Do(func() { err = jobs.Fail(jobs.CodeUnavailable, jobs.Transient, "not now", "", nil) })
	if err != nil {
		return res, err
	}
	return e.thinAir.Write(ctx, s, p)
}

// TestRescuerTellsOfJobs: that a job was taken over from a worker that died, and expired, and that a part was
// taken over, and sent on for another attempt, are lines that one search for its request finds, with the way
// to its trace.
func TestRescuerTellsOfJobs(t *testing.T) {
	t.Parallel()
	cfg, err := settings()
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		policy := cfg.Policy()
		policy.FileLife = 10 * time.Minute
		store, queue := inmemory.NewStore(inmemory.Config{Policy: policy, ReuseFor: time.Minute}), inmemory.NewQueue()
		var log bytes.Buffer
		logger, err := telemetry.NewLogger(&log, telemetry.LogConfig{Level: "info", Service: "exportd-worker"})
		if err != nil {
			t.Fatal(err)
		}
		const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
		sub := jobs.Submission{OrgID: "org", RequestID: "asked-0001", Trace: "00-" + trace + "-00f067aa0ba902b7-01"}
		id, parts := accept(t, store, sub, "w", 1), accept(t, store, sub, "w", 3)
		ctx, stop := context.WithCancel(t.Context())
		die := func(id string, fn func(*jobs.Tx) error) {
			t.Helper()
			if _, err := store.Update(ctx, id, "worker dead", fn); err != nil {
				t.Fatal(err)
			}
		}
		var lease jobs.Lease
		die(id, func(tx *jobs.Tx) (err error) { lease, err = tx.Claim("dead"); return err })
		die(parts, func(tx *jobs.Tx) (err error) { lease, err = tx.Claim("dead"); return err })
		die(parts, func(tx *jobs.Tx) error {
			return tx.Plan(lease, time.Now(), []jobs.Range{{To: "1", Rows: 10}, {From: "1", To: "2", Rows: 10}, {From: "2", Rows: 10}}, 0)
		})
		if _, err := store.UpdatePart(ctx, parts, jobs.PartID(1, 0), "worker dead", func(tx *jobs.Tx) error {
			_, _, err := tx.ClaimPart(1, 0, "dead")
			return err
		}); err != nil {
			t.Fatal(err)
		}
		var running sync.WaitGroup
		pool := worker.New(worker.Config{ID: "w1", Store: store, Queue: queue, Exporter: &unavailable{}, Log: logger, JobSlots: 2, PartSlots: 2, Drain: time.Second, TraceProject: "project"})
		running.Go(func() { _ = pool.Run(ctx) })
		for _, id := range []string{id, parts} {
			if err := store.Watch(ctx, id, func(j *jobs.Job) bool { return j.State == jobs.Expired }); err != nil {
				t.Fatal(err)
			}
		}
		<-time.After(time.Minute)
		stop()
		running.Wait()
		told := map[string]int{}
		for text := range strings.Lines(log.String()) {
			var line struct {
				Severity, Message string
				JobID             string `json:"job_id"`
				RequestID         string `json:"request_id"`
				Trace             string `json:"logging.googleapis.com/trace"`
				Events            []string
				Part              *int
				Notified          bool
			}
			if err := json.Unmarshal([]byte(text), &line); err != nil {
				t.Fatal(err)
			}
			if line.Message != "rescuer" {
				continue
			}
			if line.RequestID != sub.RequestID || line.Trace != "projects/project/traces/"+trace || !slices.Contains([]string{id, parts}, line.JobID) || line.Severity != "INFO" {
				t.Errorf("it cannot be found: %s", text)
			}
			what := strings.Join(line.Events, " ")
			if line.Part != nil {
				what += " part"
			}
			if line.Notified {
				what += " notified"
			}
			told[what]++
		}
		for what, n := range map[string]int{"interrupted notified": 1, "interrupted part notified": 1, "expired": 2, " part notified": 1} {
			if told[what] < n {
				t.Errorf("%q is told %d times, want %d at least: %v\n%s", what, told[what], n, told, log.String())
			}
		}
	})
}
