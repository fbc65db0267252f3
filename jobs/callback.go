package jobs

import (
	"strconv"
	"time"
)

// CallbackState is where the delivery of one event stands.
type CallbackState string

// The states of a delivery: pending has a next attempt at WakeAt, the others have ended.
const (
	CallbackPending   CallbackState = "pending"
	CallbackDelivered CallbackState = "delivered"
	CallbackExhausted CallbackState = "exhausted"
	CallbackBlocked   CallbackState = "blocked"
	CallbackGone      CallbackState = "gone"
	CallbackSuspended CallbackState = "suspended"
)

// Callback is the delivery of one ended run of a job to its callback URL. Its ID is the
// webhook-id, the same for every try.
type Callback struct {
	ID     string `firestore:"-"`
	Schema int    `firestore:"schema"`
	JobID  string `firestore:"jobId"`
	OrgID  string `firestore:"orgId"`
	KeyID  string `firestore:"keyId"`
	URL    string `firestore:"url"`
	// Event is "export.succeeded", "export.failed" or "export.canceled".
	Event     string        `firestore:"event"`
	CreatedAt time.Time     `firestore:"createdAt"`
	State     CallbackState `firestore:"state"`
	// Attempt counts tries begun; Schedule counts those since the last redelivery by hand.
	Attempt  int `firestore:"attempt"`
	Schedule int `firestore:"schedule"`
	// WakeAt is when the next try is due; zero once the delivery has ended.
	WakeAt   time.Time         `firestore:"wakeAt,omitempty"`
	Lease    Lease             `firestore:"lease"`
	Tries    []CallbackAttempt `firestore:"tries"` // the last MaxTries
	LastCode int               `firestore:"lastCode"`
	Rev      string            `firestore:"rev"` // as Job.Rev
}

// MaxTries bounds the tries that a callback document remembers: the whole schedule of 10
// and a few redeliveries at up to 2 KiB of answer each stay far below 1 MiB.
const MaxTries = 30

// CallbackAttempt is one try.
type CallbackAttempt struct {
	At       time.Time `firestore:"at" json:"at"`
	Millis   int64     `firestore:"millis" json:"durationMs"`
	Class    string    `firestore:"class" json:"class"`
	Status   int       `firestore:"status" json:"status,omitempty"`
	Response string    `firestore:"response,omitempty" json:"response,omitempty"`
	NextAt   time.Time `firestore:"nextAt,omitempty" json:"nextAt,omitzero"`
}

// CallbackID is the webhook-id of the run of a job that ended at attempt.
func CallbackID(j *Job) string {
	return "msg_" + j.ID + "_" + string(j.State) + "_" + strconv.Itoa(j.Attempt)
}

func newCallback(j *Job, now time.Time) *Callback {
	return &Callback{
		ID: CallbackID(j), Schema: SchemaVersion, JobID: j.ID, OrgID: j.OrgID, KeyID: j.KeyID, URL: j.CallbackURL,
		Event: "export." + string(j.State), CreatedAt: now, State: CallbackPending, WakeAt: now,
	}
}
