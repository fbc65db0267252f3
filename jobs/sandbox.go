package jobs

import (
	"slices"
	"strings"
	"time"
)

// sandboxPrefix stands before the id of an org in that of its sandbox. A sandbox is an org of its own, so
// that whatever is counted, limited, listed or reused by org is apart from the real one, also in builds that
// know of no sandbox: to those, it is an org without workspaces.
const sandboxPrefix = "sandbox~"

// SandboxOf is the org that the sandbox keys of an org act in.
func SandboxOf(orgID string) string { return sandboxPrefix + orgID }

// InSandbox reports whether an org is a sandbox.
func InSandbox(orgID string) bool { return strings.HasPrefix(orgID, sandboxPrefix) }

// OwnerOf is the org whose sandbox it is, or the org itself.
func OwnerOf(orgID string) string { return strings.TrimPrefix(orgID, sandboxPrefix) }

// What one sandbox may have going, whatever real orgs may: enough for a test suite that runs its cases side
// by side, at a few kilobytes each.
const (
	sandboxRunning = 4
	sandboxQueued  = 20
)

// Of are the limits of an org.
func (l Limits) Of(orgID string) Limits {
	if InSandbox(orgID) {
		l.RunningJobs, l.QueuedJobs = sandboxRunning, sandboxQueued
	}
	return l
}

// Scenario is what becomes of an export in a sandbox.
type Scenario string

// The scenarios there are. The values are part of the API. Of the last two no job is made at first.
const (
	ScenarioSucceed           Scenario = "succeed"
	ScenarioSlow              Scenario = "slow"
	ScenarioStuck             Scenario = "stuck"
	ScenarioFailRetryable     Scenario = "fail-retryable"
	ScenarioFailFinal         Scenario = "fail-final"
	ScenarioExpire            Scenario = "expire"
	ScenarioDuplicateCallback Scenario = "duplicate-callback"
	ScenarioLateCallback      Scenario = "late-callback"
	ScenarioRateLimit         Scenario = "rate-limit"
	ScenarioUnavailable       Scenario = "unavailable"
)

// Scenarios lists them.
var Scenarios = []Scenario{
	ScenarioSucceed, ScenarioSlow, ScenarioStuck, ScenarioFailRetryable, ScenarioFailFinal, ScenarioExpire,
	ScenarioDuplicateCallback, ScenarioLateCallback, ScenarioRateLimit, ScenarioUnavailable,
}

// ParamScenario is the parameter that holds the scenario of each job in a sandbox, and of no other: so that
// requests of different scenarios share no job.
const ParamScenario = "testScenario"

// Scenario is that of the job's request, "" outside a sandbox.
func (j *Job) Scenario() Scenario {
	if !InSandbox(j.OrgID) {
		return ""
	}
	if s := Scenario(j.Params.Text(ParamScenario)); slices.Contains(Scenarios, s) {
		return s
	}
	return ScenarioSucceed
}

// ScenarioTimes are how long what scenarios do takes.
type ScenarioTimes struct {
	// Slow and Stuck are how long jobs run at least; a stuck one makes no progress from the half on.
	Slow, Stuck time.Duration
	// Expire is how long a file is kept, Late how long a callback is held back, and Duplicate after how long
	// one that was delivered is sent again.
	Expire, Late, Duplicate time.Duration
}

// DefaultScenarioTimes are long enough for a person to see, and short enough for a test suite to wait for.
var DefaultScenarioTimes = ScenarioTimes{Slow: 20 * time.Second, Stuck: 2 * time.Minute, Expire: 15 * time.Second, Late: 30 * time.Second, Duplicate: 2 * time.Second}

func (p Policy) scenarios() ScenarioTimes {
	if p.Scenarios == (ScenarioTimes{}) {
		return DefaultScenarioTimes
	}
	return p.Scenarios
}

// HeldUntil is when a run of the job may end; the zero time for at once. It goes by when the run began, so
// that a worker that takes over goes on waiting and does not begin anew.
func (j *Job) HeldUntil(p Policy) time.Time {
	switch j.Scenario() {
	case ScenarioSlow:
		return j.StartedAt.Add(p.scenarios().Slow)
	case ScenarioStuck:
		return j.StartedAt.Add(p.scenarios().Stuck)
	}
	return time.Time{}
}

// Staged is the failure that the job's scenario is about, nil if it is about none.
func (j *Job) Staged() *Failure {
	const remedy = "nothing: it is a test in a sandbox"
	switch j.Scenario() {
	case ScenarioFailRetryable:
		f := Fail(CodeUnavailable, Transient, "the export failed, as the test scenario fail-retryable asks for; the same request may work later", remedy, nil)
		f.last = true
		return f
	case ScenarioFailFinal:
		return Fail(CodeTooManyRows, Permanent, "the export failed, as the test scenario fail-final asks for; the same request will fail again", remedy, nil)
	}
	return nil
}

// fileLife is how long the job's file is kept.
func (tx *Tx) fileLife() time.Duration {
	if tx.Job.Scenario() == ScenarioExpire {
		return tx.Policy.scenarios().Expire
	}
	return tx.Policy.FileLife
}

// sentTwice reports whether a delivery that was just made is to be made once more.
func (cb *Callback) sentTwice() bool {
	if Scenario(cb.Scenario) != ScenarioDuplicateCallback {
		return false
	}
	delivered := 0
	for _, a := range cb.Attempts {
		if a.Status/100 == 2 {
			delivered++
		}
	}
	return delivered == 1
}
