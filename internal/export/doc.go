// Package export carries an export out: it pins the snapshot, plans parts, writes each
// part as CSV to an object of its own, and composes the objects to the file.
//
// It knows nothing of leases and attempts: the worker holds the right to do what it calls
// here for, and throws the outcome away if it lost that right meanwhile.
package export

import (
	"context"
	"time"

	"exportd/internal/objectstore"
	"exportd/internal/records"
	"exportd/internal/vip"
	"exportd/jobs"
)

// Source is what is read. All reads of a job name the same instant.
type Source interface {
	SnapshotTime(ctx context.Context) (time.Time, error)
	Count(ctx context.Context, q vip.Query, rng vip.Range, at time.Time) (rows int64, as time.Time, err error)
	First(ctx context.Context, q vip.Query, rng vip.Range, at time.Time) (*vip.Position, error)
	Scan(ctx context.Context, q vip.Query, rng vip.Range, at time.Time, opts records.Options, row func(doc []byte) error) error
}

// Config holds the numbers of the pipeline.
type Config struct {
	// PartRows is how many rows a part should have.
	PartRows int64
	// MaxParts bounds the parts of one export; beyond it parts grow instead. A thousand
	// parts are a plan of about 400 KiB, written in one commit.
	MaxParts int
	// Window is how many parts of an export are under way at a time; large exports get larger parts
	// for it. 0 leaves them as they are.
	Window int
	// PITR: snapshots are whole minutes, which point-in-time recovery keeps for 7 days.
	PITR bool
	// MaxRows and MaxBytes refuse an export that is larger; 0 is no bound.
	MaxRows, MaxBytes int64
}

// Exporter runs the steps of exports. Safe for concurrent use.
type Exporter struct {
	source  Source
	objects *objectstore.Store
	cfg     Config
}

// New makes an Exporter over a source and a bucket.
func New(source Source, objects *objectstore.Store, cfg Config) *Exporter {
	return &Exporter{source: source, objects: objects, cfg: cfg}
}

// Query is the rows of a job, in the order of the file.
func Query(j *jobs.Job) vip.Query { return vip.NewQuery(j.Kind, j.Params.Filter) }
