package jobs

import "time"

// Event is one line of a job's timeline, written in the same transaction as what it tells, and kept as long
// as the job's record, or as Policy.LapsesAt says.
type Event struct {
	At   time.Time `firestore:"at"`
	Type EventType `firestore:"type"`
	// Actor is who did it: "api key <id>", "worker <id>", "rescuer <id>".
	Actor   string `firestore:"actor"`
	Attempt int    `firestore:"attempt"`
	// Part is the part it is about, or -1.
	Part    int    `firestore:"part"`
	Code    Code   `firestore:"code,omitempty"`
	Message string `firestore:"message,omitempty"`
	// Reason is what a person gave as theirs.
	Reason string `firestore:"reason,omitempty"`
	// LapsesAt is as Part.LapsesAt.
	LapsesAt time.Time `firestore:"exportLapsesAt,omitempty" json:"-"`
}

// EventType says what happened.
type EventType string

// What can happen to a job.
const (
	// EventSubmitted is not stored: the job itself tells, see Job.Submitted.
	EventSubmitted   EventType = "submitted"
	EventClaimed     EventType = "claimed"
	EventPlanned     EventType = "planned"
	EventRestarted   EventType = "snapshot_restarted"
	EventRetry       EventType = "attempt_failed"
	EventInterrupted EventType = "interrupted"
	EventPartRetry   EventType = "part_failed"
	EventSucceeded   EventType = "succeeded"
	EventFailed      EventType = "failed"
	EventCanceled    EventType = "canceled"
	EventDeleted     EventType = "deleted"
	EventExpired     EventType = "expired"
	EventRerun       EventType = "rerun"
	EventCallback    EventType = "callback"
	// EventLinksRevoked is of the links to the file that the service itself answers.
	EventLinksRevoked EventType = "links_revoked"
)

// eventTypes are those that are stored.
var eventTypes = []EventType{
	EventClaimed, EventPlanned, EventRestarted, EventRetry, EventInterrupted, EventPartRetry, EventSucceeded, EventFailed,
	EventCanceled, EventDeleted, EventExpired, EventRerun, EventCallback, EventLinksRevoked,
}

// Submitted is the first line of a job's timeline, made of the job: it costs no write.
func (j *Job) Submitted() Event {
	e := Event{At: j.CreatedAt, Type: EventSubmitted, Actor: "api key " + j.KeyID, Part: -1}
	if j.RerunOf != "" { // the next line tells by whom
		e.Message = "in the name of this key, as a rerun of job " + j.RerunOf
	}
	return e
}
