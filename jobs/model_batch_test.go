//go:build !race

package jobs_test

import (
	"errors"
	"time"

	"exportd/jobs"
)

// A batch in the model: the operator asks for one and carries it out, as a worker does, page by page of the
// one job that there is; the canceler may carry it out beside it. What a batch does to the job is a
// transition of it like any other, in two steps; its own document is changed in one, as compare-and-set makes
// of reading and writing.

// modelBatch is the id of the only batch.
const modelBatch = "bbbbbbbbbbbbbbbbbbbbbbbbbb"

type batchDoc struct{ jobs.Batch }

func (in *interner) batch(b jobs.Batch) *batchDoc {
	return intern(in.batches, encode(b), func() *batchDoc { return &batchDoc{b} })
}

// works reports whether an actor carries batches out.
func (m *model) works(i int) bool { return i == operator || i == canceler && m.batchTwice }

// batchIdle emits how an idle actor can make a batch or take one up.
func (m *model) batchIdle(w *world, i int, out emit) {
	clock := at(m.clock(rescuer, w.now))
	if w.batch == nil {
		if i == operator && w.left[batch] > 0 && w.job != nil && w.job.State.Ended() {
			n := *w
			n.left[batch]--
			b := jobs.NewBatch(jobs.BatchRequest{Mode: m.mode(), MaxPerSecond: 1, Canary: m.canary}, clock)
			b.ID, b.Rev = modelBatch, ""
			n.batch = m.docs.batch(*b)
			out(name(i)+" makes a batch", &n)
		}
		return
	}
	m.batchHold(w, i, out)
	if b := w.batch; !b.WakeAt.IsZero() && !clock.Before(b.WakeAt) {
		n := *w
		over := false
		m.changeBatch(&n, func(tx *jobs.BatchTx) (err error) { over, err = tx.Claim(); return err })
		if !over {
			n.actors[i] = actor{pc: pcBatchList}
			if m.canary {
				n.actors[i].pc = pcBatchLook
			}
		}
		out(name(i)+" takes the batch", &n)
	}
}

// batchHold emits how the operator pauses a batch, ends it, or has it go on: that costs nothing.
func (m *model) batchHold(w *world, i int, out emit) {
	if i != operator || !w.batch.FinishedAt.IsZero() {
		return
	}
	change := func(label string, fn func(*jobs.BatchTx) error) {
		n := *w
		if w.batch.PausedAt.IsZero() {
			n.left[hold]--
		}
		if err := m.changeBatch(&n, fn); err != nil {
			m.fail("%s the batch: %v", label, err)
		}
		out(name(i)+" "+label+" the batch", &n)
	}
	if !w.batch.PausedAt.IsZero() {
		change("resumes", (*jobs.BatchTx).Resume)
	} else if w.left[hold] > 0 {
		change("pauses", (*jobs.BatchTx).Pause)
		change("ends", func(tx *jobs.BatchTx) error { return tx.Stop("canceled") })
	}
}

// outcome is how the one job is that the batch may have run again.
func (m *model) outcome(w *world) (o jobs.BatchOutcome) {
	o.Listed = w.batch.Listed
	if j := w.job; j != nil && j.BatchID == modelBatch {
		o.Rerun = 1
		switch {
		case !j.State.Ended() && !m.mutate.hasty:
			o.Live = 1
		case j.State == jobs.Failed:
			o.Again = "the job"
		}
	}
	return o
}

// mode is that of reruns.
func (m *model) mode() jobs.RerunMode {
	if m.resume {
		return jobs.RerunResume
	}
	return jobs.RerunFresh
}

// changeBatch runs a transition of the batch.
func (m *model) changeBatch(n *world, fn func(*jobs.BatchTx) error) error {
	b := n.batch.Batch
	b.Skipped = nil // is not looked at
	if err := fn(jobs.NewBatchTx(at(m.clock(rescuer, n.now)), &b)); err != nil {
		return err
	}
	if b.Skipped = nil; m.mutate.afterBatch != nil {
		m.mutate.afterBatch(&b)
	}
	n.batch = m.docs.batch(b)
	return nil
}

// batchAct does the step of an actor that works on the batch.
func (m *model) batchAct(n *world, a *actor) string {
	switch a.pc {
	case pcBatchLook:
		*a = actor{pc: pcBatchProceed, outcome: m.outcome(n)}
		return "looks how the batch's jobs are"
	case pcBatchProceed:
		most, was := int64(0), a.outcome
		err := m.changeBatch(n, func(tx *jobs.BatchTx) (err error) { most, err = tx.Proceed(was); return err })
		if err != nil {
			m.fail("proceed: %v", err)
		}
		if *a = (actor{}); most > 0 {
			a.pc = pcBatchList
		}
		return "goes on with the batch"
	case pcBatchList:
		*a = actor{pc: pcBatchAdvance, job: n.job}
		switch {
		case n.job == nil:
			return "lists nothing"
		case n.job.BatchID == modelBatch:
			return "lists the job, which the batch has run again"
		case n.job.Rerunnable(m.mode(), m.policy, at(n.now)) != nil:
			return "passes the job over"
		}
		*a = actor{pc: pcRead, op: opRerunIn, mode: m.mode(), job: n.job}
		return "lists the job"
	case pcBatchNotify:
		n.bag = m.docs.publish(n.bag, message{})
		a.pc = pcBatchAdvance
		return "notifies for the batch"
	}
	matched := 1
	if a.job == nil {
		matched = 0
	}
	*a = actor{}
	err := m.changeBatch(n, func(tx *jobs.BatchTx) error {
		if m.mutate.anyPage {
			tx.Batch.FinishedAt = time.Time{}
		}
		return tx.Advance("", matched, nil, "")
	})
	if err != nil && !errors.Is(err, jobs.ErrLeaseLost) {
		m.fail("advance: %v", err)
	}
	if n.batch.Matched > 1 {
		m.fail("a page of the batch was counted twice")
	}
	return "notes the page"
}

// checkBatch holds every state against what a batch promises.
func (m *model) checkBatch(w *world) {
	b := w.batch
	if b == nil {
		return
	}
	if m.canary && !b.FinishedAt.IsZero() && b.Stopped == "" && w.job != nil && w.job.BatchID == modelBatch && !w.job.State.Ended() {
		m.fail("a canary has ended before its job")
	}
	if b.FinishedAt.IsZero() && b.WakeAt.IsZero() && b.PausedAt.IsZero() {
		m.fail("the batch has not ended and nobody is due to look at it")
	}
	if w.batched > 1 {
		m.fail("the batch has run the job again %d times", w.batched)
	}
}
