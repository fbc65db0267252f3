// Package export carries an export out: it pins the snapshot, plans parts, writes each part as CSV to an
// object of its own, and composes the objects to the file.
//
// It knows nothing of leases and attempts: the worker holds the right to do what it calls here for, and
// throws the outcome away if it lost that right meanwhile.
package export

import (
	"context"
	"time"

	"exportd/internal/dataset"
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

// Objects is the bucket that files are in.
type Objects interface {
	jobs.ObjectStore
	jobs.ObjectSweeper
	jobs.ObjectProver
	jobs.ObjectReader
}

// Config holds the numbers of the pipeline.
type Config struct {
	// PartRows is how many rows a part should have.
	PartRows int64
	// MaxParts bounds the parts of one export; beyond it parts grow instead. A thousand parts are a plan of
	// about 400 KiB, written in one commit.
	MaxParts int
	// Window is how many parts of an export are under way at a time; large exports get larger parts for it. 0
	// leaves them as they are.
	Window int
	// PITR: snapshots are whole minutes, which point-in-time recovery keeps for 7 days.
	PITR bool
	// Datasets are those that jobs may be of; the built-in ones if nil.
	Datasets dataset.Set
	// MaxRows and MaxBytes refuse an export that is larger; 0 is no bound.
	MaxRows, MaxBytes int64
	// SheetRows is how many rows a sheet of Excel has room for; as many as it has if 0.
	SheetRows int64
	// KeptBytes bounds the rows that a comparison of two files keeps in memory; 16 MiB if 0.
	KeptBytes int
}

// Exporter runs the steps of exports. Safe for concurrent use.
type Exporter struct {
	source  Source
	objects Objects
	cfg     Config
}

// New makes an Exporter over a source and a bucket.
func New(source Source, objects Objects, cfg Config) *Exporter {
	if cfg.Datasets == nil {
		cfg.Datasets = dataset.BuiltIn
	}
	if cfg.KeptBytes == 0 {
		cfg.KeptBytes = keptBytes
	}
	return &Exporter{source: source, objects: objects, cfg: cfg}
}

// dataset finds what the rows of a job are, and their query, in the order of the file.
func (e *Exporter) dataset(j *jobs.Job) (*dataset.Dataset, vip.Query, error) {
	d := e.cfg.Datasets.Get(string(j.Kind))
	if d == nil || d.Version != jobs.ColumnsVersion(j.Columns) {
		return nil, vip.Query{}, jobs.Fail(jobs.CodeDatasetChanged, jobs.Permanent, "what "+string(j.Kind)+" are has changed since the export was asked for",
			"give API and workers the same build and EXPORTD_DATASETS_FILE, then rerun it with mode fresh", nil)
	}
	return d, d.Query(j.OrgID, j.Params), nil
}
