package worker_test

import (
	"context"
	"strconv"
	"strings"
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

// thinAir exports rows that nobody has, into objects that are nowhere: as many parts of ten rows as the
// request's month says. While broken it fails for good.
type thinAir struct{ broken atomic.Bool }

func (e *thinAir) Plan(_ context.Context, j *jobs.Job) (export.Plan, error) {
	if e.broken.Load() {
		return export.Plan{}, jobs.Fail(jobs.CodeMissingIndex, jobs.Permanent, "an index is missing", "make it", nil)
	}
	month, _ := j.Params["birthdayMonth"].(int64)
	plan := export.Plan{Snapshot: time.Now(), Rows: 10 * month}
	for i := range int(month) {
		plan.Parts = append(plan.Parts, jobs.Range{From: strconv.Itoa(i), To: strconv.Itoa(i + 1), Rows: 10})
	}
	return plan, nil
}

func (*thinAir) Write(_ context.Context, s export.Spec, p *export.Progress) (jobs.PartResult, error) {
	p.Rows.Store(s.Rows)
	return jobs.PartResult{Object: s.Object, Rows: s.Rows, Size: s.Rows}, nil
}

func (*thinAir) Changes(context.Context, *jobs.Job, jobs.Result, string) (jobs.Result, error) {
	return jobs.Result{}, jobs.ErrUnavailable
}

func (*thinAir) Compose(_ context.Context, _ *jobs.Job, parts []*jobs.Part, dst string) (jobs.Result, []string, error) {
	res, names := jobs.Result{Object: dst}, []string(nil)
	for _, p := range parts {
		names = append(names, p.Object)
		res.Rows, res.Size = res.Rows+p.Rows, res.Size+p.Size
	}
	return res, names, nil
}
func (*thinAir) Sweep(context.Context, *jobs.Job) (int, error)     { return 0, nil }
func (*thinAir) Discard(context.Context, ...string) error          { return nil }
func (*thinAir) Lost(_ context.Context, _ *jobs.Job) (bool, error) { return false, nil }

// accept makes a job that thinAir carries out in so many parts, and gives its id.
func accept(t *testing.T, store *inmemory.Store, s jobs.Submission, workspace string, parts int64) string {
	t.Helper()
	s.KeyID, s.Kind = "k", "vip-users"
	s.Params = jobs.Params{"workspaceId": workspace, "mediumId": "m", "birthdayMonth": parts, jobs.ParamProfile: jobs.ProfileRFC4180}
	got, err := store.Submit(t.Context(), s)
	if err != nil || got.Reused {
		t.Fatal(got, err)
	}
	return got.Job.ID
}

// notify tells of a job.
func notify(t *testing.T, queue *inmemory.Queue, id string) {
	t.Helper()
	if err := queue.Publish(t.Context(), jobs.QueueExports, jobs.Message{JobID: id}); err != nil {
		t.Fatal(err)
	}
}

// TestInMemory: two workers on a store and a queue in memory, in virtual time, carry out exports of one and
// of many parts, messages lost or not, and a batch has those run again that failed. Of an org two run at a
// time.
func TestInMemory(t *testing.T) {
	t.Parallel()
	cfg, err := settings()
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		store := inmemory.NewStore(inmemory.Config{Policy: cfg.Policy(), Limits: jobs.Limits{RunningJobs: 2}, ReuseFor: time.Minute})
		queue, exporter := inmemory.NewQueue(), &thinAir{}
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
		exporter.broken.Store(true)
		var ids []string
		for month := range 12 {
			id := accept(t, store, jobs.Submission{OrgID: "org"}, "w", int64(month+1))
			ids = append(ids, id)
			if month%2 == 0 { // the other messages are lost
				notify(t, queue, id)
			}
		}
		until := func(want jobs.State) {
			for i, id := range ids {
				err := store.Watch(ctx, id, func(j *jobs.Job) bool {
					if running, _, err := store.Usage(ctx, "org"); running > 2 || err != nil {
						t.Errorf("%d jobs of the org run, %v", running, err)
					}
					return j.State == want && (want != jobs.Succeeded || j.Result.Rows == int64(10*(i+1)))
				})
				if err != nil {
					t.Fatalf("job %d never is %s: %v", i, want, err)
				}
			}
		}
		until(jobs.Failed)
		exporter.broken.Store(false)
		b, err := store.CreateBatch(ctx, jobs.BatchRequest{Mode: jobs.RerunFresh, Actor: "op", Reason: "the index is there", MaxPerSecond: 2, Filter: jobs.BatchFilter{ErrorCode: jobs.CodeMissingIndex}})
		if err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		until(jobs.Succeeded)
		if took := time.Since(begun); took < 5*time.Second || took > 10*time.Minute {
			t.Errorf("twelve jobs at two a second took %v", took)
		}
		got, rerun, err := store.Batch(ctx, b.ID)
		for ; err == nil && got.FinishedAt.IsZero(); got, rerun, err = store.Batch(ctx, b.ID) {
			<-time.After(time.Second)
		}
		if err != nil || rerun != 12 || got.Matched != 12 || len(got.Skipped) > 0 {
			t.Errorf("the batch is %+v, %d rerun, %v", got, rerun, err)
		}
	})
}

// comparedTooLate has each comparison end when its job is canceled, and keeps what is discarded.
type comparedTooLate struct {
	thinAir
	store     *inmemory.Store
	discarded chan []string
}

func (e *comparedTooLate) Changes(ctx context.Context, j *jobs.Job, whole jobs.Result, dst string) (jobs.Result, error) {
	if _, err := e.store.Update(ctx, j.ID, "test", func(tx *jobs.Tx) error { return tx.Cancel("no more") }); err != nil {
		return jobs.Result{}, err
	}
	all := whole.AsWhole(j.SnapshotTime)
	return jobs.Result{Object: dst, Rows: whole.Rows, Whole: &all, Changes: &jobs.Changes{Added: whole.Rows}}, nil
}

func (e *comparedTooLate) Discard(_ context.Context, names ...string) error {
	e.discarded <- names
	return nil
}

// TestComparedTooLate: a worker that has lost its lease deletes both of its files, that of changes and that
// of all rows.
func TestComparedTooLate(t *testing.T) {
	t.Parallel()
	cfg, err := settings()
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		store := inmemory.NewStore(inmemory.Config{Policy: cfg.Policy()})
		exporter := &comparedTooLate{store: store, discarded: make(chan []string, 1)}
		since := jobs.NewID()
		got, err := store.Submit(t.Context(), jobs.Submission{
			OrgID: "org", KeyID: "k", Kind: "vip-users", Params: jobs.Params{"birthdayMonth": int64(1), jobs.ParamSince: since},
			Base: &jobs.Whole{Object: (&jobs.Job{OrgID: "org", ID: since}).ResultName(), Snapshot: time.Now()},
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		var done sync.WaitGroup
		defer done.Wait()
		defer stop()
		pool := worker.New(worker.Config{ID: "w1", Store: store, Queue: inmemory.NewQueue(), Exporter: exporter, Log: zap.NewNop(), JobSlots: 1, PartSlots: 1, Drain: time.Second})
		done.Go(func() {
			if err := pool.Run(ctx); err != nil {
				t.Errorf("Run() = %v", err)
			}
		})
		names := <-exporter.discarded
		if len(names) != 2 || !strings.HasPrefix(names[0], got.Job.ObjectPrefix()) || names[1] != names[0]+".whole" {
			t.Errorf("%q are discarded", names)
		}
	})
}
