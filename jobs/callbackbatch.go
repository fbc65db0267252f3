package jobs

import (
	"errors"
	"fmt"
	"time"
)

// A batch of callbacks sends again what a filter matches. A callback that it has sent has its id, as a job
// has that of the batch which ran it again.
//
// What a callback comes to may take a day of attempts, which nobody is to wait for: it counts by the first
// attempt since it was sent again. One that failed says that the receiver is not mended, whatever the answer:
// all callbacks of a cause go to one receiver, which may answer 503 today and nothing tomorrow.

// CallbackFilter selects callbacks as ListCallbacks does.
type CallbackFilter struct {
	State CallbackState `firestore:"state" json:"state"`
	OrgID string        `firestore:"orgId,omitempty" json:"orgId,omitempty"`
	// Origin is a receiver, and Cause the id of why callbacks were given up.
	Origin        string    `firestore:"origin,omitempty" json:"origin,omitempty"`
	Cause         string    `firestore:"cause,omitempty" json:"cause,omitempty"`
	CreatedAfter  time.Time `firestore:"createdAfter,omitempty" json:"createdAfter,omitzero"`
	CreatedBefore time.Time `firestore:"createdBefore,omitempty" json:"createdBefore,omitzero"`
}

// List is the page of the filter behind token.
func (f CallbackFilter) List(token string, size int) CallbackList {
	return CallbackList{
		State: f.State, OrgID: f.OrgID, Origin: f.Origin, Cause: f.Cause, CreatedAfter: f.CreatedAfter, CreatedBefore: f.CreatedBefore, PageSize: size, PageToken: token,
	}
}

// check is of one that is stored with a batch.
func (f *CallbackFilter) check(c *checks) {
	c.that(f.State.Redeliverable(), "callbacks.state is none to begin again")
	c.that(f.Cause == "" || CallbackCauses[CauseCode(f.Cause)] == f.State, "callbacks.cause is none of the state")
	for name, s := range map[string]string{"orgId": f.OrgID, "origin": f.Origin} {
		c.text("callbacks."+name, s, maxText)
	}
}

// Cause is the id of the cause that the batch is for, "" if it is for none.
func (b *Batch) Cause() string {
	if b.Callbacks != nil {
		return b.Callbacks.Cause
	}
	return b.Filter.Cause
}

// Redeliverable reports whether callbacks of the state can be begun again by a filter. A dropped one's export
// was deleted, and of a damaged one nobody knows what it was.
func (s CallbackState) Redeliverable() bool {
	switch s {
	case CallbackPending, CallbackDelivered, CallbackExhausted, CallbackBlocked, CallbackGone, CallbackSuspended:
		return true
	case CallbackDropped, CallbackDamaged:
	}
	return false
}

// The reasons why a batch passes a callback over, besides those of jobs.
const (
	RefusedUnderWay Refusal = "an attempt of it is under way"
	RefusedChanged  Refusal = "is not what the filter asks for any more"
	RefusedTried    Refusal = "was tried since the batch was made"
)

// RefusedCallback is why a batch passes over a callback that it has not sent again, "" if it does not. One
// that was tried since the batch was made is not what whoever asked for it has seen.
func (b *Batch) RefusedCallback(cb *Callback, p Policy, now time.Time) Refusal {
	tx := CallbackTx{Policy: p, Now: now, Callback: cb}
	err := tx.check()
	switch f := b.Callbacks; {
	case refusedSandbox(f.OrgID, cb.OrgID):
		return RefusedSandbox
	case errors.Is(err, ErrUnknownSchema):
		return RefusedVersion
	case err != nil || cb.State == CallbackDamaged:
		return RefusedDamaged
	case cb.State != f.State || f.Cause != "" && cb.CauseID != f.Cause:
		return RefusedChanged
	case tx.held():
		return RefusedUnderWay
	case len(cb.Attempts) > 0 && cb.Attempts[len(cb.Attempts)-1].At.After(b.CreatedAt):
		return RefusedTried
	}
	return ""
}

// RedeliverIn is Redeliver for a batch, which sends a callback again once: ErrNotDue if it has done so, a
// *RerunError for what it passes over.
func (tx *CallbackTx) RedeliverIn(b *Batch) error {
	cb := tx.Callback
	if cb.BatchID == b.ID {
		return fmt.Errorf("callback %s was sent again by batch %s: %w", cb.ID, b.ID, ErrNotDue)
	}
	if why := b.RefusedCallback(cb, tx.Policy, tx.Now); why != "" {
		return fmt.Errorf("callback %s: %w", cb.ID, &RerunError{JobID: cb.JobID, Reason: why})
	}
	if err := tx.Redeliver(b.Reason); err != nil {
		return err
	}
	cb.BatchID = b.ID
	return nil
}

// FailedAgain reports whether the first attempt since the callback was sent again has failed, and it was not
// delivered since. An attempt of which nobody knows how it ended is none.
func (cb *Callback) FailedAgain() bool {
	switch cb.State {
	case CallbackPending:
		return cb.Schedule > 1 || cb.Schedule == 1 && cb.Lease.Token == ""
	case CallbackExhausted, CallbackBlocked, CallbackGone, CallbackSuspended:
		return true
	case CallbackDelivered, CallbackDropped, CallbackDamaged:
	}
	return false
}

// Failing says of one that has failed again whose it is, and what its receiver answered.
func (cb *Callback) Failing() string {
	last := *cb
	if n := len(cb.Attempts); n > 1 && cb.Attempts[n-1].Class == AttemptUnderWay {
		last.Attempts = cb.Attempts[:n-1]
	}
	return fmt.Sprintf("the callback of job %s failed again: %s %s", cb.JobID, cb.Origin, last.answer())
}

// CallbackOutcome is how the callbacks are that a batch has sent again. The rest was dropped, as the export
// was deleted.
type CallbackOutcome struct {
	Delivered int64 `json:"delivered"`
	UnderWay  int64 `json:"underWay"` // they may have failed, and are tried again
	GivenUp   int64 `json:"givenUp"`
}
