package jobstore

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"

	"cloud.google.com/go/firestore"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"exportd/internal/backoff"
	"exportd/jobs"
)

// contention bounds how often a transition is tried that others got in the way of. The commits of one job's
// parts meet at its document; with 32 in flight the worst seen was 11.
const contention = 40

// errConflict: a document was changed by somebody else between read and commit.
var errConflict = errors.New("changed meanwhile")

// firstPause and longestPause are those after a conflict: the other commit is done already, only the herd has
// to spread.
const (
	firstPause   = 1500 * time.Microsecond
	longestPause = 75 * time.Millisecond
)

// retry runs fn until it ends in something else than errConflict.
func retry(ctx context.Context, fn func() error) error {
	pauses := backoff.Doubling(firstPause, longestPause)
	for round := 1; ; round++ {
		err := fn()
		if !errors.Is(err, errConflict) {
			return err
		}
		if round == contention {
			return fmt.Errorf("too many others change the same document: %w", jobs.ErrUnavailable)
		}
		if err := pauses.Wait(ctx); err != nil {
			return err
		}
	}
}

// commit writes the batch. A precondition that failed is errConflict, unless landed tells that the documents
// hold this very write: then an answer was lost on the way and the commit stands.
func (s *Store) commit(ctx context.Context, batch *writes, landed func(context.Context) (bool, error)) error {
	_, err := s.commitResults(ctx, batch, landed)
	return err
}

const (
	// commitWithin bounds a commit: well inside the 30 s of the shortest lease. Google's client goes on
	// trying for as long as it may while Firestore is away, or answers that a quota is used up.
	commitWithin = 15 * time.Second
	// lookWithin bounds the look whether a commit stands whose answer was lost.
	lookWithin = 2 * time.Second
)

// Within gives the same store with another bound on its commits, for callers who can try again sooner than
// workers can do again what they have done.
func (s *Store) Within(d time.Duration) *Store {
	other := *s
	other.commitWithin = d
	return &other
}

// commitResults is commit with the results of the writes in their order; nil where the answer was lost.
func (s *Store) commitResults(ctx context.Context, batch *writes, landed func(context.Context) (bool, error)) ([]*firestore.WriteResult, error) {
	send, cancel := context.WithTimeout(ctx, s.commitWithin)
	defer cancel()
	results, err := batch.Commit(send)
	switch status.Code(err) {
	case codes.OK:
		return results, err
	case codes.FailedPrecondition, codes.AlreadyExists, codes.NotFound, codes.Aborted:
		if ok, oerr := landed(ctx); oerr == nil && ok {
			return nil, nil
		}
		return nil, fmt.Errorf("%w: %w", errConflict, err)
	case codes.Unavailable, codes.DeadlineExceeded, codes.Unknown, codes.Internal:
		// Whether it was applied is not known: look, so that a claim is not lost for a lease's time.
		look, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookWithin)
		defer cancel()
		if ok, oerr := landed(look); oerr == nil && ok {
			return nil, nil
		}
	}
	if send.Err() != nil && ctx.Err() == nil {
		return nil, fmt.Errorf("nothing within %s: %w: %w", s.commitWithin, jobs.ErrUnavailable, err)
	}
	return nil, classify(err)
}

// fields lists a document struct as an update of each of its fields, so that it can be written on condition
// of its update time (the client's Set takes no condition). A zero time under omitempty deletes the field, as
// Set would leave it out.
func fields(doc any) []firestore.Update {
	v := reflect.Indirect(reflect.ValueOf(doc))
	var out []firestore.Update
	for i := range v.NumField() {
		name, opts, _ := strings.Cut(v.Type().Field(i).Tag.Get("firestore"), ",")
		if name == "-" || name == "" {
			continue
		}
		u := firestore.Update{Path: name, Value: v.Field(i).Interface()}
		if strings.Contains(opts, "omitempty") && v.Field(i).IsZero() {
			u.Value = firestore.Delete
		}
		out = append(out, u)
	}
	return out
}

// decode reads a document into out. What cannot be read is jobs.ErrInvalid.
func decode(doc *firestore.DocumentSnapshot, out any) error {
	if err := doc.DataTo(out); err != nil {
		return fmt.Errorf("read %s: %w: %w", doc.Ref.ID, jobs.ErrInvalid, err)
	}
	return nil
}
