package service

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"cloud.google.com/go/firestore"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"exportd/internal/config"
	"exportd/internal/docwatch"
	"exportd/internal/jobqueue"
	"exportd/internal/jobstore"
	"exportd/internal/objectstore"
	"exportd/internal/panics"
	"exportd/internal/records"
	"exportd/internal/telemetry"
)

// Clients are a process's connections to Google's services, or to what stands in for them.
type Clients struct {
	// Firestore is for keys; Store holds the jobs on it.
	Firestore *firestore.Client
	Store     *jobstore.Store
	Queue     *jobqueue.Queue
	Objects   *objectstore.Store
	// Reload, if set, has settings taken anew while the process runs.
	Reload *Reload

	guards    guards
	documents *docwatch.Watcher
	records   *records.Reader
	metrics   *prometheus.Registry
	damage    *telemetry.Damage
	panics    *panics.Reporter

	transitions *telemetry.Transitions
	work        *telemetry.Work

	scratch string // where the process's disk is; no check if ""
}

// Open connects to what cfg names. The caller closes what it gets.
func Open(ctx context.Context, cfg config.Config, log *zap.Logger) (_ *Clients, err error) {
	c := &Clients{guards: newGuards(log), metrics: prometheus.NewRegistry(), damage: telemetry.NewDamage(log), panics: panics.NewReporter(log), scratch: os.TempDir()}
	c.measure(cfg)
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	if err := c.openFirestore(ctx, cfg, log); err != nil {
		return c, err
	}
	drift := cfg.Policy().Skew
	if cfg.FirestoreHost != "" {
		drift = 0 // an emulator's clock is a machine's too, and stays ahead when that steps back
	}
	c.Store = jobstore.New(jobstore.Config{Client: c.Firestore, Policy: cfg.Policy(), Drift: drift, Limits: cfg.Limits(), ReuseFor: cfg.ReuseFor, Documents: c.documents, Damage: c.damage, Transitions: c.transitions})
	if c.records, err = records.Open(ctx, records.Config{
		ProjectID: cfg.ProjectID, DatabaseID: cfg.DatabaseID, Emulator: cfg.FirestoreHost, Guard: c.guards.firestore,
		Connections: connectionsFor(cfg.JobSlots + cfg.PartSlots),
	}); err != nil {
		return c, err
	}
	if c.Queue, err = jobqueue.Open(ctx, jobqueue.Config{ProjectID: cfg.ProjectID, Emulator: cfg.PubSubHost, Guard: c.guards.pubsub}); err != nil {
		return c, err
	}
	c.Objects, err = objectstore.Open(ctx, objectstore.Config{
		Bucket: cfg.Bucket, EmulatorHost: cfg.StorageHost, SignerEmail: cfg.SignerEmail, ProjectID: cfg.ProjectID,
		// The bucket's own rule is the last resort behind the sweep: a day after the files' life.
		RetentionDays: int(cfg.FileLife/(24*time.Hour)) + 1, Location: cfg.BucketLocation,
		ChunkBytes: cfg.ChunkBytes,
		Guard:      c.guards.storage,
	})
	return c, err
}

// Records reads the source collections.
func (c *Clients) Records() *records.Reader { return c.records }

// closeWithin bounds the end of the connections, which flushes messages: where services hang the process ends
// without.
const closeWithin = 3 * time.Second

// Close ends all connections.
func (c *Clients) Close() error {
	closed := make(chan error, 1)
	go func() { closed <- panics.Do(c.close) }()
	select {
	case err := <-closed:
		return err
	case <-time.After(closeWithin):
		return errors.New("close connections: a service does not answer")
	}
}

func (c *Clients) close() error {
	var errs []error
	if c.Objects != nil {
		errs = append(errs, c.Objects.Close())
	}
	if c.Queue != nil {
		errs = append(errs, c.Queue.Close())
	}
	if c.records != nil {
		errs = append(errs, c.records.Close())
	}
	if c.documents != nil {
		errs = append(errs, c.documents.Close())
	}
	if c.Firestore != nil {
		errs = append(errs, c.Firestore.Close())
	}
	return errors.Join(errs...)
}

// Setup makes what is missing, topics, subscriptions and the bucket, and mends what is not as it should be.
// It returns what it changed.
func (c *Clients) Setup(ctx context.Context) (changed []string, err error) {
	queue, err := c.Queue.Mend(ctx)
	if err != nil {
		return queue, fmt.Errorf("set up Pub/Sub: %w", err)
	}
	bucket, err := c.Objects.Mend(ctx)
	if err != nil {
		err = fmt.Errorf("set up Cloud Storage: %w", err)
	}
	return append(queue, bucket...), err
}
