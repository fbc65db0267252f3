package jobs

import (
	"cmp"
	"time"
)

// IdempotencyLife is how long an Idempotency-Key gives the same job, as the contract says.
const IdempotencyLife = 24 * time.Hour

// Fingerprint is that of the request.
func (s *Submission) Fingerprint() string {
	return Fingerprint(s.OrgID, s.Kind, ColumnsVersion(s.Columns), s.Params)
}

// ColumnsVersion is the version of a dataset's columns that a document says: the first where it says none.
func ColumnsVersion(n int) int { return max(n, 1) }

// NewJob is the job of a request, under an id that NewID gave.
func NewJob(id string, s *Submission, p Policy, now time.Time) *Job {
	now = now.UTC().Truncate(time.Microsecond)
	return &Job{
		ID: id, Schema: OldestSchema, Rev: NewToken(), OrgID: s.OrgID, KeyID: s.KeyID, RequestID: s.RequestID, Trace: s.Trace,
		Kind: s.Kind, Params: s.Params, Columns: s.Columns, Fingerprint: s.Fingerprint(), State: Queued,
		CreatedAt: now, WakeAt: now.Add(p.NotifyAgain), Shard: ShardOf(id), CallbackURL: s.CallbackURL,
		Lapses: true, RerunOf: s.rerunOf(), Base: s.Base,
	}
}

// Makes says why a new job cannot be made of the request; it may still be given one that is there.
func (s *Submission) Makes() error {
	if s.Params.Since() != "" && s.Base == nil {
		return ErrNoBase
	}
	return nil
}

// RerunWith is a job run again with other parameters, as a job of its own that has its org, key and callback.
type RerunWith struct {
	Of            string // the job
	Actor, Reason string // of who did it
	Changes       string // the parameters that are others, in words
}

func (s *Submission) rerunOf() string {
	if s.Rerun == nil {
		return ""
	}
	return s.Rerun.Of
}

// Record is what the commit that makes the job writes down with it: who ran which job again as this, and why.
// Of what a caller asked for, that is nothing: the job tells.
func (s *Submission) Record(j *Job, p Policy) ([]Event, *AuditEntry) {
	r := s.Rerun
	if r == nil {
		return nil, nil
	}
	changes := cmp.Or(r.Changes, "the same parameters")
	audit := NewAudit(j.CreatedAt, r.Actor, AuditRerunWith, r.Of, "as "+j.ID+" with "+changes, r.Reason, 1)
	return []Event{{At: j.CreatedAt, Type: EventRerun, Actor: r.Actor, Part: -1, Message: clip("job "+r.Of+" with "+changes, maxText), Reason: r.Reason, LapsesAt: p.LapsesAt(j.CreatedAt)}}, audit
}

// Shared reports whether equal requests get the job now: it is alive, or has succeeded at most reuseFor ago.
func (j *Job) Shared(now time.Time, reuseFor time.Duration) bool {
	if foreign(j.Schema) || !j.DeletedAt.IsZero() {
		return false
	}
	switch j.State {
	case Queued, Running:
		return true
	case Succeeded:
		return now.Sub(j.FinishedAt) <= reuseFor && now.Before(j.FileExpiresAt)
	}
	return false
}

// Submission is a request for an export, validated.
type Submission struct {
	OrgID, KeyID, RequestID string
	Kind                    Kind
	Params                  Params
	Columns                 int // the version of the dataset's columns
	CallbackURL             string
	Trace                   string // as Job.Trace
	// IdempotencyKey, when not empty, gives the same job for the same key for 24 h, as far as Attaches
	// allows.
	IdempotencyKey string
	// Implied: the caller named no key; an exact duplicate of the request implies the same.
	Implied bool
	// Fresh asks for a new job even where one could be shared (Cache-Control: no-cache).
	Fresh bool
	// Except is a job that is not given, whatever leads to it: its file is lost.
	Except string
	// Base is the file that Params' since leads to.
	Base *Whole
	// Budget, of a key that has one, is what a new job asks of it.
	Budget *BudgetRequest
	// Rerun, if it is one, says of which job.
	Rerun *RerunWith
}

// Attaches reports whether the job that an equal idempotency key gave before is the answer: not one whose
// file is gone, of which nothing is left to give. How a job failed, or that it was canceled, is an answer to
// whoever named the key; somebody who only sends the same request again wants an export.
func (s *Submission) Attaches(j *Job, now time.Time) bool {
	switch {
	case !j.DeletedAt.IsZero(), j.State == Expired, j.State == Succeeded && !now.Before(j.FileExpiresAt):
		return false
	case j.State == Failed, j.State == Canceled:
		return !s.Implied
	}
	return true
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
