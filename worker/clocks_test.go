package worker_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"exportd/internal/export"
	"exportd/internal/jobstore"
	"exportd/jobs"
	"exportd/worker"
)

// withClock is a worker of its own, whose clock differs by ahead.
func (r *rig) withClock(t *testing.T, ahead time.Duration) *rig {
	t.Helper()
	cfg, err := settings()
	if err != nil {
		t.Fatal(err)
	}
	other := *r.services
	other.clock = &clock{}
	other.clock.ahead.Store(int64(ahead))
	other.store = jobstore.New(jobstore.Config{Client: r.firestore, Policy: cfg.Policy(), Drift: cfg.Policy().Skew, Limits: cfg.Limits(), ReuseFor: cfg.ReuseFor, Now: other.clock.Now})
	return &rig{services: &other, cloud: r.cloud}
}

func (r *rig) succeeds(t *testing.T, id string, within time.Duration) {
	t.Helper()
	var j *jobs.Job
	var err error
	eventually(t, within, func() bool {
		if j, err = r.store.Get(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		return j.State.Ended()
	}, func() any { return j })
	if j.State != jobs.Succeeded || j.Result.Rows != 3 {
		t.Errorf("job = %+v", j)
	}
}

// TestDeadWorkerWithWrongClock: what a worker held that died, with its clock an hour ahead or behind, is
// taken over by one whose clock is right; it was held for an hour.
func TestDeadWorkerWithWrongClock(t *testing.T) {
	t.Parallel()
	for name, ahead := range map[string]time.Duration{"ahead": time.Hour, "behind": -time.Hour} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			id := r.submit(t, "")
			dead := r.withClock(t, ahead)
			if _, err := dead.store.Update(t.Context(), id, "dead", func(tx *jobs.Tx) error { _, err := tx.Claim("dead"); return err }); err != nil {
				t.Fatal(err)
			}
			r.clock.ahead.Store(int64(2 * time.Minute)) // what a turn of the rescuer takes at most
			r.work(t)
			r.succeeds(t, id, time.Minute)
		})
	}
}

// refused is a store that counts how often a clock was found wrong.
type refused struct {
	*jobstore.Store
	times atomic.Int64
}

func (s *refused) HoldPartition(ctx context.Context, index int, owner string) (bool, error) {
	ok, err := s.Store.HoldPartition(ctx, index, owner)
	if errors.Is(err, jobs.ErrClock) {
		s.times.Add(1)
	}
	return ok, err
}

// TestRescuerWithWrongClock: a rescuer whose clock is wrong takes no live lease, and holds no partition; one
// whose clock is right does the work.
func TestRescuerWithWrongClock(t *testing.T) {
	t.Parallel()
	for name, ahead := range map[string]time.Duration{"ahead": 2 * time.Hour, "behind": -2 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			id := r.submit(t, "")
			held, err := r.store.Update(t.Context(), id, "living", func(tx *jobs.Tx) error { _, err := tx.Claim("living"); return err })
			if err != nil {
				t.Fatal(err)
			}
			odd := r.withClock(t, ahead)
			store := &refused{Store: odd.store}
			stop := odd.work(t, func(c *worker.Config) { c.ID, c.Store = "odd", store })
			eventually(t, time.Minute, func() bool { return store.times.Load() > 1 }, func() any { return "nobody minds the clock" })
			if j, err := r.store.Get(t.Context(), id); err != nil || j.State != jobs.Running || j.Lease != held.Lease || j.Interruptions != 0 {
				t.Errorf("the job of a worker that lives is %+v, %v", j, err)
			}
			if st, err := r.store.Stats(t.Context()); err != nil || st.Partitions[0].Owner != "" {
				t.Errorf("partitions = %+v, %v, want no rescuer", st.Partitions, err)
			}
			stop()
			due := r.queued(r.clock.Now().Add(-time.Minute).Truncate(time.Microsecond))
			r.write(t, map[string]any{"ExportJobs/" + due.ID: due})
			right := r.withClock(t, 0)
			right.work(t, func(c *worker.Config) { c.ID = "right" })
			right.succeeds(t, due.ID, time.Minute)
		})
	}
}

// steps is an exporter during whose work the machine's clock steps.
type steps struct {
	oneFile
	step func()
}

func (e steps) Write(ctx context.Context, s export.Spec, p *export.Progress) (jobs.PartResult, error) {
	e.step()
	return e.oneFile.Write(ctx, s, p)
}

// TestClockStepsInMidJob: a worker's clock steps back or ahead by an hour while it works on a job, beside one
// whose clock is right; the job ends right, and so does the next.
func TestClockStepsInMidJob(t *testing.T) {
	t.Parallel()
	for name, step := range map[string]time.Duration{"back": -time.Hour, "ahead": time.Hour} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			odd := r.withClock(t, 0)
			stop := odd.work(t, func(c *worker.Config) {
				c.ID, c.Exporter = "odd", steps{oneFile{r.objects}, func() { odd.clock.ahead.Store(int64(step)) }}
			})
			id := r.submit(t, "")
			r.succeeds(t, id, time.Minute)
			next := r.submit(t, "")
			r.succeeds(t, next, time.Minute)
			stop()
			third := r.submit(t, "")
			r.work(t)
			r.succeeds(t, third, time.Minute)
		})
	}
}
