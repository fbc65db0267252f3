package firestoreserver

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"exportd/internal/localcloud/firestoreserver/fsindex"
	"exportd/internal/localcloud/firestoreserver/fsstore"
)

// Answers whose text clients have been seen to depend on.
var (
	errTooOld        = status.Error(codes.FailedPrecondition, "The requested snapshot version is too old.")
	errFuture        = status.Error(codes.InvalidArgument, "The requested 'read_time' cannot be in the future.")
	errBadTxn        = status.Error(codes.InvalidArgument, "Invalid transaction.")
	errExpiredTxn    = status.Error(codes.InvalidArgument, "The referenced transaction has expired or is no longer valid.")
	errContention    = status.Error(codes.Aborted, "Too much contention on these documents. Please try again.")
	errReadOnlyTxn   = status.Error(codes.InvalidArgument, "Cannot modify entities in a read-only transaction")
	errStreamTooLong = status.Error(codes.Unavailable, "The datastore operation timed out, or the data was temporarily unavailable.")
	errNoIndex       = status.Error(codes.FailedPrecondition, "no matching index found.")
	errClosing       = status.Error(codes.Unavailable, "The server is shutting down.")
	errTooLarge      = status.Error(codes.InvalidArgument, "Request payload size exceeds the limit: 10485760 bytes.")
)

func invalid(format string, args ...any) error {
	return status.Errorf(codes.InvalidArgument, format, args...)
}

// answer turns an error of the store into what the caller sees. Statuses pass, without what was joined to
// them: the text of a status that is wrapped begins with "rpc error" again.
func (s *Server) answer(err error) error {
	if err == nil {
		return nil
	}
	var said interface{ GRPCStatus() *status.Status }
	if errors.As(err, &said) {
		return said.GRPCStatus().Err()
	}
	var missing *fsindex.MissingError
	switch {
	case errors.Is(err, fsstore.ErrTooOld):
		return errTooOld
	case errors.Is(err, fsstore.ErrFuture):
		return errFuture
	case errors.Is(err, fsstore.ErrClosed):
		return errClosing
	case errors.As(err, &missing):
		return status.Error(codes.FailedPrecondition, missing.Error())
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return status.FromContextError(err).Err()
	}
	// UNKNOWN because clients retry INTERNAL and UNAVAILABLE for ever.
	s.log.Error("request failed", "error", err)
	return status.Error(codes.Unknown, "storage error; see the server's log")
}
