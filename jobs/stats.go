package jobs

import "time"

// Stats is the state of the whole system, counted from indexes.
type Stats struct {
	States     map[State]int64
	ErrorCodes map[Code]int64 // of failed jobs; codes that none has are left out
	// OldestQueuedAt is when the job that has waited longest was accepted; zero if none waits.
	OldestQueuedAt time.Time
	// PendingCallbacks are deliveries that have not ended, and OldestPendingAt when the export of the oldest
	// did; zero if there is none.
	PendingCallbacks int64
	OldestPendingAt  time.Time
	Workers          []string
	Paused           map[Queue]Pause
	DeadLetters      map[Queue]DeadLetters
	// Partitions are who does what is due, for all shards. One without an owner is looked after by nobody,
	// and should have been taken within half a minute.
	Partitions []Partition
}

// DeadLetters are the messages of a queue that no code could handle.
type DeadLetters struct {
	Count  int64
	Reason string // of the last
	At     time.Time
}

// CallbackList selects deliveries, newest first. Empty fields select all.
type CallbackList struct {
	OrgID, Origin string
	State         CallbackState
	Cause         string    // a Cause.ID
	CreatedAfter  time.Time // inclusive
	CreatedBefore time.Time // exclusive
	PageSize      int       // at most 100, which is also the default
	// PageToken is what the page before gave as next.
	PageToken string
}
