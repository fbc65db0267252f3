package records

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"exportd/internal/backoff"
	"exportd/jobs"
)

// What can be wrong with a read. Errors of this package are a *jobs.Failure (code, class, remedy) around one
// of these; test with errors.Is. A missing document is jobs.ErrNotFound, and an ended context its own error.
var (
	// ErrMissingIndex: the query has no index, or its index is still being built. The remedy has Firestore's
	// own text with the link that makes it.
	ErrMissingIndex = errors.New("query requires an index")
	// ErrSnapshotTooOld: the read time is no longer kept.
	ErrSnapshotTooOld = errors.New("snapshot is too old")
	// ErrPermission: the service account may not read.
	ErrPermission = errors.New("reading is not permitted")
	// ErrOrder: rows came out of order or twice, so that a file of them could not be trusted.
	ErrOrder = errors.New("rows out of order")
)

// transient reports whether the same call may work a little later. Errors that are not the transport's
// (malformed bytes, say) would only come again.
func transient(err error) bool {
	s, ok := status.FromError(err)
	if !ok {
		return false
	}
	switch s.Code() {
	case codes.Unavailable, codes.Internal, codes.DeadlineExceeded, codes.ResourceExhausted,
		codes.Aborted, codes.Canceled, codes.Unknown:
		return true
	}
	return false
}

// classify says what an error of the server means. err is the cause of what it returns.
func classify(ctx context.Context, op string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", op, context.Cause(ctx))
	}
	if _, ok := errors.AsType[*jobs.Failure](err); ok {
		return err
	}
	text := status.Convert(err).Message()
	fail := func(code jobs.Code, class jobs.Class, message, remedy string, kind error) *jobs.Failure {
		return jobs.Fail(code, class, message, remedy, fmt.Errorf("%s: %w: %w", op, kind, err))
	}
	switch code := status.Code(err); {
	case errors.Is(err, jobs.ErrNotFound):
		return fmt.Errorf("%s: %w", op, err)
	case errors.Is(err, ErrOrder):
		return jobs.Fail(jobs.CodeInternal, jobs.Transient, "the source answered rows out of order",
			"run the export again; if it stays, the source database is at fault", fmt.Errorf("%s: %w", op, err))
	case code == codes.FailedPrecondition && strings.Contains(text, "currently building"):
		return fail(jobs.CodeMissingIndex, jobs.Transient, "an index that the export needs is being built",
			"wait until the index is ready: "+text, ErrMissingIndex).About(indexIn(text))
	case code == codes.FailedPrecondition && strings.Contains(text, "index"):
		return fail(jobs.CodeMissingIndex, jobs.Permanent, "the source database lacks an index that the export needs",
			"deploy deployments/firestore.indexes.json, then run the job again. Firestore says: "+text, ErrMissingIndex).About(indexIn(text))
	case (code == codes.FailedPrecondition || code == codes.InvalidArgument) && isTooOld(text):
		return fail(jobs.CodeSnapshotTooOld, jobs.Stale, "the snapshot of the export can no longer be read",
			"run the job again in mode fresh; with point-in-time recovery snapshots live 7 days", ErrSnapshotTooOld)
	case code == codes.PermissionDenied || code == codes.Unauthenticated:
		return fail(jobs.CodeSourceDenied, jobs.Permanent, "the source database may not be read",
			"give the service account the role roles/datastore.viewer on the source project", ErrPermission).About(text)
	case code == codes.NotFound:
		return fail(jobs.CodeSourceDenied, jobs.Permanent, "the source database was not found",
			"check the configured project and database", jobs.ErrNotFound)
	case transient(err):
		return fail(jobs.CodeUnavailable, jobs.Transient, "the source database was unavailable",
			"the job is tried again by itself", jobs.ErrUnavailable)
	}
	return jobs.Fail(jobs.CodeInternal, jobs.Permanent, "the source database refused the read",
		"see the worker's log for this job id", fmt.Errorf("%s: %w", op, err))
}

// isTooOld: the texts are production's and the embedded server's; a read time between one hour and seven days
// that is not a whole minute is refused as invalid, with a text that names read_time.
func isTooOld(text string) bool {
	text = strings.ToLower(text)
	return strings.Contains(text, "too old") || strings.Contains(text, "read_time") || strings.Contains(text, "read time")
}

// maxAttempts bounds how often in a row a read is tried without getting anywhere: with pauses of 0.1 s
// doubling to 5 s about 11 s, after which the job's own retry, minutes long, is the better place to wait.
const (
	maxAttempts = 8
	maxPause    = 5 * time.Second
)

// retry calls do until it works, fails for good, or maxAttempts is reached.
func (r *Reader) retry(ctx context.Context, op string, do func(ctx context.Context) error) error {
	pauses := backoff.Doubling(r.backoff, maxPause)
	for n := 1; ; n++ {
		err := do(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil || !transient(err) || n == maxAttempts {
			return classify(ctx, op, err)
		}
		if err := pauses.Wait(ctx); err != nil {
			return fmt.Errorf("%s: %w", op, err)
		}
	}
}
