package jobs

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// CallbackState is where the delivery of one event stands.
type CallbackState string

// The states of a delivery. Pending has a next attempt, the others have ended.
const (
	CallbackPending   CallbackState = "pending"
	CallbackDelivered CallbackState = "delivered"
	CallbackExhausted CallbackState = "exhausted" // the whole schedule failed
	CallbackBlocked   CallbackState = "blocked"   // the destination is refused, or the key was revoked
	CallbackGone      CallbackState = "gone"      // the receiver answered 410
	CallbackSuspended CallbackState = "suspended" // nothing is sent to the receiver at present
	CallbackDropped   CallbackState = "dropped"   // the job was deleted by its owner
	CallbackDamaged   CallbackState = "damaged"   // its record makes no sense
)

// CallbackStates lists them.
var CallbackStates = []CallbackState{CallbackPending, CallbackDelivered, CallbackExhausted, CallbackBlocked, CallbackGone, CallbackSuspended, CallbackDropped, CallbackDamaged}

// Callback is the delivery of one ended run of a job to its callback URL. Only the methods of CallbackTx
// change it.
type Callback struct {
	// ID is the webhook-id, the same for every attempt and redelivery.
	ID     string `firestore:"-"`
	Damage string `firestore:"-"` // as Job.Damage
	Schema int    `firestore:"schema"`
	Rev    string `firestore:"rev"` // as Job.Rev

	JobID      string `firestore:"jobId"`
	JobAttempt int    `firestore:"jobAttempt"` // the attempt that ended the run
	OrgID      string `firestore:"orgId"`
	KeyID      string `firestore:"keyId"`
	RequestID  string `firestore:"requestId,omitempty"` // of the job's request
	URL        string `firestore:"url"`                 // may carry a token in its query: not for logs
	Origin     string `firestore:"origin"`              // scheme, host and port of URL

	// What happened. It is kept here because a rerun clears it from the job.
	Event         string    `firestore:"event"`     // "export.succeeded", "export.failed" or "export.canceled"
	CreatedAt     time.Time `firestore:"createdAt"` // when the run ended
	Rows          int64     `firestore:"rows"`
	Object        string    `firestore:"object,omitempty"` // the file, of a run that succeeded
	FileExpiresAt time.Time `firestore:"fileExpiresAt,omitempty"`
	Error         *JobError `firestore:"error"`

	State CallbackState `firestore:"state"`
	// NextAt is when the next attempt is due; zero once the delivery has ended.
	NextAt time.Time `firestore:"nextAt,omitempty"`
	// WakeAt is when somebody must look at the delivery; zero once it has ended.
	WakeAt time.Time `firestore:"wakeAt,omitempty"`
	Shard  int       `firestore:"shard"` // as ShardOf
	Lease  Lease     `firestore:"lease"`
	// Attempt counts attempts begun, all of them. Schedule counts those that spent a place of the schedule,
	// which a redelivery by hand starts again.
	Attempt  int `firestore:"attempt"`
	Schedule int `firestore:"schedule"`
	// Interruptions counts attempts in a row of which nobody knows how they ended.
	Interruptions int `firestore:"interruptions"`
	// Forced: a person asked for the next attempt, so it is made even if the receiver is suspended.
	Forced bool `firestore:"forced"`
	// BatchID is the batch that sent it again last.
	BatchID  string            `firestore:"batchId,omitempty"`
	Attempts []CallbackAttempt `firestore:"tries"` // the last MaxAttemptsKept
	LastCode int               `firestore:"lastCode"`
	// Scenario is that of the job, "" outside a sandbox.
	Scenario string `firestore:"scenario,omitempty"`
	// CauseID is the Cause.ID of why it has ended undelivered.
	CauseID  string    `firestore:"cause,omitempty"`
	LapsesAt time.Time `firestore:"exportLapsesAt,omitempty"` // as Part.LapsesAt
}

// Copy shares nothing with the delivery that a transition changes.
func (cb *Callback) Copy() *Callback {
	again := *cb
	again.Attempts = slices.Clone(cb.Attempts)
	return &again
}

// MaxAttemptsKept bounds the attempts that a callback document remembers: the whole schedule of 10 and a few
// redeliveries at up to 2 KiB of answer each stay far below 1 MiB.
const MaxAttemptsKept = 30

// CallbackLease is how long a claimed delivery belongs to its worker: four times what a try may take, so that
// it needs no renewal.
const CallbackLease = time.Minute

// Classes of attempts that got no answer to record. The others are those of package webhook.
const (
	AttemptUnderWay    = "attempting"  // written before anything is sent
	AttemptInterrupted = "interrupted" // the worker went away; the receiver may have got it
	AttemptKeyRevoked  = "key_revoked" // the API key that asked is disabled or gone
)

// CallbackAttempt is one request to the receiver.
type CallbackAttempt struct {
	At     time.Time `firestore:"at" json:"at"`
	Millis int64     `firestore:"millis" json:"durationMs"`
	Class  string    `firestore:"class" json:"class"`
	// Status is the HTTP status, 0 if there was no answer.
	Status int `firestore:"status" json:"status,omitempty"`
	// Response is the start of the answer's body, at most 2 KiB. A stranger wrote it.
	Response string    `firestore:"response,omitempty" json:"response,omitempty"`
	NextAt   time.Time `firestore:"nextAt,omitempty" json:"nextAt,omitzero"`
}

// CallbackID is the webhook-id of an ended run of a job. The epoch tells runs apart, also those that were
// canceled before any claim and have the same attempt.
func CallbackID(j *Job) string {
	return "msg_" + j.ID + "_" + string(j.State) + "_" + strconv.FormatInt(j.Epoch, 10)
}

// ValidCallbackID reports whether id can be what CallbackID gives, before it becomes part of a document path.
func ValidCallbackID(id string) bool {
	parts := strings.Split(id, "_")
	if len(parts) != 4 || parts[0] != "msg" || !ValidID(parts[1]) || !State(parts[2]).Valid() {
		return false
	}
	n, err := strconv.Atoi(parts[3])
	return err == nil && n >= 0 && strconv.Itoa(n) == parts[3]
}

// callbackGrace is how long whoever ended the run has to notify, before the rescuer does.
const callbackGrace = 2 * time.Second

func newCallback(j *Job, p Policy, now time.Time) *Callback {
	cb := &Callback{
		ID: CallbackID(j), Schema: OldestSchema, JobID: j.ID, JobAttempt: j.Attempt, OrgID: j.OrgID, KeyID: j.KeyID, RequestID: j.RequestID,
		URL: j.CallbackURL, Origin: OriginOf(j.CallbackURL),
		Event: "export." + string(j.State), CreatedAt: now, Rows: j.Result.FileRows(), Object: j.Result.Object, FileExpiresAt: j.FileExpiresAt, Error: j.Error,
		State: CallbackPending, NextAt: now, WakeAt: now.Add(callbackGrace), Shard: ShardOf(j.ID), Scenario: string(j.Scenario()),
	}
	if j.Scenario() == ScenarioLateCallback {
		cb.NextAt = now.Add(p.scenarios().Late)
		cb.WakeAt = cb.NextAt
	}
	return cb
}

// OriginOf cuts a normalised URL before its path.
func OriginOf(url string) string {
	scheme, rest, ok := strings.Cut(url, "://")
	if !ok {
		return ""
	}
	host, _, _ := strings.Cut(rest, "/")
	host, _, _ = strings.Cut(host, "?")
	return scheme + "://" + host
}

// CallbackTx is one transaction on a delivery, as Tx is on a job: each method changes Callback and Events
// together, or returns an error and the transaction must be dropped.
type CallbackTx struct {
	Policy   Policy
	Now      time.Time
	Actor    string
	Callback *Callback
	// Events go into the job's timeline with the commit.
	Events []Event
	// Met and Audit are as those of Tx.
	Met   *CauseNote
	Audit *AuditEntry
}

// CallbackResult is how an attempt ended and what follows from it.
type CallbackResult struct {
	Attempt CallbackAttempt
	// State is CallbackPending for another attempt at Attempt.NextAt.
	State CallbackState
	// Unspent: the attempt says nothing about the receiver and leaves the schedule as it was.
	Unspent bool
}

// Due refuses with ErrNotDue a delivery that has ended, waits, or is in somebody's hands.
func (tx *CallbackTx) Due() error {
	if err := tx.check(); err != nil {
		return err
	}
	cb := tx.Callback
	if cb.State != CallbackPending || tx.waits() || tx.held() {
		return fmt.Errorf("callback %s is %s: %w", cb.ID, cb.State, ErrNotDue)
	}
	return nil
}

// Claim begins an attempt and records that, so that it is known even if its end never will be.
func (tx *CallbackTx) Claim(worker string) (Lease, error) {
	if err := tx.Due(); err != nil {
		return Lease{}, err
	}
	cb := tx.Callback
	if cb.Lease.Token != "" {
		tx.interrupted()
	}
	cb.Lease = Lease{Token: NewToken(), Owner: worker, Until: tx.Now.Add(CallbackLease)}
	cb.WakeAt = tx.leaseWake()
	cb.Attempt++
	cb.Schedule++
	cb.Attempts = append(cb.Attempts, CallbackAttempt{At: tx.Now, Class: AttemptUnderWay})
	cb.Attempts = cb.Attempts[max(0, len(cb.Attempts)-MaxAttemptsKept):]
	return cb.Lease, nil
}

// interrupted notes that a worker went away during its attempt. The attempt does not spend the schedule,
// unless that happened so often in a row that the delivery itself may be what kills workers.
func (tx *CallbackTx) interrupted() {
	cb := tx.Callback
	cb.Interruptions++
	if cb.Interruptions <= tx.Policy.MaxInterruptions {
		cb.Schedule--
	}
	tx.lastAttempt().Class = AttemptInterrupted
}

// Record ends the attempt that the lease is for.
func (tx *CallbackTx) Record(l Lease, r CallbackResult) error {
	if err := tx.holds(l); err != nil {
		return err
	}
	cb := tx.Callback
	*tx.lastAttempt() = r.Attempt
	cb.LastCode = r.Attempt.Status
	if r.Unspent { // what was asked for has not been made
		cb.Interruptions++
		if cb.Interruptions <= tx.Policy.MaxInterruptions {
			cb.Schedule--
		}
	} else {
		cb.Interruptions, cb.Forced = 0, false
	}
	if r.State == CallbackDelivered && cb.sentTwice() {
		r.State, r.Attempt.NextAt = CallbackPending, tx.Now.Add(tx.Policy.scenarios().Duplicate)
		tx.lastAttempt().NextAt = r.Attempt.NextAt
		cb.Schedule = 0 // a receiver that fails the second one has the whole schedule again
	}
	if r.State == CallbackPending {
		cb.Lease, cb.NextAt, cb.WakeAt = Lease{}, r.Attempt.NextAt, r.Attempt.NextAt
		return nil
	}
	tx.end(r.State, fmt.Sprintf("%s at attempt %d: %s", r.State, cb.Attempt, r.Attempt.Class))
	return nil
}

// Withdraw ends a delivery whose claimed attempt was not made: the receiver is suspended, or the job was
// deleted.
func (tx *CallbackTx) Withdraw(l Lease, state CallbackState, why string) error {
	if err := tx.holds(l); err != nil {
		return err
	}
	cb := tx.Callback
	cb.Attempt--
	cb.Schedule--
	cb.Attempts = cb.Attempts[:len(cb.Attempts)-1]
	tx.end(state, string(state)+": "+why)
	return nil
}

// Note adds a line to the job's timeline.
func (tx *CallbackTx) Note(message string) error {
	if err := tx.check(); err != nil {
		return err
	}
	tx.event(message, "")
	return nil
}

// Redeliver begins the schedule again, with the same id and now, whatever came before. ErrTransition while an
// attempt is under way.
func (tx *CallbackTx) Redeliver(reason string) error {
	if err := tx.check(); err != nil {
		return err
	}
	if err := tx.restart(reason); err != nil {
		return err
	}
	tx.Callback.Forced = true
	return nil
}

// Unsuspend does the same for a delivery that ended because its receiver was suspended; its first attempt is
// none that a person asked for. ErrTransition for any other.
func (tx *CallbackTx) Unsuspend(reason string) error {
	if err := tx.check(); err != nil {
		return err
	}
	if tx.Callback.State != CallbackSuspended {
		return fmt.Errorf("callback %s is %s: %w", tx.Callback.ID, tx.Callback.State, ErrTransition)
	}
	return tx.restart(reason)
}

func (tx *CallbackTx) restart(reason string) error {
	cb := tx.Callback
	if tx.held() {
		return fmt.Errorf("an attempt of callback %s is under way: %w", cb.ID, ErrTransition)
	}
	if cb.Lease.Token != "" {
		tx.interrupted()
	}
	from := cb.State
	if from == CallbackDamaged {
		return fmt.Errorf("the record of callback %s is damaged: %w", cb.ID, ErrTransition)
	}
	cb.State, cb.Lease, cb.NextAt, cb.WakeAt = CallbackPending, Lease{}, tx.Now, tx.Now
	cb.Schedule, cb.Interruptions, cb.CauseID = 0, 0, ""
	tx.event("redelivered from "+string(from), reason)
	return nil
}

// Wake does what is due for a delivery whose WakeAt has passed and says whether to notify it. Whatever it
// says, WakeAt is in the future after it, or zero.
func (tx *CallbackTx) Wake() (notify bool, err error) {
	if err := tx.check(); err != nil {
		return false, err
	}
	cb := tx.Callback
	switch {
	case cb.State != CallbackPending:
		cb.WakeAt = time.Time{}
		return false, nil
	case !cb.WakeAt.IsZero() && tx.Now.Before(cb.WakeAt) && !tx.overslept():
		return false, nil
	case tx.held():
		cb.WakeAt = tx.leaseWake()
		return false, nil
	case tx.waits():
		cb.WakeAt = cb.NextAt
		return false, nil
	}
	// It may wait for a place at its host: not to be notified one by one every NotifyAgain. At 5 minutes,
	// 20,000 that wait are 63 duties a second, of the hundreds that a rescuer has time for.
	cb.WakeAt = tx.Now.Add(tx.Policy.NotifyAgain + min(max(tx.Now.Sub(cb.NextAt), 0)/4, maxNotifyPause))
	return true, nil
}

func (tx *CallbackTx) end(state CallbackState, message string) {
	cb := tx.Callback
	cb.State, cb.Lease, cb.NextAt, cb.WakeAt, cb.Forced = state, Lease{}, time.Time{}, time.Time{}, false
	tx.blame()
	tx.event(message, "")
}

func (tx *CallbackTx) event(message, reason string) {
	tx.Events = append(tx.Events, Event{
		At: tx.Now, Type: EventCallback, Actor: tx.Actor, Attempt: tx.Callback.JobAttempt, Part: -1, Message: message, Reason: reason, LapsesAt: tx.Policy.LapsesAt(tx.Now),
	})
}

// lastAttempt is the attempt that the present lease is for.
func (tx *CallbackTx) lastAttempt() *CallbackAttempt {
	return &tx.Callback.Attempts[len(tx.Callback.Attempts)-1]
}

// held reports whether the lease is somebody's.
func (tx *CallbackTx) held() bool {
	l := tx.Callback.Lease
	return l.Token != "" && Held(l.Until, tx.Now, CallbackLease, tx.Policy.Skew)
}

func (tx *CallbackTx) leaseWake() time.Time {
	return tx.Callback.Lease.Until.Add(tx.Policy.Skew + time.Second)
}

func (tx *CallbackTx) holds(l Lease) error {
	if err := tx.check(); err != nil {
		return err
	}
	if l.Token == "" || tx.Callback.Lease.Token != l.Token {
		return fmt.Errorf("callback %s: %w", tx.Callback.ID, ErrLeaseLost)
	}
	return nil
}

// check refuses what this version must not touch.
func (tx *CallbackTx) check() error {
	cb := tx.Callback
	if foreign(cb.Schema) {
		return fmt.Errorf("callback %s has schema %d, this is %d: %w", cb.ID, cb.Schema, SchemaVersion, ErrUnknownSchema)
	}
	if err := cb.Check(tx.Now); err != nil {
		return err
	}
	cb.Shard = ShardOf(cb.JobID)
	if cb.LapsesAt.Before(earliest) && !cb.LapsesAt.IsZero() { // the database would delete it before it is sent
		cb.LapsesAt = tx.Policy.LapsesAt(tx.Now)
	}
	return nil
}
