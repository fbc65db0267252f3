package jobstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"cloud.google.com/go/firestore"
	"golang.org/x/sync/errgroup"

	"exportd/jobs"
)

// purgeBatch is how many documents one commit deletes; far below the 10 MiB of a request.
const purgeBatch = 300

// Purge deletes a job's record with all that hangs on it: of nearly every job in one commit.
// Where there is more than one commit takes, the job's own document goes last, so that a
// purge cut short is found and done again.
func (s *Store) Purge(ctx context.Context, j *jobs.Job) error {
	queries := []firestore.Query{s.parts(j.ID).Query, s.events(j.ID).Query, s.callbacks().Where("jobId", "==", j.ID)}
	found := make([][]*firestore.DocumentSnapshot, len(queries)+1)
	g, gctx := errgroup.WithContext(ctx)
	for i, q := range queries {
		g.Go(func() (err error) {
			found[i], err = q.Select().Limit(purgeBatch).Documents(gctx).GetAll()
			return err
		})
	}
	if j.Fingerprint != "" {
		g.Go(func() (err error) {
			found[len(queries)], err = s.client.GetAll(gctx, []*firestore.DocumentRef{s.fingerprints().Doc(j.Fingerprint)})
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("purge job %s: %w", j.ID, classify(err))
	}
	batch, n := s.newWrites(), 0
	for i, q := range queries {
		if n+len(found[i]) >= purgeBatch {
			if err := s.deleteAll(ctx, q); err != nil {
				return fmt.Errorf("purge job %s: %w", j.ID, err)
			}
			continue
		}
		n += len(found[i])
		for _, doc := range found[i] {
			batch.Delete(doc.Ref)
		}
	}
	for _, doc := range found[len(queries)] {
		if to, _ := doc.DataAt("jobId"); doc.Exists() && to == j.ID {
			batch.Delete(doc.Ref, firestore.LastUpdateTime(doc.UpdateTime))
		}
	}
	batch.Delete(s.jobs().Doc(j.ID))
	_, err := batch.Commit(ctx)
	return classify(err)
}

// PurgePointers deletes idempotency keys, and what is remembered of receivers, whose life is over.
func (s *Store) PurgePointers(ctx context.Context, now time.Time) error {
	var errs []error
	for _, of := range []*firestore.CollectionRef{s.idempotency(), s.receivers()} {
		errs = append(errs, s.deleteAll(ctx, of.Where("expiresAt", "<=", now)))
	}
	return errors.Join(errs...)
}

func (s *Store) deleteAll(ctx context.Context, q firestore.Query) error {
	for {
		docs, err := q.Select().Limit(purgeBatch).Documents(ctx).GetAll()
		if err != nil {
			return classify(err)
		}
		if len(docs) == 0 {
			return nil
		}
		batch := s.newWrites()
		for _, doc := range docs {
			batch.Delete(doc.Ref)
		}
		if _, err := batch.Commit(ctx); err != nil || len(docs) < purgeBatch {
			return classify(err)
		}
	}
}
