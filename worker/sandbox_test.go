package worker_test

import (
	"fmt"
	"testing"
	"time"

	"exportd/jobs"
	"exportd/worker"
)

// submitScenario makes a job in the sandbox of an org, and notifies for it.
func (r *rig) submitScenario(t *testing.T, org string, s jobs.Scenario) string {
	t.Helper()
	sub, err := r.store.Submit(t.Context(), jobs.Submission{
		OrgID: jobs.SandboxOf(org), KeyID: "key_one1", Kind: "vip-users", Fresh: true, Params: jobs.Params{jobs.ParamScenario: string(s)},
	})
	if err != nil {
		t.Fatalf("Submit() = %v", err)
	}
	if err := r.queue.Publish(t.Context(), jobs.QueueExports, jobs.Message{JobID: sub.Job.ID}); err != nil {
		t.Fatal(err)
	}
	return sub.Job.ID
}

// TestSandboxAside: jobs of sandboxes, however many and however long they last, take no slot of a worker, so
// that a real one goes on beside them; and when their worker ends, another waits for what is left of their
// time, in the same attempt.
func TestSandboxAside(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	stop := r.work(t, func(c *worker.Config) { c.JobSlots = 1 })
	var held []string
	for i := range 20 { // four each, as an org may have, and more in all than a worker takes
		held = append(held, r.submitScenario(t, fmt.Sprint("org-", i%5), jobs.ScenarioStuck))
	}
	state := func(id string) *jobs.Job {
		j, err := r.store.Get(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		return j
	}
	running := func() (n int) {
		for _, id := range held {
			if j := state(id); j.State == jobs.Running && j.Counted {
				n++
			}
		}
		return n
	}
	eventually(t, time.Minute, func() bool { return running() == worker.SandboxAtOnce }, func() any { return running() })
	beside := r.submit(t, "")
	eventually(t, time.Minute, func() bool { return state(beside).State == jobs.Succeeded }, func() any { return state(beside) })
	if n := running(); n != worker.SandboxAtOnce {
		t.Errorf("%d jobs of sandboxes run beside it, want %d", n, worker.SandboxAtOnce)
	}
	failed := r.submitScenario(t, "org-9", jobs.ScenarioFailRetryable)
	stop()
	for _, id := range held {
		if j := state(id); j.State != jobs.Queued {
			t.Errorf("job %s is %s after its worker has ended", id, j.State)
		}
	}
	r.work(t, func(c *worker.Config) { c.ID = "w2" })
	eventually(t, time.Minute, func() bool { return running() == worker.SandboxAtOnce }, func() any { return running() })
	r.clock.put(r.clock.Now().Add(jobs.DefaultScenarioTimes.Stuck + time.Minute))
	for _, id := range held {
		eventually(t, time.Minute, func() bool {
			r.clock.put(r.clock.Now().Add(time.Second)) // those that had no permit wait to be notified again
			return state(id).State.Ended()
		}, func() any { return state(id) })
		if j := state(id); j.State != jobs.Succeeded || j.Attempt != 1 || j.Result.Rows != 3 {
			t.Errorf("job = %+v", j)
		}
	}
	eventually(t, time.Minute, func() bool { return state(failed).State.Ended() }, func() any { return state(failed) })
	if j := state(failed); j.State != jobs.Failed || !j.Error.Retryable || j.Error.Code != jobs.CodeUnavailable {
		t.Errorf("job = %+v", j)
	}
}
