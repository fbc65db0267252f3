package api

import (
	"context"
	"time"

	"exportd/internal/apikey"
	"exportd/internal/jobstore"
	"exportd/internal/records"
	"exportd/internal/vip"
	"exportd/jobs"
)

// Records reads workspaces, channels and rows. internal/records has it.
type Records interface {
	vip.Directory
	// Workspaces and Channels list what an org has, by id; records.ErrTooLarge where that is more
	// than most bytes.
	Workspaces(ctx context.Context, orgID string, most int) ([]vip.Workspace, error)
	Channels(ctx context.Context, orgID, workspaceID string, most int) ([]vip.Channel, error)
	// Page returns up to limit rows, or most bytes, after a position (nil: from the first), behind
	// offset rows that are skipped.
	Page(ctx context.Context, q vip.Query, after *vip.Position, offset, limit, most int, row records.RowEncoder) (records.Page, error)
	// Count counts rows as of at (zero: now).
	Count(ctx context.Context, q vip.Query, rng vip.Range, at time.Time) (rows int64, as time.Time, err error)
	// LabelCounts counts messages by label; total is the number of messages.
	LabelCounts(ctx context.Context, q vip.Query) (counts []records.LabelCount, total int64, err error)
}

// Jobs stores jobs. internal/jobstore has it. Every method may return jobs.ErrUnavailable;
// those that name a job return jobs.ErrNotFound for one that does not exist.
type Jobs interface {
	// Submit finds or makes the job of a request. Other errors: *jobs.QueueFullError,
	// jobs.ErrIdempotencyMismatch.
	Submit(ctx context.Context, s jobs.Submission) (jobs.Submitted, error)
	// Policy has the numbers that Update's transactions use.
	Policy() jobs.Policy
	// ReuseFor is how long Submit answers equal requests with a success.
	ReuseFor() time.Duration
	Get(ctx context.Context, id string) (*jobs.Job, error)
	// GetOf is Get of a job of an org. Another org's is not found by the same work as one that
	// does not exist.
	GetOf(ctx context.Context, orgID, id string) (*jobs.Job, error)
	// Watch calls fn with the job as it is and after each change, until fn returns true
	// (then it returns nil) or ctx ends. fn is never called after Watch has returned.
	Watch(ctx context.Context, id string, fn func(*jobs.Job) (stop bool)) error
	// List returns jobs.ErrInvalid for a page token that is none.
	List(ctx context.Context, l jobs.List) (jobs.JobPage, error)
	// Usage counts the jobs of an org that run and that wait.
	Usage(ctx context.Context, orgID string) (running, queued int64, err error)
	// Update runs transitions in a transaction and returns the job as it then is.
	Update(ctx context.Context, id, actor string, fn func(*jobs.Tx) error) (*jobs.Job, error)
	// Progress adds up what the parts have done while the job's phase is parts.
	Progress(ctx context.Context, j *jobs.Job) (rows, bytes int64, err error)
	// Events is a job's timeline, oldest first. Parts are those of the plan in force, by
	// index. Callbacks are a job's callbacks, oldest first.
	Events(ctx context.Context, id string) ([]jobs.Event, error)
	Parts(ctx context.Context, j *jobs.Job) ([]*jobs.Part, error)
	Callbacks(ctx context.Context, jobID string) ([]*jobs.Callback, error)
}

// Operations is what only operators need. internal/jobstore has it.
type Operations interface {
	// CreateBatch stores a rerun of many jobs for the workers; Batch and Batches tell how
	// far one is, Batch with the number of jobs rerun. jobs.ErrNotFound for an unknown one.
	CreateBatch(ctx context.Context, r jobs.BatchRequest) (*jobs.Batch, error)
	Batch(ctx context.Context, id string) (*jobs.Batch, int64, error)
	Batches(ctx context.Context, limit int) ([]*jobs.Batch, error)
	// Stats counts the whole system, SetPaused switches a queue.
	Stats(ctx context.Context) (jobstore.Stats, error)
	SetPaused(ctx context.Context, q jobs.Queue, paused bool, actor, reason string) error
	// ListCallbacks gives a page of deliveries, newest first; next is empty on the last.
	ListCallbacks(ctx context.Context, l jobstore.CallbackList) (page []*jobs.Callback, next string, err error)
	// UpdateCallback runs a transition of a delivery and returns it as it then is.
	UpdateCallback(ctx context.Context, id, actor string, fn func(*jobs.CallbackTx) error) (*jobs.Callback, error)
	// SuspendedReceivers lists to whom no callbacks are sent. ResumeReceiver lets them go
	// again and says how many it began again.
	SuspendedReceivers(ctx context.Context) ([]jobstore.Receiver, error)
	ResumeReceiver(ctx context.Context, orgID, origin, actor, reason string) (resumed int, err error)
}

// Queue rings workers. internal/jobqueue has it.
type Queue interface {
	Publish(ctx context.Context, q jobs.Queue, m jobs.Message) error
}

// Objects holds the files. internal/objectstore has it.
type Objects interface {
	// SignedURL makes a URL that downloads object with a plain GET for ttl, under filename.
	SignedURL(ctx context.Context, object string, ttl time.Duration, filename string) (string, error)
	// Holds reports whether an object is there as it was written; an objectstore.ErrNoBucket where not even
	// the bucket is.
	Holds(ctx context.Context, object string, size int64, crc32c uint32) (bool, error)
	// DeletePrefix deletes every object below prefix and says how many there were.
	DeletePrefix(ctx context.Context, prefix string) (int, error)
}

// KeyAdmin makes and changes API keys. internal/apikey has it. What a returned Key holds of
// secrets can be shown once.
type KeyAdmin interface {
	Create(ctx context.Context, d apikey.Draft, by apikey.By) (*apikey.Key, error)
	// Rotate gives a key a new secret. apikey.ErrRotated, apikey.ErrDisabled.
	Rotate(ctx context.Context, id string, rotation apikey.Rotation, by apikey.By) (apikey.Secret, error)
	SetState(ctx context.Context, id string, state apikey.State, by apikey.By) error
	// Get gives a key of an org, of any if it is empty, and who changed it when and why, oldest first.
	// jobs.ErrNotFound; for another org's key by the same work.
	Get(ctx context.Context, orgID, id string) (*apikey.Key, []apikey.AuditEntry, error)
	// List gives the keys of an org, of all if it is empty.
	List(ctx context.Context, orgID string) ([]*apikey.Key, error)
}
