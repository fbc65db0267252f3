package jobstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"cloud.google.com/go/firestore"

	"exportd/jobs"
)

// Callbacks gives the deliveries of a job's ends, oldest first.
func (s *Store) Callbacks(ctx context.Context, jobID string) ([]*jobs.Callback, error) {
	docs, err := s.callbacks().Where("jobId", "==", jobID).Limit(100).Documents(ctx).GetAll()
	if err != nil {
		return nil, fmt.Errorf("list callbacks of job %s: %w", jobID, classify(err))
	}
	var out []*jobs.Callback
	for _, doc := range docs {
		cb := &jobs.Callback{}
		if err := decode(doc, cb); err == nil {
			cb.ID = doc.Ref.ID
			out = append(out, cb)
		}
	}
	slices.SortFunc(out, func(a, b *jobs.Callback) int { return a.CreatedAt.Compare(b.CreatedAt) })
	return out, nil
}

// DueCallbacks gives the deliveries whose wakeAt has passed, longest due first. Ended ones
// have none.
func (s *Store) DueCallbacks(ctx context.Context, now time.Time, limit int) ([]jobs.Message, error) {
	docs, err := s.callbacks().Where("wakeAt", "<=", now).OrderBy("wakeAt", firestore.Asc).Limit(limit).Select("jobId").Documents(ctx).GetAll()
	if err != nil {
		return nil, fmt.Errorf("ask for due callbacks: %w", classify(err))
	}
	var out []jobs.Message
	for _, doc := range docs {
		if id, _ := doc.DataAt("jobId"); id != nil {
			out = append(out, jobs.Message{JobID: fmt.Sprint(id), CallbackID: doc.Ref.ID})
		}
	}
	return out, nil
}

// UpdateCallback changes a delivery by compare-and-set; fn may run more than once. An error
// of fn ends it and is returned as it is.
func (s *Store) UpdateCallback(ctx context.Context, id string, fn func(cb *jobs.Callback, now time.Time) error) (*jobs.Callback, error) {
	var out *jobs.Callback
	err := retry(ctx, func() error {
		ref := s.callbacks().Doc(id)
		doc, err := ref.Get(ctx)
		if err = classify(err); err != nil {
			return fmt.Errorf("get callback %s: %w", id, err)
		}
		cb := &jobs.Callback{}
		if err := decode(doc, cb); err != nil {
			return err
		}
		cb.ID = id
		if err := fn(cb, s.cfg.Now().UTC().Truncate(time.Microsecond)); err != nil {
			return err
		}
		cb.Rev = jobs.NewToken()
		batch := s.client.Batch().Update(ref, fields(cb), firestore.LastUpdateTime(doc.UpdateTime))
		out = cb
		return commit(ctx, batch, s.carries(ref, cb.Rev))
	})
	if errors.Is(err, jobs.ErrInvalid) {
		return nil, fmt.Errorf("callback %s: %w", id, err)
	}
	return out, err
}
