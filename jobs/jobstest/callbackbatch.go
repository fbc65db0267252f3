package jobstest

import (
	"errors"
	"testing"
	"time"

	"exportd/jobs"
)

// callbackBatch makes a canary of the callbacks that were given up by a cause.
func (b *bench) callbackBatch(t *testing.T, cause string) *jobs.Batch {
	t.Helper()
	made, err := b.CreateBatch(t.Context(), jobs.BatchRequest{
		Callbacks: &jobs.CallbackFilter{State: jobs.CallbackExhausted, Cause: cause}, Actor: "test", Reason: "r", MaxPerSecond: 5, Canary: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// attempt has a callback tried, with what came of it.
func (b *bench) attempt(t *testing.T, id string, r jobs.CallbackResult) {
	t.Helper()
	var l jobs.Lease
	for _, fn := range []func(*jobs.CallbackTx) error{
		func(tx *jobs.CallbackTx) (err error) { l, err = tx.Claim("w"); return err },
		func(tx *jobs.CallbackTx) error {
			r.Attempt.At = tx.Now
			if r.State == jobs.CallbackPending {
				r.Attempt.NextAt = tx.Now.Add(time.Second)
			}
			return tx.Record(l, r)
		},
	} {
		b.redelivered(t, id, fn)
	}
	b.Pass(time.Second)
}

func (b *bench) redelivered(t *testing.T, id string, fn func(*jobs.CallbackTx) error) *jobs.Callback {
	t.Helper()
	b.Pass(time.Millisecond)
	cb, err := b.UpdateCallback(t.Context(), id, "test", fn)
	if err != nil {
		t.Fatal(err)
	}
	return cb
}

// callbackBatchOutcome: a callback that was sent again is live until its first attempt has told of the
// receiver, and has failed then unless it is delivered.
func callbackBatchOutcome(t *testing.T, b *bench) {
	cbs := []*jobs.Callback{b.givenUp(t, "org", 503), b.givenUp(t, "org", 503), b.givenUp(t, "org", 503), b.givenUp(t, "org", 503)}
	batch := b.callbackBatch(t, cbs[0].CauseID)
	check := func(want jobs.BatchOutcome, counts jobs.CallbackOutcome) {
		t.Helper()
		if got, err := b.BatchOutcome(t.Context(), batch); err != nil || got != want {
			t.Errorf("outcome %+v, %v, want %+v", got, err, want)
		}
		if got, err := b.BatchCallbacks(t.Context(), batch); err != nil || got != counts {
			t.Errorf("counts %+v, %v, want %+v", got, err, counts)
		}
		if _, n, err := b.Batch(t.Context(), batch.ID); err != nil || n != want.Rerun {
			t.Errorf("it has sent %d again, %v, want %d", n, err, want.Rerun)
		}
	}
	send := func(i int) {
		t.Helper()
		b.redelivered(t, cbs[i].ID, func(tx *jobs.CallbackTx) error { return tx.RedeliverIn(batch) })
	}
	check(jobs.BatchOutcome{}, jobs.CallbackOutcome{})
	send(0)
	check(jobs.BatchOutcome{Rerun: 1, Live: 1}, jobs.CallbackOutcome{UnderWay: 1})
	// What says nothing about the receiver leaves it as it was, also while the next attempt is under way.
	b.attempt(t, cbs[0].ID, jobs.CallbackResult{State: jobs.CallbackPending, Unspent: true, Attempt: jobs.CallbackAttempt{Class: "interrupted"}})
	check(jobs.BatchOutcome{Rerun: 1, Live: 1}, jobs.CallbackOutcome{UnderWay: 1})
	var l jobs.Lease
	b.redelivered(t, cbs[0].ID, func(tx *jobs.CallbackTx) (err error) { l, err = tx.Claim("w"); return err })
	check(jobs.BatchOutcome{Rerun: 1, Live: 1}, jobs.CallbackOutcome{UnderWay: 1})
	b.redelivered(t, cbs[0].ID, func(tx *jobs.CallbackTx) error {
		return tx.Record(l, jobs.CallbackResult{State: jobs.CallbackDelivered, Attempt: jobs.CallbackAttempt{At: tx.Now, Class: "http_200", Status: 200}})
	})
	check(jobs.BatchOutcome{Rerun: 1}, jobs.CallbackOutcome{Delivered: 1})
	send(1)
	b.attempt(t, cbs[1].ID, jobs.CallbackResult{State: jobs.CallbackPending, Attempt: jobs.CallbackAttempt{Class: "http_503", Status: 503}})
	again := "the callback of job " + cbs[1].JobID + " failed again: https://hooks.example answers 503"
	check(jobs.BatchOutcome{Rerun: 2, Live: 1, Again: again}, jobs.CallbackOutcome{Delivered: 1, UnderWay: 1})
	b.redelivered(t, cbs[1].ID, func(tx *jobs.CallbackTx) (err error) { l, err = tx.Claim("w"); return err }) // its second attempt
	check(jobs.BatchOutcome{Rerun: 2, Live: 1, Again: again}, jobs.CallbackOutcome{Delivered: 1, UnderWay: 1})
	b.redelivered(t, cbs[1].ID, func(tx *jobs.CallbackTx) error {
		return tx.Record(l, jobs.CallbackResult{State: jobs.CallbackDelivered, Attempt: jobs.CallbackAttempt{At: tx.Now, Class: "http_200", Status: 200}})
	})
	send(2)
	b.attempt(t, cbs[2].ID, jobs.CallbackResult{State: jobs.CallbackGone, Attempt: jobs.CallbackAttempt{Class: "http_410", Status: 410}})
	check(jobs.BatchOutcome{Rerun: 3, Again: "the callback of job " + cbs[2].JobID + " failed again: https://hooks.example answers 410"}, jobs.CallbackOutcome{Delivered: 2, GivenUp: 1})
}

func redeliveredOnce(t *testing.T, b *bench) {
	one, other, tried, pending := b.givenUp(t, "org", 503), b.givenUp(t, "org", 404), b.givenUp(t, "org", 503), b.givenUp(t, "org", 503)
	batch := b.callbackBatch(t, one.CauseID)
	if got, _, err := b.Batch(t.Context(), batch.ID); err != nil || got.Callbacks == nil || *got.Callbacks != *batch.Callbacks || got.Damage != "" {
		t.Fatalf("the batch is read as %+v, %v", got, err)
	}
	b.redelivered(t, one.ID, func(tx *jobs.CallbackTx) error { return tx.RedeliverIn(batch) })
	// It fails by the same cause again, and so matches again.
	b.attempt(t, one.ID, jobs.CallbackResult{State: jobs.CallbackExhausted, Attempt: jobs.CallbackAttempt{Class: "http_error", Status: 503}})
	b.redelivered(t, tried.ID, func(tx *jobs.CallbackTx) error { return tx.Redeliver("by hand") })
	b.attempt(t, tried.ID, jobs.CallbackResult{State: jobs.CallbackExhausted, Attempt: jobs.CallbackAttempt{Class: "http_error", Status: 503}})
	b.redelivered(t, pending.ID, func(tx *jobs.CallbackTx) error { return tx.Redeliver("by hand") })
	for _, c := range []struct {
		cb    *jobs.Callback
		batch *jobs.Batch
		want  jobs.Refusal // "" is ErrNotDue
	}{
		{one, batch, ""}, {other, batch, jobs.RefusedChanged}, {tried, batch, jobs.RefusedTried}, {pending, batch, jobs.RefusedChanged},
	} {
		_, err := b.UpdateCallback(t.Context(), c.cb.ID, "test", func(tx *jobs.CallbackTx) error { return tx.RedeliverIn(c.batch) })
		refused, ok := errors.AsType[*jobs.RerunError](err)
		if c.want == "" && !errors.Is(err, jobs.ErrNotDue) || c.want != "" && (!ok || refused.Reason != c.want) {
			t.Errorf("sending callback %s again = %v, want %q", c.cb.ID, err, c.want)
		}
	}
	// A batch of what is pending leaves alone what is under way.
	waiting, err := b.CreateBatch(t.Context(), jobs.BatchRequest{Callbacks: &jobs.CallbackFilter{State: jobs.CallbackPending}, Actor: "test", Reason: "r", MaxPerSecond: 5})
	if err != nil {
		t.Fatal(err)
	}
	b.redelivered(t, pending.ID, func(tx *jobs.CallbackTx) error { _, err := tx.Claim("w"); return err })
	_, err = b.UpdateCallback(t.Context(), pending.ID, "test", func(tx *jobs.CallbackTx) error { return tx.RedeliverIn(waiting) })
	if refused, ok := errors.AsType[*jobs.RerunError](err); !ok || refused.Reason != jobs.RefusedUnderWay {
		t.Errorf("sending one again that is under way = %v", err)
	}
	// The next batch takes what the one before has sent, as it failed again.
	b.Pass(time.Second)
	next := b.callbackBatch(t, one.CauseID)
	if cb := b.redelivered(t, one.ID, func(tx *jobs.CallbackTx) error { return tx.RedeliverIn(next) }); cb.BatchID != next.ID || !cb.Forced || cb.State != jobs.CallbackPending {
		t.Errorf("sent again by the next batch it is %+v", cb)
	}
}
