package worker

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"exportd/internal/export"
	"exportd/jobs"
)

// TestAct: how far a held job shows itself to be as time goes by, from wherever a worker takes it over.
func TestAct(t *testing.T) {
	t.Parallel()
	for scenario, c := range map[jobs.Scenario]struct {
		lasts time.Duration
		rows  []int64 // at each quarter
	}{
		jobs.ScenarioSucceed: {0, nil},
		jobs.ScenarioSlow:    {jobs.DefaultScenarioTimes.Slow, []int64{30, 60, 90}},
		jobs.ScenarioStuck:   {jobs.DefaultScenarioTimes.Stuck, []int64{30, 60, 60}},
	} {
		for _, late := range []time.Duration{0, c.lasts / 8, 2 * c.lasts} {
			synctest.Test(t, func(t *testing.T) {
				p := &Pool{Config: Config{Now: time.Now}}
				begun := time.Now()
				j := &jobs.Job{OrgID: jobs.SandboxOf("o"), Params: jobs.Params{jobs.ParamScenario: string(scenario)}, StartedAt: begun}
				time.Sleep(late)
				var progress export.Progress
				ended := make(chan error)
				go func() { ended <- p.act(t.Context(), j, 120, &progress) }()
				if late < c.lasts {
					for i, want := range c.rows {
						time.Sleep(time.Until(begun.Add(c.lasts / 4 * time.Duration(i+1))))
						synctest.Wait()
						if got := progress.Rows.Load(); got < want-2 || got > want {
							t.Errorf("%s shows %d rows after %s, want %d", scenario, got, time.Since(begun), want)
						}
					}
				}
				if err := <-ended; err != nil || time.Since(begun) != max(c.lasts, late) {
					t.Errorf("%s ended after %s: %v", scenario, time.Since(begun), err)
				}
			})
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(jobs.ErrInterrupted)
	p := &Pool{Config: Config{Now: time.Now}}
	j := &jobs.Job{OrgID: jobs.SandboxOf("o"), Params: jobs.Params{jobs.ParamScenario: string(jobs.ScenarioSlow)}, StartedAt: time.Now()}
	if err := p.act(ctx, j, 120, new(export.Progress)); jobs.AsFailure(err).Class != jobs.Interrupted {
		t.Errorf("act() of a worker that ends = %v", err)
	}
}
