package objectstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"cloud.google.com/go/storage"
	"google.golang.org/api/googleapi"

	"exportd/jobs"
)

// Sentinel errors besides those of package jobs; test with errors.Is. Those that say what becomes of a job
// also carry a jobs.Failure.
var (
	// ErrPermission: the account may not do this, or Storage does not know it. Permanent.
	ErrPermission = errors.New("storage permission denied")
	// ErrQuota: a quota is used up or, with the embedded server, the disk is full. Transient.
	ErrQuota = errors.New("storage quota exhausted")
	// ErrMismatch: Storage holds other bytes than were written. Transient.
	ErrMismatch = errors.New("stored bytes differ from those written")
	// ErrUnavailable: Storage did not answer, or not in time, in all tries. Transient; a jobs.ErrUnavailable.
	ErrUnavailable = fmt.Errorf("storage %w", jobs.ErrUnavailable)
)

// errStalled is the cause of a context that ended because no byte moved for Config.StallTimeout.
var errStalled = errors.New("no progress")

// retryable widens the client's own rule to every way a connection can break: it misses, for one, an answer
// that was cut inside its header. And it takes 507 out: a disk that is full stays full for the few seconds
// that the client would try again, and the job's retries wait longer.
func retryable(err error) bool {
	if code := status(err); code != 0 {
		return code != http.StatusInsufficientStorage && storage.ShouldRetry(err)
	}
	return !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) && (isNetwork(err) || storage.ShouldRetry(err))
}

// status is the HTTP status in err, or 0.
func status(err error) int {
	if e, ok := errors.AsType[*googleapi.Error](err); ok {
		return e.Code
	}
	return 0
}

// explain says what err means. ctx is that of the call: when a caller's cancellation is the reason, its cause
// stays visible, and only the store's own deadlines count as unavailability.
func (s *Store) explain(ctx context.Context, op, name string, err error) error {
	wrap := func(meaning error) error { return fmt.Errorf("%s %s: %w", op, name, meaning) }
	cause := context.Cause(ctx)
	if cause != nil && !errors.Is(cause, errStalled) && !errors.Is(cause, context.DeadlineExceeded) {
		return wrap(errors.Join(cause, err))
	}
	both := func(sentinel error) error { return fmt.Errorf("%w: %w", sentinel, err) }
	code := status(err)
	switch {
	case errors.Is(err, storage.ErrObjectNotExist), errors.Is(err, storage.ErrBucketNotExist), code == http.StatusNotFound:
		return wrap(both(jobs.ErrNotFound))
	case code == http.StatusPreconditionFailed:
		return wrap(both(jobs.ErrExists))
	case code == http.StatusInsufficientStorage, code == http.StatusForbidden && isQuota(err):
		return wrap(jobs.Fail(jobs.CodeStorageQuota, jobs.Transient, "the storage for export files is full or over its quota",
			"free space, or raise the bucket project's quota", both(ErrQuota)).About("bucket " + s.cfg.Bucket))
	case code == http.StatusForbidden, code == http.StatusUnauthorized:
		return wrap(jobs.Fail(jobs.CodeStorageDenied, jobs.Permanent, "the storage for export files denied access",
			"give the service account roles/storage.objectUser on the bucket, and for download links roles/iam.serviceAccountTokenCreator on itself", both(ErrPermission)).About(permissionIn(err) + " on bucket " + s.cfg.Bucket))
	case errors.Is(err, ErrUnavailable):
		return wrap(err)
	case cause != nil, isNetwork(err), storage.ShouldRetry(err):
		return wrap(both(ErrUnavailable))
	}
	return wrap(err)
}

// missing finds out whether it was the bucket that a call did not find, which Storage tells only in prose.
// Listing needs no permission that work with objects does not need anyway.
func (s *Store) missing(ctx context.Context, err error) error {
	if !errors.Is(err, jobs.ErrNotFound) || !errors.Is(s.Ping(context.WithoutCancel(ctx)), jobs.ErrNotFound) {
		return err
	}
	return jobs.Fail(jobs.CodeBucketMissing, jobs.Transient, "the storage for export files is not there",
		"make the bucket that EXPORTD_BUCKET names again (exportd setup), then rerun the job", fmt.Errorf("%w: %w", jobs.ErrNoBucket, err)).About("bucket " + s.cfg.Bucket)
}

// permissions are as Storage names what is missing.
var permissions = regexp.MustCompile(`\b(storage|iam)\.[a-zA-Z]+\.[a-zA-Z]+\b`)

// permissionIn names the permission that a refusal says is missing.
func permissionIn(err error) string { return cmp.Or(permissions.FindString(err.Error()), "access") }

// isQuota looks for the reason in the body, because the client decodes it for some calls only.
func isQuota(err error) bool {
	e, ok := errors.AsType[*googleapi.Error](err)
	if !ok {
		return false
	}
	for _, reason := range []string{"quotaExceeded", "rateLimitExceeded", "userRateLimitExceeded", "dailyLimitExceeded"} {
		if strings.Contains(e.Body, strconv.Quote(reason)) {
			return true
		}
	}
	return false
}

func isNetwork(err error) bool {
	_, ok := errors.AsType[net.Error](err)
	return ok || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.ErrClosedPipe) || errors.Is(err, context.DeadlineExceeded)
}

func mismatch(name string, got jobs.Object, size int64, crc uint32) error {
	return fmt.Errorf("write %s: %w", name, jobs.Fail(jobs.CodeStorageCorrupt, jobs.Transient, "the file in storage is not the one that was written", "",
		fmt.Errorf("%w: storage has %d bytes with CRC32C %08x, written were %d with %08x", ErrMismatch, got.Size, got.CRC32C, size, crc)))
}
