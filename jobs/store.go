package jobs

import "time"

// Submission is a request for an export, validated.
type Submission struct {
	OrgID, KeyID, RequestID string
	Kind                    Kind
	Params                  Params
	CallbackURL             string
	// IdempotencyKey, when not empty, gives the same job for the same key for 24 h.
	IdempotencyKey string
	// Fresh asks for a new job even where one could be shared (Cache-Control: no-cache).
	Fresh bool
	// Not is a job that is not given, whatever leads to it: its file is lost.
	Not string
}

// Limits bound what one org may have going. 0 is no bound.
type Limits struct {
	RunningJobs int
	QueuedJobs  int
	Rows        int64
	Bytes       int64
}

// Submitted is what became of a Submission.
type Submitted struct {
	Job *Job
	// Reused: the job was there before, made by an equal request.
	Reused bool
}

// QueueFullError refuses a Submission: the org has as many queued jobs as it may.
type QueueFullError struct {
	Limit      int
	RunningIDs []string
}

// Error says what is full.
func (e *QueueFullError) Error() string { return "too many queued exports" }

// List selects jobs, newest first. Empty fields select all.
type List struct {
	OrgID, WorkspaceID string
	State              State
	Kind               Kind
	ErrorCode          Code
	CreatedAfter       time.Time // inclusive
	CreatedBefore      time.Time // exclusive
	IncludeDeleted     bool
	PageSize           int
	// PageToken is what the page before gave as Next.
	PageToken string
}

// JobPage is one page of a List; Next is empty on the last.
type JobPage struct {
	Jobs []*Job
	Next string
}
