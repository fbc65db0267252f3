package worker_test

import (
	"context"
	"testing"
	"time"

	"exportd/internal/export"
	"exportd/internal/jobstore"
	"exportd/jobs"
	"exportd/worker"
)

// longWork plans two parts, and each of its steps lasts until its lease was renewed twice.
type longWork struct {
	oneFile
	store *jobstore.Store
}

func (e longWork) Plan(ctx context.Context, j *jobs.Job) (export.Plan, error) {
	err := e.renewed(ctx, func() (jobs.Lease, error) { now, err := e.store.Get(ctx, j.ID); return now.Lease, err })
	return export.Plan{Snapshot: time.Now(), Rows: 6, Parts: []jobs.Range{{Rows: 3, To: "m"}, {Rows: 3, From: "m"}}}, err
}

func (e longWork) Write(ctx context.Context, s export.Spec, p *export.Progress) (jobs.PartResult, error) {
	index := 0
	if s.From != "" {
		index = 1
	}
	err := e.renewed(ctx, func() (jobs.Lease, error) {
		parts, err := e.store.Parts(ctx, s.Job)
		return parts[index].Lease, err
	})
	if err != nil {
		return jobs.PartResult{}, err
	}
	return e.oneFile.Write(ctx, s, p)
}

func (e longWork) Compose(ctx context.Context, j *jobs.Job, _ []*jobs.Part, object string) (jobs.Result, []string, error) {
	err := e.renewed(ctx, func() (jobs.Lease, error) { now, err := e.store.Get(ctx, j.ID); return now.Lease, err })
	return jobs.Result{Object: object, Rows: 6}, nil, err
}

func (e longWork) renewed(ctx context.Context, lease func() (jobs.Lease, error)) error {
	var until time.Time
	for seen := 0; seen < 3; {
		l, err := lease()
		if err != nil {
			return err
		}
		if l.Until.After(until) {
			until = l.Until
			seen++
		}
	}
	return ctx.Err()
}

// TestRenew: as long as work lasts, its lease is renewed beside it.
func TestRenew(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	cfg, err := settings()
	if err != nil {
		t.Fatal(err)
	}
	policy := cfg.Policy()
	policy.RenewEvery = time.Millisecond
	r.store = jobstore.New(jobstore.Config{Client: r.firestore, Policy: policy, Limits: cfg.Limits(), ReuseFor: cfg.ReuseFor, Now: r.clock.Now})
	r.work(t, func(c *worker.Config) { c.Exporter = longWork{oneFile{r.objects}, r.store} })
	id := r.submit(t, "")
	var j *jobs.Job
	eventually(t, time.Minute, func() bool {
		if j, err = r.store.Get(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		return j.State.Ended()
	}, func() any { return j })
	if j.State != jobs.Succeeded || j.Attempt != 1 || j.Interruptions != 0 {
		t.Errorf("job = %+v", j)
	}
}
