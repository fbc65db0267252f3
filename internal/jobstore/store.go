package jobstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"cloud.google.com/go/firestore"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"exportd/jobs"
)

// Config says where the store is and by what numbers it works.
type Config struct {
	ProjectID  string
	DatabaseID string // "" is "(default)"
	// Emulator is the host:port of a Firestore server without TLS and authentication; ""
	// is Google's, with application default credentials.
	Emulator string
	Policy   jobs.Policy
	Limits   jobs.Limits
	// ReuseFor is how long a success answers equal requests.
	ReuseFor time.Duration
	// Now is the clock; time.Now if nil.
	Now func() time.Time
}

// Store is the job store. Safe for concurrent use.
type Store struct {
	client *firestore.Client
	cfg    Config
}

// Open connects. It does not fail when Firestore is unreachable; Ping tells.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.DatabaseID == "" {
		cfg.DatabaseID = firestore.DefaultDatabaseID
	}
	var opts []option.ClientOption
	if cfg.Emulator != "" {
		opts = append(opts, option.WithEndpoint(cfg.Emulator), option.WithoutAuthentication(),
			option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())), option.WithTelemetryDisabled())
	}
	client, err := firestore.NewClientWithDatabase(ctx, cfg.ProjectID, cfg.DatabaseID, opts...)
	if err != nil {
		return nil, fmt.Errorf("open Firestore %s/%s: %w", cfg.ProjectID, cfg.DatabaseID, err)
	}
	return &Store{client: client, cfg: cfg}, nil
}

// Close ends the connection.
func (s *Store) Close() error { return s.client.Close() }

// Policy gives the numbers that the store's transactions use.
func (s *Store) Policy() jobs.Policy { return s.cfg.Policy }

// Ping asks for a document, to find out whether Firestore answers.
func (s *Store) Ping(ctx context.Context) error {
	_, err := s.leases().Doc("ping").Get(ctx)
	if err = classify(err); errors.Is(err, jobs.ErrNotFound) {
		return nil
	}
	return err
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
	case codes.Unavailable, codes.DeadlineExceeded, codes.ResourceExhausted, codes.Internal, codes.Aborted:
		return fmt.Errorf("%w: %w", jobs.ErrUnavailable, err)
	}
	return err
}
