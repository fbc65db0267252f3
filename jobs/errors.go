package jobs

import (
	"errors"
	"fmt"
)

// Sentinel errors of stores, queues and transitions. Test with errors.Is.
var (
	// ErrNotFound: no such job, part or key.
	ErrNotFound = errors.New("not found")
	// ErrNotDue: the job or part cannot be claimed now: somebody else holds it, it has ended, or it waits for
	// its next attempt. Whoever got the message drops it.
	ErrNotDue = errors.New("nothing to do for this message")
	// ErrLeaseLost: the caller's lease is no longer the current one. Its work counts for nothing; it must
	// stop and remove what it wrote.
	ErrLeaseLost = errors.New("lease lost")
	// ErrTransition: the job's state does not allow the move asked for.
	ErrTransition = errors.New("not possible in this state")
	// ErrUnknownSchema: the document is of a version that this build does not read, and is left alone.
	ErrUnknownSchema = errors.New("of another version of the service")
	// ErrInvalid: the document makes no sense (edited by hand, or damaged).
	ErrInvalid = errors.New("invalid document")
	// ErrUnread: a transition asks for a document that its transaction has not read yet. The store reads all
	// that was asked for and runs the transition again, on the job as it was.
	ErrUnread = errors.New("not read yet")
	// ErrClock: this machine's clock differs from the store's by more than clocks may. By it, whoever has a
	// role would seem gone, and every lease run out or without end.
	ErrClock = errors.New("the clock of this machine is wrong")
	// ErrInterrupted is the cause of a context that ended because the process shuts down.
	ErrInterrupted = errors.New("interrupted by shutdown")
	// ErrTooManyLinks: as many links of a job as its document holds are revoked one by one.
	ErrTooManyLinks = errors.New("too many links are revoked one by one")
	// ErrUncounted: the key has a budget, and nothing says what the export would take of it.
	ErrUncounted = errors.New("not counted yet")
	// ErrUnavailable: a dependency (Firestore, Pub/Sub, Storage) cannot be reached now.
	ErrUnavailable = errors.New("temporarily unavailable")
)

// TransitionError is an ErrTransition that says what the job is.
type TransitionError struct {
	JobID     string
	State, To State
}

// Error says what was asked for.
func (e *TransitionError) Error() string {
	return fmt.Sprintf("job %s is %s, cannot become %s", e.JobID, e.State, e.To)
}

// Is is for errors.Is.
func (e *TransitionError) Is(target error) bool { return target == ErrTransition }

// Unavailable is an ErrUnavailable in words of its own, for what stays away until somebody mends it:
// "temporarily" would be wrong of a subscription that was deleted.
func Unavailable(format string, args ...any) error {
	return unavailable(fmt.Sprintf(format, args...))
}

type unavailable string

func (u unavailable) Error() string { return string(u) }

// Is is for errors.Is.
func (unavailable) Is(target error) bool { return target == ErrUnavailable }

// Class says what an error means for the job.
type Class int

const (
	// Transient: try again after a pause, up to MaxAttempts.
	Transient Class = iota
	// Permanent: no attempt can help until somebody changes something; see Remedy.
	Permanent
	// Interrupted: nobody's fault (shutdown, lost lease); does not spend an attempt.
	Interrupted
	// Stale: the snapshot is no longer readable; start again from a new one.
	Stale
)

// Code names why a job failed, for programs. Values are part of the API.
type Code string

// The codes there are.
const (
	CodeUnavailable    Code = "UNAVAILABLE"
	CodeCountMismatch  Code = "COUNT_MISMATCH"
	CodeMissingIndex   Code = "MISSING_INDEX"
	CodeSnapshotTooOld Code = "SNAPSHOT_TOO_OLD"
	CodeSourceDenied   Code = "SOURCE_PERMISSION_DENIED"
	CodeStorageDenied  Code = "STORAGE_PERMISSION_DENIED"
	CodeStorageQuota   Code = "STORAGE_QUOTA"
	CodeStorageCorrupt Code = "STORAGE_MISMATCH"
	CodeBucketMissing  Code = "BUCKET_MISSING"
	CodePartsMissing   Code = "PARTS_MISSING"
	CodeTooManyRows    Code = "TOO_MANY_ROWS"
	CodeTooManyBytes   Code = "TOO_MANY_BYTES"
	CodeFileLost       Code = "FILE_LOST"
	CodeInvalidJob     Code = "INVALID_JOB"
	CodeDatasetChanged Code = "DATASET_CHANGED"
	CodeInterrupted    Code = "INTERRUPTED_TOO_OFTEN"
	CodeInternal       Code = "INTERNAL"
)

// Codes lists every code.
var Codes = []Code{
	CodeUnavailable, CodeCountMismatch, CodeMissingIndex, CodeSnapshotTooOld, CodeSourceDenied, CodeStorageDenied, CodeStorageQuota,
	CodeStorageCorrupt, CodeBucketMissing, CodePartsMissing, CodeTooManyRows, CodeTooManyBytes, CodeFileLost, CodeInvalidJob, CodeDatasetChanged, CodeInterrupted, CodeInternal,
}

// Failure is an error that knows what it means for a job. Its Message is fit for the caller of the API, its
// Remedy for the operator; the cause is for the log only.
type Failure struct {
	Code    Code
	Class   Class
	Message string
	Remedy  string
	What    string // as Cause.What
	last    bool   // no other attempt is made, though one might work
	cause   error
}

// About says what exactly the failure is about.
func (f *Failure) About(what string) *Failure {
	f.What = clip(what, maxWhat)
	return f
}

// Fail wraps cause as a Failure.
func Fail(code Code, class Class, message, remedy string, cause error) *Failure {
	return &Failure{Code: code, Class: class, Message: message, Remedy: remedy, cause: cause}
}

// Error describes the failure with its cause. Never shown to callers.
func (f *Failure) Error() string {
	if f.cause == nil {
		return fmt.Sprintf("%s: %s", f.Code, f.Message)
	}
	return fmt.Sprintf("%s: %s: %v", f.Code, f.Message, f.cause)
}

// Unwrap gives the cause.
func (f *Failure) Unwrap() error { return f.cause }

// AsFailure finds the Failure in err, or makes a transient one of it: what nobody has classified is worth
// another attempt and ends as INTERNAL when attempts run out.
func AsFailure(err error) *Failure {
	if f, ok := errors.AsType[*Failure](err); ok {
		return f
	}
	switch {
	case errors.Is(err, ErrLeaseLost), errors.Is(err, ErrInterrupted):
		return Fail(CodeInterrupted, Interrupted, "the work was interrupted", "", err)
	case errors.Is(err, ErrUnavailable):
		return Fail(CodeUnavailable, Transient, "a service that the export needs was unavailable", "see readyz of the workers", err)
	}
	return Fail(CodeInternal, Transient, "the export failed unexpectedly", "see the worker's log for this job id", err)
}

// ErrNoBase: there is nothing that the new job's file could tell the changes to.
var ErrNoBase = errors.New("no file to compare with")

// ErrIdempotencyMismatch: the Idempotency-Key was used for another request.
var ErrIdempotencyMismatch = errors.New("idempotency key was used for another request")
