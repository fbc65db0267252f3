package worker

import (
	"context"
	"errors"

	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"exportd/jobs"
)

// batchPage is how many jobs of a batch are worked through between two notes of its
// progress; a crash repeats at most as many, which finds them rerun already.
const batchPage = 25

// runBatches works on the batches that are due, one after the other, so that the rate cap
// of each holds.
func (p *Pool) runBatches(ctx context.Context) {
	due, err := p.Store.DueBatches(ctx, p.Now(), 10)
	if err != nil {
		p.Log.Debug("cannot ask for due batches", zap.Error(err))
		return
	}
	for _, b := range due {
		if err := p.runBatch(ctx, b.ID); err != nil && ctx.Err() == nil {
			p.Log.Warn("batch stands still; again in a minute", zap.String("batch_id", b.ID), zap.Error(err))
		}
	}
}

// runBatch reruns the jobs of a batch page by page, noting its progress after each.
func (p *Pool) runBatch(ctx context.Context, id string) error {
	for ctx.Err() == nil {
		var over bool
		b, err := p.Store.UpdateBatch(ctx, id, func(tx *jobs.BatchTx) (err error) { over, err = tx.Claim(); return err })
		if over && err == nil || errors.Is(err, jobs.ErrUnknownSchema) { // or another build's
			return nil
		}
		if err != nil {
			return err
		}
		page, err := p.Store.List(ctx, b.Filter.List(b.Cursor, batchPage))
		if err != nil {
			return err
		}
		skipped, err := p.rerunPage(ctx, b, page.Jobs)
		if err != nil {
			return err
		}
		_, err = p.Store.UpdateBatch(ctx, id, func(tx *jobs.BatchTx) error {
			return tx.Advance(b.Cursor, len(page.Jobs), skipped, page.Next)
		})
		if err != nil || page.Next == "" {
			return err
		}
	}
	return context.Cause(ctx)
}

// rerunPage reruns the eligible jobs of a page at the batch's rate.
func (p *Pool) rerunPage(ctx context.Context, b *jobs.Batch, page []*jobs.Job) (skipped map[string]int, err error) {
	skipped = map[string]int{}
	pace := rate.NewLimiter(rate.Limit(b.MaxPerSecond), 1)
	for _, j := range page {
		if j.BatchID == b.ID {
			continue // rerun before a crash; the job counts itself
		}
		why, err := p.refusal(ctx, b, j)
		if err != nil {
			return nil, err
		}
		if why != "" {
			skipped[string(why)]++
			continue
		}
		if err := pace.Wait(ctx); err != nil {
			return nil, err
		}
		err = p.rerunIn(ctx, b, j)
		refused, isRefused := errors.AsType[*jobs.RerunError](err)
		switch {
		case err == nil:
			p.notify(ctx, jobs.QueueExports, jobs.Message{JobID: j.ID})
		case errors.Is(err, jobs.ErrNotDue):
		case isRefused: // changed since it was listed
			skipped[string(refused.Reason)]++
		case errors.Is(err, jobs.ErrNotFound):
			skipped[string(jobs.RefusedPurged)]++
		case errors.Is(err, jobs.ErrUnavailable), ctx.Err() != nil:
			return nil, err
		default: // of this job, as far as anybody can say: the others are not to wait for it for ever
			p.Log.Warn("batch passes a job over", zap.String("batch_id", b.ID), zap.String("job_id", j.ID), zap.Error(err))
			skipped[notWritten]++
		}
	}
	return skipped, nil
}

// notWritten is why a batch passed over a job whose record the database does not take.
const notWritten = "its record cannot be written: see the worker's log"

// refusal is why a job of the batch's page is not run again, "" if it is to be.
func (p *Pool) refusal(ctx context.Context, b *jobs.Batch, j *jobs.Job) (jobs.Refusal, error) {
	if refused, ok := errors.AsType[*jobs.RerunError](j.Rerunnable(b.Mode, p.policy, p.Now())); ok {
		return refused.Reason, nil
	}
	if !b.Filter.FileLost {
		return "", nil
	}
	lost, err := p.Exporter.Lost(ctx, j)
	if err != nil || lost {
		return "", err
	}
	return jobs.RefusedHasFile, nil
}
