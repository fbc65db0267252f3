package jobs

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

const (
	// maxCallbackPause is more than any gap of the schedule, which is a day and a fifth.
	maxCallbackPause = 48 * time.Hour
	// maxResponse is more than an attempt keeps of an answer: 2 KiB, and what makes it text.
	maxResponse = 16 << 10
)

// Check says what is wrong with the document of a delivery, as an ErrInvalid; nil if it is whole.
func (cb *Callback) Check(now time.Time) error {
	c := &checks{now: now}
	c.that(cb.Damage == "", "%s", cb.Damage)
	c.that(Readable(cb.Schema), "schema is %d", cb.Schema)
	c.that(ValidCallbackID(cb.ID), "its id is none")
	cb.checkPlain(c)
	if cb.State == CallbackDamaged {
		c.that(cb.Lease.Token == "", "it has ended and is held")
		return c.err("callback", cb.ID)
	}
	parts := strings.Split(cb.ID+"___", "_") // "msg", the job, its state and its epoch
	c.that(cb.JobID == parts[1] && cb.Event == "export."+parts[2], "jobId and event are not those of its id")
	c.that(ValidOrg(cb.OrgID), "orgId is none")
	c.that(validURL(cb.URL) && cb.Origin == OriginOf(cb.URL), "url is none or not of its origin")
	j := Job{ID: cb.JobID, OrgID: cb.OrgID}
	c.that(cb.Object == "" || j.ownsObject(cb.Object), "object is not of its job")
	c.that(cb.FileExpiresAt.IsZero() || cb.FileExpiresAt.Sub(cb.CreatedAt) <= maxFileLife, "fileExpiresAt is %s", cb.FileExpiresAt.Format(time.RFC3339))
	switch cb.State {
	case CallbackPending, CallbackDelivered, CallbackExhausted, CallbackBlocked, CallbackGone, CallbackSuspended, CallbackDropped:
	default:
		c.that(false, "state is none")
	}
	c.lease(cb.Lease, cb.Lease.Token != "")
	c.that(cb.Lease.Token == "" || len(cb.Attempts) > 0, "it is held without an attempt")
	return c.err("callback", cb.ID)
}

// checkPlain is about each field by itself.
func (cb *Callback) checkPlain(c *checks) {
	c.small("attempt", cb.Attempt)
	c.small("schedule", cb.Schedule)
	c.small("interruptions", cb.Interruptions)
	c.small("jobAttempt", cb.JobAttempt)
	c.count("rows", cb.Rows)
	c.that(cb.LastCode >= 0 && cb.LastCode < 1000, "lastCode is %d", cb.LastCode)
	for name, s := range map[string]string{"rev": cb.Rev, "keyId": cb.KeyID, "requestId": cb.RequestID, "orgId": cb.OrgID, "url": cb.URL, "origin": cb.Origin, "event": cb.Event, "object": cb.Object, "batchId": cb.BatchID} {
		c.text(name, s, maxText)
	}
	c.failure(cb.Error)
	c.that(cb.CauseID == "" || CauseCode(cb.CauseID) != "", "cause is none")
	c.that(!cb.CreatedAt.IsZero(), "createdAt is missing")
	c.happened("createdAt", cb.CreatedAt)
	c.that(len(cb.Attempts) <= MaxAttemptsKept, "it has %d tries", len(cb.Attempts))
	for _, try := range cb.Attempts {
		c.happened("an attempt's time", try.At)
		c.count("an attempt's millis", try.Millis)
		c.text("an attempt's class", try.Class, maxText)
		c.text("an attempt's answer", try.Response, maxResponse)
		c.that(try.Status >= 0 && try.Status < 1000, "an attempt's status is %d", try.Status)
	}
}

// waits reports whether the next attempt is not due; a pause that no schedule has is not believed.
func (tx *CallbackTx) waits() bool {
	next := tx.Callback.NextAt
	return tx.Now.Before(next) && !next.After(tx.Now.Add(maxCallbackPause))
}

// overslept reports whether WakeAt is further off than any transition puts it.
func (tx *CallbackTx) overslept() bool {
	return tx.Callback.WakeAt.After(tx.Now.Add(maxCallbackPause + tx.Policy.Skew))
}

// Overdue is Tx.Overdue for a delivery.
func (tx *CallbackTx) Overdue() bool {
	err := tx.check()
	return errors.Is(err, ErrInvalid) || err == nil && tx.Callback.State == CallbackPending && (tx.Callback.WakeAt.IsZero() || tx.overslept())
}

// Invalidate ends a delivery whose document makes no sense, for good, and says so in the job's timeline: its
// owner would wait for it else. Only for those that Check refuses.
func (tx *CallbackTx) Invalidate() error {
	cb := tx.Callback
	err := tx.check()
	if !errors.Is(err, ErrInvalid) {
		return fmt.Errorf("callback %s is not invalid: %w", cb.ID, ErrNotDue)
	}
	if !ValidCallbackID(cb.ID) {
		return err // it is no job's
	}
	cb.Attempts = cb.Attempts[max(0, len(cb.Attempts)-MaxAttemptsKept):]
	tidy(cb, tx.Now)
	cb.LapsesAt = tx.Policy.LapsesAt(tx.Now)
	if cb.Error != nil && !validCode(cb.Error.Code) {
		cb.Error = nil
	}
	for i := range cb.Attempts {
		cb.Attempts[i].Status = min(cb.Attempts[i].Status, 999)
	}
	cb.Damage, cb.Schema, cb.JobID, cb.LastCode = "", readableOr(cb.Schema), strings.Split(cb.ID, "_")[1], min(cb.LastCode, 999)
	if cb.CreatedAt.IsZero() {
		cb.CreatedAt = tx.Now
	}
	tx.end(CallbackDamaged, "the record of the callback is damaged, nothing is sent any more: "+clip(err.Error(), maxText))
	return nil
}
