package worker

import (
	"context"
	"slices"

	"go.uber.org/zap"

	"exportd/jobs"
)

// woken is a job as a transition of the rescuer's left it, and what that wrote into its timeline. A
// transition may run several times; the last counts, also where it was not committed.
type woken struct {
	job    jobs.Job
	events []jobs.Event
}

func (w *woken) note(tx *jobs.Tx) { w.job, w.events = *tx.Job, slices.Clone(tx.Events) }

// fieldsOf lead from a line about a job to all others: of its request, its worker and its trace.
func (p *Pool) fieldsOf(j *jobs.Job) []zap.Field {
	return append([]zap.Field{
		zap.String("job_id", j.ID), zap.String("request_id", j.RequestID), zap.Int("attempt", j.Attempt), zap.String("org_id", j.OrgID),
		zap.String("kind", string(j.Kind)), zap.String("state", string(j.State)),
	}, p.traceFields(context.Background(), j.Trace)...) // the rescuer has no span: its rounds are of all jobs
}

// fieldsOfWoken are those of a job that was read, or where it was not, its id.
func (p *Pool) fieldsOfWoken(id string, w *woken) []zap.Field {
	if w.job.ID != id {
		return []zap.Field{zap.String("job_id", id)}
	}
	return p.fieldsOf(&w.job)
}

// tellRescued writes a line about what the rescuer has done to a job, or a part of it: what changed, and that
// a message was sent for another attempt. One for its first is a line for developers: for a long queue they
// are sent again every few minutes.
func (p *Pool) tellRescued(w *woken, part int, notified bool) {
	if len(w.events) == 0 && !notified {
		return
	}
	fields := append(p.fieldsOf(&w.job), zap.String("worker", p.ID), zap.Bool("notified", notified))
	if part >= 0 {
		fields = append(fields, zap.Int("part", part))
	}
	if len(w.events) == 0 && part < 0 && w.job.Attempt == 0 {
		p.Log.Debug("rescuer", fields...)
		return
	}
	types, code := []string{}, ""
	for i := range w.events {
		types = append(types, string(w.events[i].Type))
		if w.events[i].Code != "" {
			code = string(w.events[i].Code)
		}
	}
	if len(types) > 0 {
		fields = append(fields, zap.Strings("events", types))
	}
	if code != "" {
		fields = append(fields, zap.String("code", code))
	}
	p.Log.Info("rescuer", fields...)
}
