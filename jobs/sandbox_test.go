package jobs_test

import (
	"testing"
	"time"

	"exportd/jobs"
)

// inSandbox is a desk whose job is of a scenario, and claimed.
func inSandbox(t *testing.T, s jobs.Scenario) (*desk, jobs.Lease) {
	d := newDesk(t)
	d.job.OrgID = jobs.SandboxOf("o")
	d.job.Params = jobs.Params{jobs.ParamScenario: string(s)}
	d.job.Fingerprint = jobs.Fingerprint(d.job.OrgID, d.job.Kind, 1, d.job.Params)
	var lease jobs.Lease
	d.must(func(tx *jobs.Tx) (err error) { lease, err = tx.Claim("w1"); return err })
	return d, lease
}

func (d *desk) write(lease jobs.Lease) {
	d.must(func(tx *jobs.Tx) error { return tx.Pin(lease, d.now, 3) })
	d.must(func(tx *jobs.Tx) error {
		return tx.Succeed(lease, jobs.Result{Object: d.job.ResultName(), Rows: 3})
	})
	d.is(jobs.Succeeded)
}

// TestScenarios: what a scenario changes of the transitions, which are otherwise those of any job. None is
// counted, and none has a cause that operators would look after.
func TestScenarios(t *testing.T) {
	times := jobs.DefaultScenarioTimes
	for _, s := range jobs.Scenarios {
		d, lease := inSandbox(t, s)
		f := d.job.Staged()
		if f != nil {
			d.must(func(tx *jobs.Tx) error { return tx.EndAttempt(lease, f) })
			d.is(jobs.Failed)
			if e := d.job.Error; e.Retryable != (s == jobs.ScenarioFailRetryable) || e.CauseID != "" || d.job.Attempt != 1 {
				t.Errorf("%s: after %d attempts %+v", s, d.job.Attempt, e)
			}
		} else {
			d.write(lease)
		}
		if d.last.Tally != nil || d.last.Met != nil {
			t.Errorf("%s is counted: %v, %v", s, d.last.Tally, d.last.Met)
		}
		kept, late := d.policy.FileLife, time.Duration(0)
		switch s {
		case jobs.ScenarioExpire:
			kept = times.Expire
		case jobs.ScenarioLateCallback:
			late = times.Late
		}
		if got := d.job.FileExpiresAt.Sub(d.now); f == nil && got != kept {
			t.Errorf("%s: the file is kept for %s, want %s", s, got, kept)
		}
		if got := d.last.Callback.NextAt.Sub(d.now); got != late {
			t.Errorf("%s: the callback is due after %s, want %s", s, got, late)
		}
		if j, cb := d.job.Stored(), d.last.Callback.Stored(); j.Schema != 2 || cb.Schema != 2 {
			t.Errorf("%s is stored as version %d, its callback as %d: a build before would look for real rows", s, j.Schema, cb.Schema)
		}
		hold := map[jobs.Scenario]time.Duration{jobs.ScenarioSlow: times.Slow, jobs.ScenarioStuck: times.Stuck}[s]
		if until := d.job.HeldUntil(d.policy); hold == 0 != until.IsZero() || hold > 0 && until.Sub(d.job.StartedAt) != hold {
			t.Errorf("%s is held until %s", s, until)
		}
		deliverScenario(t, d, s)
	}
}

// deliverScenario has the callback of a desk's job delivered as often as it is due, with a worker that goes
// away in between.
func deliverScenario(t *testing.T, d *desk, s jobs.Scenario) {
	t.Helper()
	now, delivered := d.now, 0
	cb := d.last.Callback
	for cb.State == jobs.CallbackPending && delivered < 5 {
		if cb.NextAt.After(now) {
			now = cb.NextAt
		}
		tx := &jobs.CallbackTx{Policy: d.policy, Now: now, Callback: cb}
		if _, err := tx.Claim("w1"); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
		now = cb.Lease.Until.Add(time.Minute) // nobody knows how that ended
		tx.Now = now
		lease, err := tx.Claim("w2")
		if err != nil {
			t.Fatalf("%s: %v", s, err)
		}
		if err := tx.Record(lease, jobs.CallbackResult{State: jobs.CallbackDelivered, Attempt: jobs.CallbackAttempt{At: now, Status: 200}}); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
		delivered++
	}
	want := 1
	if s == jobs.ScenarioDuplicateCallback {
		want = 2
	}
	if delivered != want || cb.State != jobs.CallbackDelivered {
		t.Errorf("%s: its callback was delivered %d times, and is %s", s, delivered, cb.State)
	}
}

// TestNoScenario: what names a scenario outside a sandbox has none, so that nobody can have a real export
// act.
func TestNoScenario(t *testing.T) {
	d := newDesk(t)
	d.job.Params = jobs.Params{jobs.ParamScenario: string(jobs.ScenarioExpire)}
	if s := d.job.Scenario(); s != "" || jobs.InSandbox(d.job.OrgID) {
		t.Errorf("the scenario is %q", s)
	}
	if l := (jobs.Limits{RunningJobs: 1, QueuedJobs: 2, Rows: 3}); l.Of("o") != l || l.Of(jobs.SandboxOf("o")).RunningJobs == 1 || l.Of(jobs.SandboxOf("o")).Rows != 3 {
		t.Errorf("limits of %+v: %+v", l, l.Of(jobs.SandboxOf("o")))
	}
	for orgID, want := range map[string]jobs.Refusal{"o": "", jobs.SandboxOf("o"): jobs.RefusedSandbox} {
		if got := (&jobs.Batch{}).RefusedIn(&jobs.Job{OrgID: orgID}); got != want {
			t.Errorf("a batch of all orgs and a job of %s: %q, want %q", orgID, got, want)
		}
	}
	if got := (&jobs.Batch{Filter: jobs.BatchFilter{OrgID: jobs.SandboxOf("o")}}).RefusedIn(&jobs.Job{OrgID: jobs.SandboxOf("o")}); got != "" {
		t.Errorf("a batch of the sandbox refuses its job: %s", got)
	}
}
