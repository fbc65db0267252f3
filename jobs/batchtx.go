package jobs

import (
	"encoding/json"
	"fmt"
	"maps"
	"time"
)

// BatchLease is how long a batch is its worker's; a page at 1 job a second fits in.
const BatchLease = time.Minute

// BatchRequest is what an operator asks a batch for.
type BatchRequest struct {
	Filter        BatchFilter
	JobIDs        []string        // instead of a filter
	Callbacks     *CallbackFilter // of a batch of callbacks, instead of both
	Mode          RerunMode
	Actor, Reason string
	MaxPerSecond  int
	Canary        bool
}

// NewBatch is a batch that a worker takes up at once.
func NewBatch(r BatchRequest, now time.Time) *Batch {
	now = now.UTC().Truncate(time.Microsecond)
	b := &Batch{
		ID: NewID(), Schema: OldestSchema, Rev: NewToken(), Filter: r.Filter, Mode: r.Mode, MaxPerSecond: r.MaxPerSecond,
		Actor: r.Actor, Reason: r.Reason, CreatedAt: now, WakeAt: now, Skipped: map[string]int{}, Canary: r.Canary, JobIDs: r.JobIDs, Callbacks: r.Callbacks,
	}
	if b.Canary || b.Filter.Cause != "" || !b.Filter.Search.IsZero() || len(b.JobIDs) > 0 {
		b.MaxPerSecond, b.Pace = 0, r.MaxPerSecond
	}
	return b
}

// Audit is the entry of who made the batch.
func (b *Batch) Audit(now time.Time) *AuditEntry {
	filter, err := json.Marshal(b.Filter)
	if b.Callbacks != nil {
		filter, err = json.Marshal(map[string]any{"callbacks": b.Callbacks})
	}
	if err != nil || len(b.JobIDs) > 0 {
		filter = []byte(fmt.Sprintf("%d jobs by their ids", len(b.JobIDs)))
	}
	return NewAudit(now, b.Actor, AuditCreateBatch, b.ID, string(filter), b.Reason, -1)
}

// Copy shares nothing with the batch that a transition changes.
func (b *Batch) Copy() *Batch {
	again := *b
	again.Skipped = maps.Clone(b.Skipped)
	return &again
}

// BatchTx is one transaction on a batch, as Tx is on a job: each method changes Batch or returns an error,
// and then the transaction must be dropped.
type BatchTx struct {
	Now   time.Time
	Batch *Batch
	// Audit is as Tx.Audit.
	Audit *AuditEntry
}

// NewBatchTx starts a transaction on a batch.
func NewBatchTx(now time.Time, b *Batch) *BatchTx {
	return &BatchTx{Now: now.UTC().Truncate(time.Microsecond), Batch: b}
}

// check refuses what this version must not touch.
func (tx *BatchTx) check() error {
	if b := tx.Batch; foreign(b.Schema) {
		return fmt.Errorf("batch %s has schema %d: %w", b.ID, b.Schema, ErrUnknownSchema)
	}
	return nil
}

// checkLive refuses besides what has ended.
func (tx *BatchTx) checkLive() error {
	if err := tx.check(); err != nil {
		return err
	}
	if b := tx.Batch; !b.FinishedAt.IsZero() {
		return fmt.Errorf("batch %s has ended: %w", b.ID, ErrTransition)
	}
	return nil
}

// Claim takes the batch for a page; it is over where it has ended, also as damaged. Two workers may hold it:
// Advance takes a page from one of them only, and RerunIn runs no job twice.
func (tx *BatchTx) Claim() (over bool, err error) {
	if err := tx.check(); err != nil {
		return false, err
	}
	b := tx.Batch
	if b.rests() {
		b.WakeAt = time.Time{}
		return true, nil
	}
	b.WakeAt = tx.Now.Add(BatchLease)
	return false, nil
}

// canaryStages are how many jobs a canary batch has run again at most by the end of each stage but the last.
var canaryStages = []int64{1, 11}

const (
	// stageWait is when a stage is looked at again of which jobs have not ended, at four counts each time; of
	// a batch that has waited for long, after a tenth of that, up to stageWaitMax.
	stageWait    = 5 * time.Second
	stageWaitMax = 2 * time.Minute
)

// stageWake is when the batch is looked at next that waits for its jobs.
func (tx *BatchTx) stageWake() time.Time {
	return tx.Now.Add(min(max(tx.Now.Sub(tx.Batch.CreatedAt)/10, stageWait), stageWaitMax))
}

// Proceed says how many jobs more a canary batch may run again now, by how those are that it has. None: it
// waits, or it has ended.
func (tx *BatchTx) Proceed(o BatchOutcome) (most int64, err error) {
	if err := tx.check(); err != nil {
		return 0, err
	}
	b := tx.Batch
	switch {
	case b.rests():
		return 0, nil
	case !b.Canary:
		return maxCount, nil
	case o.Again != "":
		return 0, tx.Stop(o.Again)
	}
	for b.Stage < len(canaryStages) && o.Rerun >= canaryStages[b.Stage] {
		if o.Live > 0 {
			b.WakeAt = tx.stageWake()
			return 0, nil
		}
		b.Stage++
	}
	switch {
	case b.Listed && (o.Live > 0 || !o.Listed): // else another worker may have begun the last ones since
		b.WakeAt = tx.stageWake()
		return 0, nil
	case b.Listed:
		b.FinishedAt, b.WakeAt = tx.Now, time.Time{}
		return 0, nil
	}
	if b.Stage == len(canaryStages) {
		return maxCount, nil
	}
	return canaryStages[b.Stage] - o.Rerun, nil
}

// Stop ends a batch before its end. What it has run again runs on.
func (tx *BatchTx) Stop(why string) error {
	if err := tx.checkLive(); err != nil {
		return err
	}
	b := tx.Batch
	b.FinishedAt, b.WakeAt, b.PausedAt, b.Stopped = tx.Now, time.Time{}, time.Time{}, clip(why, maxText)
	return nil
}

// Pause has a batch stand still until Resume.
func (tx *BatchTx) Pause() error {
	if err := tx.checkLive(); err != nil {
		return err
	}
	b := tx.Batch
	if b.PausedAt.IsZero() {
		b.PausedAt = tx.Now
	}
	b.WakeAt, b.MaxPerSecond, b.Pace = time.Time{}, 0, b.Rate()
	return nil
}

// Resume has it go on. One that is not paused stays as it is.
func (tx *BatchTx) Resume() error {
	if err := tx.checkLive(); err != nil {
		return err
	}
	b := tx.Batch
	if !b.PausedAt.IsZero() {
		b.PausedAt, b.WakeAt = time.Time{}, tx.Now
	}
	return nil
}

// Advance notes that the page behind cursor was worked through, and what of it was passed over, by reason.
// Next is the cursor behind it, "" at the end: else the batch is taken for the next page, as by Claim.
// ErrLeaseLost if somebody else has taken that page.
func (tx *BatchTx) Advance(cursor string, matched int, skipped map[string]int, next string) error {
	if err := tx.check(); err != nil {
		return err
	}
	b := tx.Batch
	if b.Cursor != cursor || b.Listed || b.rests() {
		return fmt.Errorf("batch %s is at another page: %w", b.ID, ErrLeaseLost)
	}
	b.Matched += matched
	if b.Skipped == nil {
		b.Skipped = map[string]int{}
	}
	for reason, n := range skipped {
		b.Skipped[reason] += n
	}
	b.Cursor = next
	switch {
	case next == "" && b.Canary:
		b.Listed, b.WakeAt = true, tx.stageWake()
	case next == "":
		b.FinishedAt, b.WakeAt = tx.Now, time.Time{}
	default:
		b.WakeAt = tx.Now.Add(BatchLease)
	}
	return nil
}

// Wake has a batch that sleeps for too long looked at with those that are due, and one that has ended by
// nobody.
func (tx *BatchTx) Wake() error {
	if err := tx.check(); err != nil {
		return err
	}
	if b := tx.Batch; b.rests() {
		b.WakeAt = time.Time{}
	} else {
		b.WakeAt = tx.Now
	}
	return nil
}
