package jobs

import (
	"context"
	"io"
	"iter"
	"time"
)

// What stores and a queue are, in pieces by what they are for: whoever needs one names it. Package jobstest
// has what every implementation promises, as tests. Each method may return ErrUnavailable; those that name a
// document, ErrNotFound where there is none.

// SubmitStore takes requests.
type SubmitStore interface {
	// Submit finds or makes the job of a request. Other errors: *QueueFullError, ErrIdempotencyMismatch,
	// ErrNoBase; where it has a Budget, ErrUncounted and *BudgetError.
	Submit(ctx context.Context, s Submission) (Submitted, error)
	// Find gives the job that Submit would give now, nil if it would make one, and changes nothing;
	// ErrIdempotencyMismatch.
	Find(ctx context.Context, s Submission) (*Job, error)
	// ReuseFor is how long Submit answers equal requests with a success.
	ReuseFor() time.Duration
	// Usage counts the jobs of an org that run and that wait: what its limits are about.
	Usage(ctx context.Context, orgID string) (running, queued int64, err error)
	// Unfinished gives those of them that were made first, most of either at most, oldest first.
	Unfinished(ctx context.Context, orgID string, most int) (running, queued []*Job, err error)
	// BudgetDays are what keys have spent of their budgets today, in their order.
	BudgetDays(ctx context.Context, keyIDs []string) ([]BudgetDay, error)
}

// TxStore runs transitions of jobs.
type TxStore interface {
	// Policy has the numbers that transactions use.
	Policy() Policy
	Get(ctx context.Context, id string) (*Job, error)
	// Update runs fn in a transaction and returns the job as it then is, all or nothing; again from the start
	// where somebody else was faster, so that fn must touch nothing but its Tx, and may set what it leaves
	// behind more than once. An error of fn ends it and is returned as it is.
	Update(ctx context.Context, id, actor string, fn func(*Tx) error) (*Job, error)
}

// PartStore runs transitions of parts.
type PartStore interface {
	// UpdatePart is Update for a transition of a part, whose document it may read ahead.
	UpdatePart(ctx context.Context, id, partID, actor string, fn func(*Tx) error) (*Job, error)
	// Parts gives the parts of the plan in force, by index. Damage says which of them make no sense.
	Parts(ctx context.Context, j *Job) ([]*Part, error)
}

// WaitStore knows who waits for a place.
type WaitStore interface {
	// Next gives those of the org's queued jobs whose next attempt is due that have waited longest, in their
	// order: as many as it has places free, one at least.
	Next(ctx context.Context, orgID string) (ids []string, err error)
}

// JobReader shows jobs. What makes no sense is shown as what it is ended as.
type JobReader interface {
	Get(ctx context.Context, id string) (*Job, error)
	// GetOf is Get of a job of an org. Another org's is not found by the same work as one that does not
	// exist.
	GetOf(ctx context.Context, orgID, id string) (*Job, error)
	// Watch calls fn with the job as it is and after each change, until fn returns true (then it returns nil)
	// or ctx ends. fn is never called after Watch has returned.
	Watch(ctx context.Context, id string, fn func(*Job) (stop bool)) error
	ListStore
	// Progress adds up what the parts have done while the job's phase is parts.
	Progress(ctx context.Context, j *Job) (rows, bytes int64, err error)
	// Events is a job's timeline, oldest first.
	Events(ctx context.Context, id string) ([]Event, error)
	Parts(ctx context.Context, j *Job) ([]*Part, error)
	// Callbacks are a job's callbacks, oldest first.
	Callbacks(ctx context.Context, jobID string) ([]*Callback, error)
}

// ListStore lists jobs.
type ListStore interface {
	// List gives a page of jobs, newest first; ErrInvalid for a page token that it did not give.
	List(ctx context.Context, l List) (JobPage, error)
}

// DueStore knows whom somebody must look at.
type DueStore interface {
	// Due gives the documents of a class and of some shards whose wakeAt has passed, longest due first,
	// behind after.
	Due(ctx context.Context, kind DueKind, shards []int, now time.Time, limit int, after *DueCursor) (DuePage, error)
	// JobKey is the Due.Key of a job.
	JobKey(id string) string
	// Retire takes a document out of what is due, unless somebody has changed it meanwhile.
	Retire(ctx context.Context, d Due) error
	// WakePlace does what is due for a place and gives the jobs to notify.
	WakePlace(ctx context.Context, d Due) (notify []string, err error)
	// Suspects looks at the stretch's next documents behind after and names those that are damaged, or that
	// nobody would look at for longer than a transition lets them sleep. Next is where to go on, "" at the
	// end.
	Suspects(ctx context.Context, a Audit, after string) (found []Message, batches []string, next string, err error)
}

// PurgeStore deletes what has had its time.
type PurgeStore interface {
	// Purge deletes the records of those of some jobs that are due for it, each unless it has changed since
	// it was read.
	Purge(ctx context.Context, of []*Job) error
	// PurgePointers deletes idempotency keys, and what is remembered of receivers, whose life is over.
	PurgePointers(ctx context.Context, now time.Time) error
}

// PartitionStore shares out the shards among the rescuers.
type PartitionStore interface {
	// Partitions gives the division and who holds its first n partitions.
	Partitions(ctx context.Context, n int) (Division, []Partition, error)
	// HoldPartition takes or renews a partition for owner; false when somebody else has it, ErrClock when
	// this machine's clock is wrong.
	HoldPartition(ctx context.Context, index int, owner string) (bool, error)
	// LeavePartition gives a partition up, and tells the others.
	LeavePartition(ctx context.Context, index int, owner string) error
	// Divide changes the division; every worker that watches the switches sees it at once.
	Divide(ctx context.Context, fn func(*Division)) error
}

// SwitchStore tells workers what they are to be told of at once.
type SwitchStore interface {
	Switches(ctx context.Context) (Switches, error)
	// WatchSwitches calls fn with the switches as they are and again after each change, until ctx ends or the
	// watch breaks, which is its error.
	WatchSwitches(ctx context.Context, fn func(Switches)) error
}

// PresenceReader knows which workers live.
type PresenceReader interface {
	// Alive lists the workers that showed life in time.
	Alive(ctx context.Context) ([]Worker, error)
}

// PresenceStore is told by workers that they live.
type PresenceStore interface {
	PresenceReader
	ShowAlive(ctx context.Context, w Worker, ttl time.Duration) error
	ShowGone(ctx context.Context, worker string) error
}

// BatchStore has reruns of many jobs, or callbacks, carried out.
type BatchStore interface {
	// DueBatches lists the batches whose wakeAt has passed.
	DueBatches(ctx context.Context, now time.Time, limit int) ([]*Batch, error)
	BatchUpdater
	// BatchOutcome tells how the jobs are that a batch has run again, or the callbacks.
	BatchOutcome(ctx context.Context, b *Batch) (BatchOutcome, error)
	// ListCallbacks is as that of CallbackAdmin.
	ListCallbacks(ctx context.Context, l CallbackList) (page []*Callback, next string, err error)
}

// BatchUpdater runs transitions of batches.
type BatchUpdater interface {
	// UpdateBatch runs a transition of a batch, as Update one of a job.
	UpdateBatch(ctx context.Context, id string, fn func(*BatchTx) error) (*Batch, error)
}

// BatchAdmin makes them, and tells how far they are.
type BatchAdmin interface {
	BatchUpdater
	// CreateBatch makes one, and records that.
	CreateBatch(ctx context.Context, r BatchRequest) (*Batch, error)
	// Batch gets a batch with the number of jobs or callbacks that it has begun again so far.
	Batch(ctx context.Context, id string) (*Batch, int64, error)
	// BatchCallbacks counts the callbacks that a batch has sent again by what they have come to.
	BatchCallbacks(ctx context.Context, b *Batch) (CallbackOutcome, error)
	// Batches lists the latest, newest first.
	Batches(ctx context.Context, limit int) ([]*Batch, error)
}

// CallbackStore runs transitions of deliveries.
type CallbackStore interface {
	// UpdateCallback runs a transition of a delivery and returns it as it then is.
	UpdateCallback(ctx context.Context, id, actor string, fn func(*CallbackTx) error) (*Callback, error)
}

// ReceiverStore remembers receivers that fail.
type ReceiverStore interface {
	// Receivers gives what is remembered of an org's addresses, in their order; the zero value stands for one
	// of which nothing is.
	Receivers(ctx context.Context, orgID string, addresses ...string) ([]Receiver, error)
	// ChangeReceiver applies fn to what is remembered of an address, by compare-and-set; fn may run more than
	// once. A receiver without failures is forgotten.
	ChangeReceiver(ctx context.Context, orgID, address, origin string, fn func(*Receiver)) error
}

// CallbackAdmin is the operators' side of both.
type CallbackAdmin interface {
	CallbackStore
	// ListCallbacks gives a page of deliveries, newest first; next is empty on the last.
	ListCallbacks(ctx context.Context, l CallbackList) (page []*Callback, next string, err error)
	// SuspendedReceivers lists to whom no callbacks are sent. UnsuspendReceiver lets them go again and says
	// how many it began again.
	SuspendedReceivers(ctx context.Context) ([]Receiver, error)
	// Receivers is as that of ReceiverStore.
	Receivers(ctx context.Context, orgID string, addresses ...string) ([]Receiver, error)
	UnsuspendReceiver(ctx context.Context, orgID, origin, actor, reason string) (resumed int, err error)
}

// ControlStore is what operators see and switch.
type ControlStore interface {
	// Stats counts the whole system.
	Stats(ctx context.Context) (Stats, error)
	// SetPaused stops or resumes a queue, and records that.
	SetPaused(ctx context.Context, q Queue, paused bool, actor, reason string) error
}

// RollupStore tells what happened in a time, as ends have noted it.
type RollupStore interface {
	// Rollups gives the rollups of an org, "" for all together, whose hour begins within [from, to), at most
	// one for each hour, in the order of time.
	Rollups(ctx context.Context, orgID string, from, to time.Time) ([]*Rollup, error)
	// TopRollups gives one for each of the orgs that wrote the most rows in an hour and of those that ran
	// longest, in no order. All is false where the hour has more.
	TopRollups(ctx context.Context, hour time.Time) (orgs []*Rollup, all bool, err error)
}

// CauseStore tells why jobs failed and callbacks were given up.
type CauseStore interface {
	// Causes gives a page of those that were noted since then, latest first; next is empty on the last.
	Causes(ctx context.Context, since time.Time, size int, token string) (page []*CauseNote, next string, err error)
	Cause(ctx context.Context, id string) (*CauseNote, error)
	// CauseCases counts the cases of a cause.
	CauseCases(ctx context.Context, q CauseQuery) (CauseCases, error)
	// NoteProbe keeps how a look went whether a cause is mended.
	NoteProbe(ctx context.Context, id string, p Probe) error
}

// AuditStore tells what operators did. What the other ports do in their name, they write down in the same
// commit.
type AuditStore interface {
	// AuditEntries gives a page, latest first; next is empty on the last.
	AuditEntries(ctx context.Context, l AuditList) (page []*AuditEntry, next string, err error)
	// Record writes down what takes more than a commit, before it is done. Recorded says afterwards to how
	// many it was done.
	Record(ctx context.Context, e *AuditEntry) error
	Recorded(ctx context.Context, id string, count int64) error
}

// LinkStore keeps what is to be known of links to files that the service itself answers.
type LinkStore interface {
	// LinkGeneration is that of an org's links: those of another are revoked.
	LinkGeneration(ctx context.Context, orgID string) (int64, error)
	// RevokeOrgLinks begins another generation, gives it, and records that.
	RevokeOrgLinks(ctx context.Context, orgID, actor, reason string) (int64, error)
	// NoteDownloads adds to what is on record, each by its count. An error means that some may not have been
	// added, and others may.
	NoteDownloads(ctx context.Context, downloads ...Download) error
	// Downloads gives a page of a job's, latest first, and how many there are on record of it; next is empty
	// on the last.
	Downloads(ctx context.Context, l DownloadList) (page []Download, total int64, next string, err error)
}

// DeadLetterStore counts the messages that no code could handle.
type DeadLetterStore interface {
	NoteDead(ctx context.Context, queue Queue, reason string) error
}

// Publisher notifies workers.
type Publisher interface {
	// Publish sends a message. An error means that it may not have been sent; the document's wakeAt covers
	// that.
	Publish(ctx context.Context, queue Queue, m Message) error
}

// Subscriber gives workers what was published, at least once, in any order.
type Subscriber interface {
	// Pull waits for messages of a queue and gives at most limit: none and no error when none came for a
	// while.
	Pull(ctx context.Context, queue Queue, limit int) ([]PulledMessage, error)
	// Ack takes a message off the queue. An error means that it may come again, which claims bear.
	Ack(ctx context.Context, queue Queue, d PulledMessage) error
	// Nack gives a message back, to be delivered again after a pause.
	Nack(ctx context.Context, queue Queue, d PulledMessage, after time.Duration) error
	// Bury puts a message that no code can handle aside, with where it came from and why.
	Bury(ctx context.Context, queue Queue, d PulledMessage, reason string) error
}

// ObjectStore writes objects, each once. Those that no bucket is there for fail with CodeBucketMissing, an
// ErrNoBucket.
type ObjectStore interface {
	// Create begins an object. ctx covers all of its writing: when it ends, nothing comes of it, and its
	// cause is the error.
	Create(ctx context.Context, name string, attrs ObjectAttrs) ObjectWriter
	// Compose makes dst of the sources' bytes, laid end to end, and proves that these are size bytes with
	// that checksum; if not, dst is removed and the error a CodeStorageCorrupt. It may be run again after a
	// crash or an error, with the same sources, also when dst is there already. A missing source is
	// ErrNotFound. What else it makes on the way begins with dst+".compose/", and goes.
	Compose(ctx context.Context, dst string, sources []string, attrs ObjectAttrs, size int64, crc32c uint32) (Object, error)
}

// ObjectWriter writes one object, which exists once Commit has returned nil, and never in part. It is for one
// goroutine. Each must be ended by Commit or Abort; Abort after Commit does nothing, so it can be deferred.
type ObjectWriter interface {
	// Write adds bytes. An error is final; it is also returned by Commit.
	io.Writer
	// Commit ends the object and returns what the store holds, compared with what was written. ErrExists
	// where another object has the name; one of the same bytes may be taken for this one, whose answer was
	// lost. After another error there is no object, unless it is ErrUnavailable: then nobody knows.
	Commit(ctx context.Context) (Object, error)
	// Abort ends the writer without an object.
	Abort()
}

// ObjectSweeper finds and deletes objects. One that is missing already is no error.
type ObjectSweeper interface {
	// List gives the objects whose names begin with prefix, in the order of their names; they may be deleted
	// meanwhile. After an error there is nothing more.
	List(ctx context.Context, prefix string) iter.Seq2[Object, error]
	Delete(ctx context.Context, name string) error
}

// ObjectPurger deletes many.
type ObjectPurger interface {
	// DeletePrefix deletes all objects whose names begin with prefix, which must not be empty, and says how
	// many there were. Run again after an error, it goes on.
	DeletePrefix(ctx context.Context, prefix string) (int, error)
}

// ObjectReader reads objects.
type ObjectReader interface {
	// NewReader opens an object's bytes from offset on. ErrNotFound where there is none.
	NewReader(ctx context.Context, name string, offset int64) (io.ReadCloser, error)
}

// ObjectProver tells whether objects are as they were written.
type ObjectProver interface {
	// Holds reports whether an object is there, of that size and checksum. ErrNoBucket where not even its
	// bucket is.
	Holds(ctx context.Context, name string, size int64, crc32c uint32) (bool, error)
}

// ObjectLinker lets others download.
type ObjectLinker interface {
	// SignedURL makes a URL that lets anybody who has it GET an object for ttl (1 s to 7 days), saved as
	// filename if one is given. Whether there is such an object, it does not look.
	SignedURL(ctx context.Context, name string, ttl time.Duration, filename string) (string, error)
}
