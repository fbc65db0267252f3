package worker

import (
	"context"
	"time"

	"exportd/internal/backoff"
	"exportd/internal/export"
	"exportd/internal/panics"
	"exportd/jobs"
)

// sandboxAtOnce bounds the jobs of sandboxes that a worker has in hand, beside its slots and never in one: a
// test that lasts minutes takes nothing from anybody but other tests. Each writes a heartbeat every few
// seconds and holds a few hundred KiB.
const sandboxAtOnce = 16

// acquireSandbox takes a permit for a job, if it needs one. ErrNotDue where none is left: the job's wakeAt
// has it notified again.
func (p *Pool) acquireSandbox(j *jobs.Job, has *bool) error {
	if *has || !jobs.InSandbox(j.OrgID) {
		return nil
	}
	select {
	case p.sandbox <- struct{}{}:
		*has = true
		return nil
	default:
		return jobs.ErrNotDue
	}
}

// besideSlots does the work on a job of a sandbox, for which there is a permit, in no slot.
func (p *Pool) besideSlots(work func()) {
	p.work.Go(func() {
		defer func() { <-p.sandbox }()
		p.Panics.Run(panics.Message, work)
	})
}

// actEvery is how often a held job's progress moves.
const actEvery = 250 * time.Millisecond

// act does what the scenario of a job in a sandbox asks for before its file is written: holds it back, or
// fails. Any other job it lets pass.
func (p *Pool) act(ctx context.Context, j *jobs.Job, rows int64, progress *export.Progress) error {
	until := j.HeldUntil(p.policy)
	total := until.Sub(j.StartedAt)
	for left := until.Sub(p.Now()); left > 0; left = until.Sub(p.Now()) {
		done := int64(float64(rows) * float64(total-left) / float64(total))
		if j.Scenario() == jobs.ScenarioStuck {
			done = min(done, rows/2)
		}
		progress.Rows.Store(done)
		if err := backoff.Sleep(ctx, min(left, actEvery)); err != nil {
			return context.Cause(ctx)
		}
	}
	progress.Rows.Store(0) // the file's own rows are counted now; what was shown stays
	if f := j.Staged(); f != nil {
		return f
	}
	return nil
}
