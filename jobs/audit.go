package jobs

import "time"

// AuditEntry is what an operator did. It is written in the commit of the act, so that there is no act without
// it.
type AuditEntry struct {
	ID     string      `firestore:"-"`
	At     time.Time   `firestore:"at"`
	Actor  string      `firestore:"actor"`
	Action AuditAction `firestore:"action"`
	Reason string      `firestore:"reason"`
	// Target is what it was done to: the id of a job, batch, cause or callback, the name of a queue, or "ORG
	// ORIGIN" of a receiver.
	Target string `firestore:"target,omitempty"`
	// Filter says which, of an act on many.
	Filter string `firestore:"filter,omitempty"`
	// Count is to how many it was done: -1 where that is not known (yet). A batch itself knows better.
	Count int64 `firestore:"count"`
	// ExpiresAt is when the database deletes it.
	ExpiresAt time.Time `firestore:"expiresAt"`
}

// AuditAction is what was done.
type AuditAction string

// What operators do.
const (
	AuditRerunJob       AuditAction = "job.rerun"
	AuditRerunWith      AuditAction = "job.rerun_with"
	AuditCancelJob      AuditAction = "job.cancel"
	AuditRedeliver      AuditAction = "callback.redeliver"
	AuditRedeliverMany  AuditAction = "callbacks.redeliver"
	AuditCreateBatch    AuditAction = "batch.create"
	AuditPauseBatch     AuditAction = "batch.pause"
	AuditResumeBatch    AuditAction = "batch.resume"
	AuditCancelBatch    AuditAction = "batch.cancel"
	AuditPauseQueue     AuditAction = "queue.pause"
	AuditResumeQueue    AuditAction = "queue.resume"
	AuditResumeReceiver AuditAction = "receiver.resume"
	AuditProbeCause     AuditAction = "cause.probe"
	AuditRevokeLinks    AuditAction = "links.revoke"
	AuditRevokeOrgLinks AuditAction = "links.revoke_org"
)

// AuditActions lists them.
var AuditActions = []AuditAction{
	AuditRerunJob, AuditRerunWith, AuditCancelJob, AuditRedeliver, AuditRedeliverMany, AuditCreateBatch, AuditPauseBatch, AuditResumeBatch, AuditCancelBatch,
	AuditPauseQueue, AuditResumeQueue, AuditResumeReceiver, AuditProbeCause, AuditRevokeLinks, AuditRevokeOrgLinks,
}

// AuditLife is how long entries are kept: over a year, as audits are of years.
const AuditLife = 400 * 24 * time.Hour

// NewAudit is an entry of now.
func NewAudit(now time.Time, actor string, action AuditAction, target, filter, reason string, count int64) *AuditEntry {
	now = now.UTC().Truncate(time.Microsecond)
	return &AuditEntry{ID: NewID(), At: now, Actor: actor, Action: action, Reason: reason, Target: target, Filter: clip(filter, maxText), Count: count, ExpiresAt: now.Add(AuditLife)}
}

// AuditOfPause is the entry of a queue's pause switch.
func AuditOfPause(now time.Time, q Queue, paused bool, actor, reason string) *AuditEntry {
	action := AuditResumeQueue
	if paused {
		action = AuditPauseQueue
	}
	return NewAudit(now, actor, action, string(q), "", reason, 1)
}

// AuditOfReceiver is the entry of a receiver that is resumed.
func AuditOfReceiver(now time.Time, orgID, origin, actor, reason string) *AuditEntry {
	return NewAudit(now, actor, AuditResumeReceiver, orgID+" "+origin, "", reason, -1)
}

// Check says what is wrong with an entry, "" for nothing.
func (e *AuditEntry) Check(now time.Time) string {
	c := &checks{now: now}
	for name, s := range map[string]string{"actor": e.Actor, "action": string(e.Action), "reason": e.Reason, "target": e.Target, "filter": e.Filter} {
		c.text(name, s, maxText)
	}
	c.that(e.At.After(earliest), "at is missing")
	c.happened("at", e.At)
	c.that(e.Count >= -1 && e.Count <= maxCount, "count is %d", e.Count)
	return c.what
}

// Audited has the act that a transaction carries out written down with it.
func (tx *Tx) Audited(action AuditAction, reason string) {
	tx.Audit = NewAudit(tx.Now, tx.Actor, action, tx.Job.ID, "", reason, 1)
}

// Audited is as that of Tx.
func (tx *CallbackTx) Audited(action AuditAction, reason string) {
	tx.Audit = NewAudit(tx.Now, tx.Actor, action, tx.Callback.ID, "", reason, 1)
}

// Audited is as that of Tx.
func (tx *BatchTx) Audited(action AuditAction, actor, reason string) {
	tx.Audit = NewAudit(tx.Now, actor, action, tx.Batch.ID, "", reason, -1)
}

// AuditList selects entries, latest first. Empty fields select all.
type AuditList struct {
	Actor, Target string
	Action        AuditAction
	Since, Until  time.Time
	PageSize      int // at most 100, which is also the default
	PageToken     string
}
