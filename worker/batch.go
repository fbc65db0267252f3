package worker

import (
	"context"
	"errors"
	"math"

	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"exportd/jobs"
)

// batchPage is how many jobs of a batch are worked through between two notes of its progress; a crash repeats
// at most as many, which finds them rerun already.
const batchPage = 25

// runBatches works on the batches that are due, one after the other, so that the rate cap of each holds.
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
	var over bool
	b, err := p.Store.UpdateBatch(ctx, id, func(tx *jobs.BatchTx) (err error) { over, err = tx.Claim(); return err })
	if over && err == nil || errors.Is(err, jobs.ErrUnknownSchema) { // or another build's
		return nil
	}
	if err != nil {
		return err
	}
	for ctx.Err() == nil {
		var most int64
		if b, most, err = p.allowed(ctx, b); err != nil || most == 0 {
			return err
		}
		page, err := p.batchJobs(ctx, b)
		if err != nil {
			return err
		}
		skipped, left, err := p.rerunPage(ctx, b, page, most)
		if err != nil {
			return err
		}
		if left == 0 { // the page is looked at again when those have ended: what was run again is not in it
			continue
		}
		// One write of the batch for each page, which also takes it for the next.
		b, err = p.Store.UpdateBatch(ctx, id, func(tx *jobs.BatchTx) error {
			return tx.Advance(b.Cursor, page.matched, skipped, page.Next)
		})
		if errors.Is(err, jobs.ErrLeaseLost) || errors.Is(err, jobs.ErrUnknownSchema) { // paused, canceled, or another worker has noted the page
			return nil
		}
		if err != nil || page.Next == "" {
			return err
		}
	}
	return context.Cause(ctx)
}

// batchJobs is a page of a batch's jobs.
type batchJobs struct {
	jobs.JobPage
	matched, gone int // gone are those of a list that are not there
}

// batchJobs gives the page of a batch's jobs behind its cursor.
func (p *Pool) batchJobs(ctx context.Context, b *jobs.Batch) (page batchJobs, err error) {
	if len(b.JobIDs) == 0 {
		page.JobPage, err = p.Store.List(ctx, b.Filter.List(b.Cursor, batchPage))
		page.matched = len(page.Jobs)
		return page, err
	}
	ids, next := b.Next(batchPage)
	page.Next, page.matched = next, len(ids)
	for _, id := range ids {
		j, err := p.Store.Get(ctx, id)
		if errors.Is(err, jobs.ErrNotFound) {
			page.gone++
			continue
		}
		if err != nil {
			return page, err
		}
		page.Jobs = append(page.Jobs, j)
	}
	return page, nil
}

// allowed says how many jobs the batch may run again now; 0 if it waits or has ended.
func (p *Pool) allowed(ctx context.Context, b *jobs.Batch) (_ *jobs.Batch, most int64, err error) {
	if !b.Canary {
		return b, math.MaxInt64, nil
	}
	o, err := p.Store.BatchOutcome(ctx, b)
	if err != nil {
		return b, 0, err
	}
	b, err = p.Store.UpdateBatch(ctx, b.ID, func(tx *jobs.BatchTx) (err error) { most, err = tx.Proceed(o); return err })
	return b, most, err
}

// rerunPage reruns the eligible jobs of a page at the batch's rate, at most as many as it may; left is 0
// where that ended it.
func (p *Pool) rerunPage(ctx context.Context, b *jobs.Batch, page batchJobs, left int64) (skipped map[string]int, _ int64, err error) {
	skipped = map[string]int{}
	if page.gone > 0 {
		skipped[string(jobs.RefusedPurged)] = page.gone
	}
	pace := rate.NewLimiter(rate.Limit(b.Rate()), 1)
	for _, j := range page.Jobs {
		if left == 0 {
			return nil, 0, nil
		}
		if j.BatchID == b.ID {
			continue // rerun before a crash; the job counts itself
		}
		why, err := p.refusal(ctx, b, j)
		if err != nil {
			return nil, 0, err
		}
		if why != "" {
			skipped[string(why)]++
			continue
		}
		if err := pace.Wait(ctx); err != nil {
			return nil, 0, err
		}
		err = p.rerunIn(ctx, b, j)
		refused, isRefused := errors.AsType[*jobs.RerunError](err)
		switch {
		case err == nil:
			left--
			p.notify(ctx, jobs.QueueExports, jobs.Message{JobID: j.ID})
		case errors.Is(err, jobs.ErrNotDue): // another worker has it in hand
			left--
		case isRefused: // changed since it was listed
			skipped[string(refused.Reason)]++
		case errors.Is(err, jobs.ErrNotFound):
			skipped[string(jobs.RefusedPurged)]++
		case errors.Is(err, jobs.ErrUnavailable), ctx.Err() != nil:
			return nil, 0, err
		default: // of this job, as far as anybody can say: the others are not to wait for it for ever
			p.Log.Warn("batch passes a job over", zap.String("batch_id", b.ID), zap.String("job_id", j.ID), zap.Error(err))
			skipped[notWritten]++
		}
	}
	return skipped, max(left, 1), nil
}

// notWritten is why a batch passed over a job whose record the database does not take.
const notWritten = "its record cannot be written: see the worker's log"

// refusal is why a job of the batch's page is not run again, "" if it is to be.
func (p *Pool) refusal(ctx context.Context, b *jobs.Batch, j *jobs.Job) (jobs.Refusal, error) {
	if refused, ok := errors.AsType[*jobs.RerunError](j.Rerunnable(b.Mode, p.policy, p.Now())); ok {
		return refused.Reason, nil
	}
	if why := b.RefusedIn(j); why != "" || !b.Filter.FileLost {
		return why, nil
	}
	lost, err := p.Exporter.Lost(ctx, j)
	if err != nil || lost {
		return "", err
	}
	return jobs.RefusedHasFile, nil
}
