package worker

import (
	"context"
	"time"

	"go.uber.org/zap"

	"exportd/internal/webhook"
	"exportd/jobs"
)

// noteReceiver remembers a failure of a receiver, forgets all when it works, and suspends it when it is not
// coming back: an origin by its health, a URL that answered 410 at once. What is lost here to an outage is
// noted by the next attempt.
func (p *Pool) noteReceiver(ctx context.Context, cb *jobs.Callback, v webhook.Verdict, known []jobs.Receiver) {
	var err error
	suspended := ""
	switch v {
	case webhook.VerdictDelivered:
		for i, address := range []string{cb.Origin, cb.URL} {
			if known[i] == (jobs.Receiver{}) {
				continue // the usual case: nothing was written, nothing is to be written
			}
			if e := p.Store.ChangeReceiver(ctx, cb.OrgID, address, cb.Origin, func(r *jobs.Receiver) { *r = jobs.Receiver{} }); e != nil {
				err = e
			}
		}
	case webhook.VerdictRetry, webhook.VerdictExhausted, webhook.VerdictGone:
		suspended, err = p.noteFailure(ctx, cb, v)
	case webhook.VerdictInterrupted, webhook.VerdictBlocked: // say nothing about it
	}
	if err != nil {
		p.Log.Warn("cannot note the health of a callback receiver", zap.String("job_id", cb.JobID), zap.String("origin", cb.Origin), zap.Error(err))
	}
	if suspended == "" {
		return
	}
	p.Log.Warn("callback receiver suspended", zap.String("job_id", cb.JobID), zap.String("request_id", cb.RequestID), zap.String("org_id", cb.OrgID), zap.String("origin", cb.Origin), zap.String("why", suspended))
	_, err = p.Store.UpdateCallback(ctx, cb.ID, p.actor, func(tx *jobs.CallbackTx) error { return tx.Note("receiver suspended: " + suspended) })
	if err != nil {
		p.Log.Debug("the suspension is not in the timeline", zap.String("job_id", cb.JobID), zap.Error(err))
	}
}

// noteFailure says why the failure suspended the receiver, "" if it did not.
func (p *Pool) noteFailure(ctx context.Context, cb *jobs.Callback, v webhook.Verdict) (suspended string, err error) {
	now := p.Now().UTC().Truncate(time.Microsecond)
	err = p.Store.ChangeReceiver(ctx, cb.OrgID, cb.Origin, cb.Origin, func(r *jobs.Receiver) {
		h := webhook.Health{Exhausted: r.Exhausted, FailingSince: r.FailingSince, LastFailure: r.LastFailure}.After(v, now)
		r.Exhausted, r.FailingSince, r.LastFailure = h.Exhausted, h.FailingSince, h.LastFailure
		if suspended = ""; h.Suspended() && !r.Suspended {
			suspended = "its deliveries fail, and none succeeded in between"
			r.Suspended, r.SuspendedAt, r.Why = true, now, suspended
		}
	})
	if err != nil || v != webhook.VerdictGone {
		return suspended, err
	}
	return "its URL answered 410 Gone", p.Store.ChangeReceiver(ctx, cb.OrgID, cb.URL, cb.Origin, func(r *jobs.Receiver) {
		r.FailingSince, r.LastFailure = now, now
		r.Suspended, r.SuspendedAt, r.Why = true, now, "answered 410 Gone"
	})
}
