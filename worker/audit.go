package worker

import (
	"context"
	"time"

	"go.uber.org/zap"

	"exportd/jobs"
)

// auditEvery is how often the rescuer looks for documents that nothing due leads to. A live job that was
// damaged so is found within it, as long as there are no more than a page of such jobs.
const auditEvery = time.Minute

// audit is where the looking through stands.
type audit struct {
	last  time.Time
	after [jobs.Audits]string
}

// due reports whether it is time for another turn, and takes it.
func (a *audit) due(now time.Time) bool {
	if d := now.Sub(a.last); d >= 0 && d < auditEvery {
		return false
	}
	a.last = now
	return true
}

// auditRecords does what is due for documents that are damaged, or asleep for ever.
func (p *Pool) auditRecords(ctx context.Context, a *audit) {
	for kind := range jobs.Audits {
		found, batches, next, err := p.Store.Suspects(ctx, kind, a.after[kind])
		if err != nil {
			p.Log.Warn("cannot look for damaged documents; again in a minute", zap.Error(err))
			return
		}
		a.after[kind] = next
		for _, m := range found { // which the store tells of
			if m.CallbackID != "" {
				_ = p.wakeCallback(ctx, ctx, jobs.Due{Message: m}) // else at a later turn
			} else {
				_ = p.wakeJob(ctx, m.JobID, func(j *jobs.Job) { p.purge(ctx, []*jobs.Job{j}) })
			}
		}
		for _, id := range batches {
			p.Log.Warn("batch is damaged or asleep for too long", zap.String("batch_id", id))
			p.wakeBatch(ctx, id)
		}
	}
}

// wakeBatch has a batch looked at with those that are due, if it has not ended; a damaged one is ended.
func (p *Pool) wakeBatch(ctx context.Context, id string) {
	_, err := p.Store.UpdateBatch(ctx, id, (*jobs.BatchTx).Wake)
	if err != nil {
		p.Log.Debug("cannot wake batch", zap.String("batch_id", id), zap.Error(err))
	}
}
