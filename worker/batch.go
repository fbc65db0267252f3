package worker

import (
	"context"
	"errors"
	"math"

	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"exportd/jobs"
)

// batchPageSize is how many items of a batch are worked through between two notes of its progress; a crash
// repeats at most as many, which finds them begun already.
const batchPageSize = 25

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

// runBatch begins the items of a batch again page by page, noting its progress after each.
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
		// The page is read before what of it may be begun: two workers that hold the batch then find the same
		// items at its head, or the one that comes later knows what the other has begun.
		page, err := p.batchPage(ctx, b)
		if err != nil {
			return err
		}
		cursor, most := b.Cursor, int64(0)
		if b, most, err = p.allowed(ctx, b); err != nil || most == 0 {
			return err
		}
		skipped, left, err := p.beginPage(ctx, b, page, most)
		if err != nil {
			return err
		}
		if left == 0 { // the page is looked at again when those have ended: what was begun again is not in it
			continue
		}
		// One write of the batch for each page, which also takes it for the next.
		b, err = p.Store.UpdateBatch(ctx, id, func(tx *jobs.BatchTx) error {
			return tx.Advance(cursor, page.matched, skipped, page.next)
		})
		if errors.Is(err, jobs.ErrLeaseLost) || errors.Is(err, jobs.ErrUnknownSchema) { // paused, canceled, or another worker has noted the page
			return nil
		}
		if err != nil || page.next == "" {
			return err
		}
	}
	return context.Cause(ctx)
}

// batchItem is a job or a callback that a batch may begin again.
type batchItem struct {
	jobID   string
	batchID string // that began it again last
	// refusal says why it is not begun again, "" if it is to be; begin does it, and notify tells whoever is
	// to carry it out.
	refusal func(ctx context.Context) (jobs.Refusal, error)
	begin   func(ctx context.Context) error
	notify  func(ctx context.Context)
}

// batchPage is a page of what a batch is about.
type batchPage struct {
	items         []batchItem
	next          string
	matched, gone int // gone are those of a list that are not there
}

// batchPage gives the page of a batch behind its cursor; none once all were looked at.
func (p *Pool) batchPage(ctx context.Context, b *jobs.Batch) (page batchPage, err error) {
	switch {
	case b.Listed:
		return page, nil
	case b.Callbacks != nil:
		return p.callbackPage(ctx, b)
	case len(b.JobIDs) == 0:
		found, err := p.Store.List(ctx, b.Filter.List(b.Cursor, batchPageSize))
		if err != nil {
			return page, err
		}
		page.next, page.matched = found.Next, len(found.Jobs)
		for _, j := range found.Jobs {
			page.items = append(page.items, p.jobItem(b, j))
		}
		return page, nil
	}
	ids, next := b.Next(batchPageSize)
	page.next, page.matched = next, len(ids)
	for _, id := range ids {
		j, err := p.Store.Get(ctx, id)
		if errors.Is(err, jobs.ErrNotFound) {
			page.gone++
			continue
		}
		if err != nil {
			return page, err
		}
		page.items = append(page.items, p.jobItem(b, j))
	}
	return page, nil
}

func (p *Pool) jobItem(b *jobs.Batch, j *jobs.Job) batchItem {
	return batchItem{
		jobID: j.ID, batchID: j.BatchID,
		refusal: func(ctx context.Context) (jobs.Refusal, error) { return p.refusal(ctx, b, j) },
		begin:   func(ctx context.Context) error { return p.rerunIn(ctx, b, j) },
		notify:  func(ctx context.Context) { p.notify(ctx, jobs.QueueExports, jobs.Message{JobID: j.ID}) },
	}
}

// callbackPage is batchPage of a batch of callbacks.
func (p *Pool) callbackPage(ctx context.Context, b *jobs.Batch) (page batchPage, err error) {
	found, next, err := p.Store.ListCallbacks(ctx, b.Callbacks.List(b.Cursor, batchPageSize))
	if err != nil {
		return page, err
	}
	page.next, page.matched = next, len(found)
	for _, cb := range found {
		page.items = append(page.items, batchItem{
			jobID: cb.JobID, batchID: cb.BatchID,
			refusal: func(context.Context) (jobs.Refusal, error) { return b.RefusedCallback(cb, p.policy, p.Now()), nil },
			begin: func(ctx context.Context) error {
				_, err := p.Store.UpdateCallback(ctx, cb.ID, b.Actor, func(tx *jobs.CallbackTx) error { return tx.RedeliverIn(b) })
				return err
			},
			notify: func(ctx context.Context) {
				p.notify(ctx, jobs.QueueCallbacks, jobs.Message{JobID: cb.JobID, CallbackID: cb.ID})
			},
		})
	}
	return page, nil
}

// allowed says how many items the batch may begin again now; 0 if it waits, has ended, or is another build's
// by now.
func (p *Pool) allowed(ctx context.Context, b *jobs.Batch) (_ *jobs.Batch, most int64, err error) {
	if !b.Canary {
		return b, math.MaxInt64, nil
	}
	o, err := p.Store.BatchOutcome(ctx, b)
	if err != nil {
		return b, 0, err
	}
	o.Listed = b.Listed
	b, err = p.Store.UpdateBatch(ctx, b.ID, func(tx *jobs.BatchTx) (err error) { most, err = tx.Proceed(o); return err })
	if errors.Is(err, jobs.ErrUnknownSchema) {
		return nil, 0, nil
	}
	return b, most, err
}

// beginPage begins the eligible items of a page again at the batch's rate, at most as many as it may; left is
// 0 where that ended it.
func (p *Pool) beginPage(ctx context.Context, b *jobs.Batch, page batchPage, left int64) (skipped map[string]int, _ int64, err error) {
	skipped = map[string]int{}
	if page.gone > 0 {
		skipped[string(jobs.RefusedPurged)] = page.gone
	}
	pace := rate.NewLimiter(rate.Limit(b.Rate()), 1)
	for _, item := range page.items {
		if left == 0 {
			return nil, 0, nil
		}
		if item.batchID == b.ID {
			continue // begun before a crash; it counts itself
		}
		why, err := item.refusal(ctx)
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
		err = item.begin(ctx)
		refused, isRefused := errors.AsType[*jobs.RerunError](err)
		switch {
		case err == nil:
			left--
			item.notify(ctx)
		case errors.Is(err, jobs.ErrNotDue): // another worker has it in hand
			left--
		case isRefused: // changed since it was listed
			skipped[string(refused.Reason)]++
		case errors.Is(err, jobs.ErrNotFound):
			skipped[string(jobs.RefusedPurged)]++
		case errors.Is(err, jobs.ErrUnavailable), ctx.Err() != nil:
			return nil, 0, err
		default: // of this item, as far as anybody can say: the others are not to wait for it for ever
			p.Log.Warn("batch passes an item over", zap.String("batch_id", b.ID), zap.String("job_id", item.jobID), zap.Error(err))
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
