package apikey

import (
	"context"
	"errors"
	"fmt"
	"time"

	"cloud.google.com/go/firestore"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"exportd/internal/panics"
	"exportd/jobs"
)

// Sessions of the console are sealed cookies, of which nothing is stored: what is stored is which of them
// have ended before their time, beside the nonces and with the same end, so that what is kept is bounded by
// who has signed out within 8 hours, in whatever process. A list in memory would hold in one process alone.

// ofSessions stands where a nonce has the id of a key; as one it would be too short.
const ofSessions = "session"

// EndSession notes that a session has ended; until is when it would have by itself.
func (s *Store) EndSession(ctx context.Context, id string, until time.Time) error {
	if err := s.UseNonce(ctx, ofSessions, id, until.Add(time.Minute)); err != nil && !errors.Is(err, ErrNonceUsed) {
		return fmt.Errorf("end session: %w", err)
	}
	return nil
}

// SessionEnded reports whether a session has ended before its time; it costs a read. Where that cannot be
// told nobody is let in: jobs.ErrUnavailable.
func (s *Store) SessionEnded(ctx context.Context, id string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	_, err := s.nonceDoc(ofSessions, id).Get(ctx)
	switch status.Code(err) {
	case codes.OK: // that it is there is all
		return true, nil
	case codes.NotFound:
		return false, nil
	}
	return false, fmt.Errorf("read session: %w", classify(err))
}

// WatchSession calls changed at once, and when a session may have ended since: it was ended, in whatever
// process, or the document of its key is another one. It costs a read of each. It returns with ctx, or with
// why documents cannot be watched. changed may be called from two goroutines.
func (s *Store) WatchSession(ctx context.Context, id, keyID string, changed func()) error {
	if s.documents == nil {
		return jobs.Unavailable("sessions are not watched")
	}
	paths := []string{nonceCollection + "/" + s.nonceDoc(ofSessions, id).ID}
	if ValidID(keyID) {
		paths = append(paths, Collection+"/"+keyID)
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, path := range paths {
		g.Go(panics.Task(func() error {
			return s.documents.Watch(ctx, path, func(*firestore.DocumentSnapshot) bool { changed(); return false })
		}))
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("watch session: %w", err)
	}
	return nil
}
