package jobstore

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"time"

	"cloud.google.com/go/firestore"

	"exportd/internal/telemetry"
	"exportd/jobs"
)

func (s *Store) batches() *firestore.CollectionRef { return s.client.Collection("ExportBatches") }

// CreateBatch stores a batch that a worker takes up.
func (s *Store) CreateBatch(ctx context.Context, r jobs.BatchRequest) (*jobs.Batch, error) {
	b := jobs.NewBatch(r, s.cfg.Now())
	ref := s.batches().Doc(b.ID)
	batch := s.newWrites().Create(ref, b.Stored())
	s.addAudit(batch, b.Audit(s.cfg.Now()))
	if err := s.commit(ctx, batch, s.hasRev(ref, b.Rev)); err != nil {
		return nil, fmt.Errorf("create batch: %w", err)
	}
	return b, nil
}

// Batch gets a batch with the number of jobs or callbacks that it has begun again so far. ErrNotFound if
// there is none.
func (s *Store) Batch(ctx context.Context, id string) (*jobs.Batch, int64, error) {
	if !jobs.ValidID(id) {
		return nil, 0, fmt.Errorf("batch id: %w", jobs.ErrNotFound)
	}
	doc, err := s.batches().Doc(id).Get(ctx)
	if err != nil {
		return nil, 0, fmt.Errorf("get batch %s: %w", id, classify(err))
	}
	b := s.decodeBatch(doc)
	of := s.jobs().Where("batchId", "==", id)
	if b.Callbacks != nil {
		of = s.sentAgain(b)
	}
	n, err := s.count(ctx, of)
	return b, n, err
}

// Batches lists the latest batches, newest first.
func (s *Store) Batches(ctx context.Context, limit int) ([]*jobs.Batch, error) {
	return s.listBatches(ctx, s.batches().OrderBy("createdAt", firestore.Desc).Limit(limit))
}

// maxOtherBatches bounds the batches of versions that this build does not read and that may be due before its
// own: far more than operators begin between two builds.
const maxOtherBatches = 100

// DueBatches lists the batches whose wakeAt has passed and that this build reads.
func (s *Store) DueBatches(ctx context.Context, now time.Time, limit int) ([]*jobs.Batch, error) {
	due, err := s.listBatches(ctx, s.batches().Where("wakeAt", "<=", now).OrderBy("wakeAt", firestore.Asc).Limit(limit+maxOtherBatches))
	due = slices.DeleteFunc(due, func(b *jobs.Batch) bool { return !jobs.Readable(b.Schema) })
	return due[:min(limit, len(due))], err
}

func (s *Store) listBatches(ctx context.Context, q firestore.Query) ([]*jobs.Batch, error) {
	var out []*jobs.Batch
	err := each(ctx, q, func(doc *firestore.DocumentSnapshot) error {
		out = append(out, s.decodeBatch(doc))
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list batches: %w", err)
	}
	return out, nil
}

// UpdateBatch runs a transition of a batch by compare-and-set; fn may run more than once. What changes
// nothing is not written: a canary asks before each page whether it may go on.
func (s *Store) UpdateBatch(ctx context.Context, id string, fn func(*jobs.BatchTx) error) (*jobs.Batch, error) {
	var out *jobs.Batch
	err := retry(ctx, func() error {
		ref := s.batches().Doc(id)
		doc, err := ref.Get(ctx)
		if err != nil {
			return fmt.Errorf("get batch %s: %w", id, classify(err))
		}
		b, mended := s.readBatch(doc)
		was, tx := b.Copy(), jobs.NewBatchTx(s.cfg.Now(), b)
		if err := fn(tx); err != nil {
			return err
		}
		out = b
		if !mended && tx.Audit == nil && reflect.DeepEqual(was, b) {
			return nil
		}
		b.Rev = jobs.NewToken()
		batch := s.newWrites().Update(ref, fields(b.Stored()), firestore.LastUpdateTime(doc.UpdateTime))
		s.addAudit(batch, tx.Audit)
		return s.commit(ctx, batch, s.hasRev(ref, b.Rev))
	})
	return out, err
}

func (s *Store) decodeBatch(doc *firestore.DocumentSnapshot) *jobs.Batch {
	b, _ := s.readBatch(doc)
	return b
}

// readBatch gives a batch that makes no sense as one that has ended and says so: mended, and to be written.
func (s *Store) readBatch(doc *firestore.DocumentSnapshot) (b *jobs.Batch, mended bool) {
	b = &jobs.Batch{}
	damage := salvage(doc, b)
	b.ID, b.Damage = doc.Ref.ID, damage
	b.Upgrade()
	now := s.cfg.Now().UTC().Truncate(time.Microsecond)
	valid := jobs.ValidID
	if b.Callbacks != nil {
		valid = jobs.ValidCallbackID
	}
	if _, _, err := parsePageToken(b.Cursor, valid); b.Damage == "" && b.Cursor != "" && len(b.JobIDs) == 0 && err != nil {
		b.Damage = "its cursor is none"
	}
	if err := b.Check(now); err != nil {
		if b.Invalidate(err, now); b.FinishedAt.Equal(now) { // else another build's
			s.damaged(telemetry.BatchDocument, doc, err.Error())
			mended = true
		}
	}
	return b, mended
}
