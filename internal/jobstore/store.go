package jobstore

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"cloud.google.com/go/firestore"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"exportd/internal/telemetry"
	"exportd/jobs"
)

// Config says by what numbers the store works.
type Config struct {
	// Client reaches the database. It stays the caller's to close.
	Client *firestore.Client
	Policy jobs.Policy
	Limits jobs.Limits
	// ReuseFor is how long a success answers equal requests.
	ReuseFor time.Duration
	// Documents watches documents for Watch, many over few streams; if nil each Watch is a stream of
	// Client's, of which a connection takes 100.
	Documents Documents
	// Drift is by how much Now may differ from Firestore's clock for a role to be taken; it is not compared
	// if 0.
	Drift time.Duration
	// Damage is told of documents that make no sense; nobody is if nil.
	Damage *telemetry.Damage
	// Transitions is told of each transition after its commit; nobody is if nil.
	Transitions *telemetry.Transitions
	// Now is the clock; time.Now if nil.
	Now func() time.Time
}

// Documents watches documents. internal/docwatch has it.
type Documents interface {
	// Watch calls fn with a document as it is and again after each change, until fn says stop or ctx ends.
	// One that is not there is a snapshot that does not exist.
	Watch(ctx context.Context, path string, fn func(*firestore.DocumentSnapshot) (stop bool)) error
}

// Store is the job store. Safe for concurrent use.
type Store struct {
	client *firestore.Client
	cfg    Config
	groups *groupQueue
	leased *leasedJobs
	noted  *notedCauses
	ended  *endedCounts
	turns  *turns
	budget *reserving
	clock  *atomic.Pointer[error] // what the last Ping found of it

	commitWithin time.Duration
}

// New makes a Store.
func New(cfg Config) *Store {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Documents == nil {
		cfg.Documents = snapshots{cfg.Client}
	}
	return &Store{client: cfg.Client, cfg: cfg, groups: &groupQueue{waiting: map[string][]*change{}}, leased: &leasedJobs{jobs: map[string]leasedJob{}}, noted: &notedCauses{at: map[string]time.Time{}}, ended: &endedCounts{of: map[string]endedCount{}}, turns: newTurns(), budget: newReserving(), clock: &atomic.Pointer[error]{}, commitWithin: commitWithin}
}

// Policy gives the numbers that the store's transactions use.
func (s *Store) Policy() jobs.Policy { return s.cfg.Policy }

// Ping asks for a document, to find out whether Firestore answers; Clock tells what its answer says of the
// clock.
func (s *Store) Ping(ctx context.Context) error {
	begun := s.cfg.Now()
	doc, err := s.leases().Doc("ping").Get(ctx)
	if err = classify(err); err != nil && !errors.Is(err, jobs.ErrNotFound) {
		return err
	}
	var wrong error
	if doc != nil { // of a document that is not there, too
		wrong = s.rightClock(begun, doc.ReadTime)
	}
	s.clock.Store(&wrong)
	return nil
}

// Clock gives ErrClock if this machine's clock was wrong by the last Ping.
func (s *Store) Clock() error {
	if wrong := s.clock.Load(); wrong != nil {
		return *wrong
	}
	return nil
}

func (s *Store) jobs() *firestore.CollectionRef { return s.client.Collection("ExportJobs") }
func (s *Store) fingerprints() *firestore.CollectionRef {
	return s.client.Collection("ExportFingerprints")
}
func (s *Store) idempotency() *firestore.CollectionRef {
	return s.client.Collection("ExportIdempotency")
}
func (s *Store) callbacks() *firestore.CollectionRef { return s.client.Collection("ExportCallbacks") }
func (s *Store) leases() *firestore.CollectionRef    { return s.client.Collection("ExportLeases") }

func (s *Store) parts(jobID string) *firestore.CollectionRef {
	return s.jobs().Doc(jobID).Collection("parts")
}

func (s *Store) events(jobID string) *firestore.CollectionRef {
	return s.jobs().Doc(jobID).Collection("events")
}

// classify turns Firestore's codes into the errors of package jobs.
func classify(err error) error {
	switch status.Code(err) {
	case codes.OK:
		return err // nil, or not from gRPC
	case codes.NotFound:
		return fmt.Errorf("%w: %w", jobs.ErrNotFound, err)
	case codes.Unavailable, codes.DeadlineExceeded, codes.ResourceExhausted, codes.Internal, codes.Aborted, codes.Canceled:
		return fmt.Errorf("%w: %w", jobs.ErrUnavailable, err)
	}
	return err
}
