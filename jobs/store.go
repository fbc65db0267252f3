package jobs

import "time"

// Submission is a request for an export, validated.
type Submission struct {
	OrgID, KeyID, RequestID string
	Kind                    Kind
	Params                  Params
	Columns                 int // the version of the dataset's columns
	CallbackURL             string
	Trace                   string // as Job.Trace
	// IdempotencyKey, when not empty, gives the same job for the same key for 24 h, as far as
	// Attaches allows.
	IdempotencyKey string
	// Implied: the caller named no key; an exact duplicate of the request implies the same.
	Implied bool
	// Fresh asks for a new job even where one could be shared (Cache-Control: no-cache).
	Fresh bool
	// Not is a job that is not given, whatever leads to it: its file is lost.
	Not string
}

// Attaches reports whether the job that an equal idempotency key gave before is the answer: not
// one whose file is gone, of which nothing is left to give. How a job failed, or that it was
// canceled, is an answer to whoever named the key; somebody who only sends the same request
// again wants an export.
func (s *Submission) Attaches(j *Job, now time.Time) bool {
	switch {
	case !j.DeletedAt.IsZero(), j.State == Expired, j.State == Succeeded && !now.Before(j.FileExpiresAt):
		return false
	case j.State == Failed, j.State == Canceled:
		return !s.Implied
	}
	return true
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
