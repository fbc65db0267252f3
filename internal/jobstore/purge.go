package jobstore

import (
	"context"
	"fmt"
	"time"

	"cloud.google.com/go/firestore"

	"exportd/jobs"
)

// purgeBatch is how many documents one commit deletes; far below the 10 MiB of a request.
const purgeBatch = 300

// Purge deletes a job's record with all that hangs on it, the job's own document last, so
// that a purge cut short is found and done again.
func (s *Store) Purge(ctx context.Context, j *jobs.Job) error {
	for _, q := range []firestore.Query{
		s.parts(j.ID).Query, s.events(j.ID).Query, s.callbacks().Where("jobId", "==", j.ID),
	} {
		if err := s.deleteAll(ctx, q); err != nil {
			return fmt.Errorf("purge job %s: %w", j.ID, err)
		}
	}
	batch := s.newWrites()
	fp := s.fingerprints().Doc(j.Fingerprint)
	if j.Fingerprint != "" {
		doc, err := s.client.GetAll(ctx, []*firestore.DocumentRef{fp})
		if err != nil {
			return fmt.Errorf("purge job %s: %w", j.ID, classify(err))
		}
		if to, _ := doc[0].DataAt("jobId"); doc[0].Exists() && to == j.ID {
			batch.Delete(fp, firestore.LastUpdateTime(doc[0].UpdateTime))
		}
	}
	batch.Delete(s.jobs().Doc(j.ID))
	_, err := batch.Commit(ctx)
	return classify(err)
}

// PurgePointers deletes idempotency keys whose life is over.
func (s *Store) PurgePointers(ctx context.Context, now time.Time) error {
	return s.deleteAll(ctx, s.idempotency().Where("expiresAt", "<=", now))
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
		if _, err := batch.Commit(ctx); err != nil {
			return classify(err)
		}
	}
}
