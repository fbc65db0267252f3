package jobs

import (
	"fmt"
	"maps"
	"time"
)

// BatchLease is how long a batch is its worker's; a page at 1 job a second fits in.
const BatchLease = time.Minute

// BatchRequest is what an operator asks a batch for.
type BatchRequest struct {
	Filter        BatchFilter
	Mode          RerunMode
	Actor, Reason string
	MaxPerSecond  int
}

// NewBatch is a batch that a worker takes up at once.
func NewBatch(r BatchRequest, now time.Time) *Batch {
	now = now.UTC().Truncate(time.Microsecond)
	return &Batch{
		ID: NewID(), Schema: OldestSchema, Rev: NewToken(), Filter: r.Filter, Mode: r.Mode, MaxPerSecond: r.MaxPerSecond,
		Actor: r.Actor, Reason: r.Reason, CreatedAt: now, WakeAt: now, Skipped: map[string]int{},
	}
}

// Copy shares nothing with the batch that a transition changes.
func (b *Batch) Copy() *Batch {
	again := *b
	again.Skipped = maps.Clone(b.Skipped)
	return &again
}

// BatchTx is one transaction on a batch, as Tx is on a job: each method changes Batch or returns an
// error, and then the transaction must be dropped.
type BatchTx struct {
	Now   time.Time
	Batch *Batch
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

// Claim takes the batch for a page, or again for the next; it is over where it has ended, also as
// damaged. Two workers may hold it: Advance takes a page from one of them only, and RerunIn runs no job
// twice.
func (tx *BatchTx) Claim() (over bool, err error) {
	if err := tx.check(); err != nil {
		return false, err
	}
	b := tx.Batch
	if !b.FinishedAt.IsZero() {
		b.WakeAt = time.Time{}
		return true, nil
	}
	b.WakeAt = tx.Now.Add(BatchLease)
	return false, nil
}

// Advance notes that the page behind cursor was worked through, and what of it was passed over, by reason. Next
// is the cursor behind it, "" at the end. ErrLeaseLost if somebody else has taken that page.
func (tx *BatchTx) Advance(cursor string, matched int, skipped map[string]int, next string) error {
	if err := tx.check(); err != nil {
		return err
	}
	b := tx.Batch
	if b.Cursor != cursor || !b.FinishedAt.IsZero() {
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
	if next == "" {
		b.FinishedAt, b.WakeAt = tx.Now, time.Time{}
	}
	return nil
}

// Wake has a batch that sleeps for too long looked at with those that are due, and one that has ended by nobody.
func (tx *BatchTx) Wake() error {
	if err := tx.check(); err != nil {
		return err
	}
	if b := tx.Batch; b.FinishedAt.IsZero() {
		b.WakeAt = tx.Now
	} else {
		b.WakeAt = time.Time{}
	}
	return nil
}
