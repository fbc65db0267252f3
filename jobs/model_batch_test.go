package jobs_test

import (
	"errors"
	"time"

	"exportd/jobs"
)

// A batch in the model: the operator asks for one and carries it out, as a worker does, page by page of the one
// job that there is; the canceler may carry it out beside it. What a batch does to the job is a
// transition of it like any other, in two steps; its own document is changed in one, as compare-and-set
// makes of reading and writing.

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
			b := jobs.NewBatch(jobs.BatchRequest{Mode: m.mode(), MaxPerSecond: 1}, clock)
			b.ID, b.Rev = modelBatch, ""
			n.batch = m.docs.batch(*b)
			out(name(i)+" makes a batch", &n)
		}
		return
	}
	if b := w.batch; !b.WakeAt.IsZero() && !clock.Before(b.WakeAt) {
		n := *w
		over := false
		m.changeBatch(&n, func(tx *jobs.BatchTx) (err error) { over, err = tx.Claim(); return err })
		if !over {
			n.actors[i] = actor{pc: pcBatchList}
		}
		out(name(i)+" takes the batch", &n)
	}
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
	if b.FinishedAt.IsZero() && b.WakeAt.IsZero() {
		m.fail("the batch has not ended and nobody is due to look at it")
	}
	if w.batched > 1 {
		m.fail("the batch has run the job again %d times", w.batched)
	}
}
