package jobstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"cloud.google.com/go/firestore"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"exportd/jobs"
)

// purgeBatch is how many documents one commit deletes; far below the 10 MiB of a request.
const purgeBatch = 300

// purgeAtOnce is how many jobs one commit deletes: what is read before, should it be damaged, may have up to
// a megabyte each.
const purgeAtOnce = 100

// Purge deletes the records of those of some jobs that are due for it, each unless it has changed since it
// was read, and of a hundred in one commit. What hangs on them the database deletes by itself, see
// jobs.Job.Lapses; only that of a job that an older build made is deleted here, before the job's own
// document, so that a purge cut short is found and done again.
func (s *Store) Purge(ctx context.Context, of []*jobs.Job) error {
	var errs []error
	for some := range slices.Chunk(of, purgeAtOnce) {
		if err := s.purge(ctx, some); err != nil {
			errs = append(errs, fmt.Errorf("purge %d jobs: %w", len(some), classify(err)))
		}
	}
	return errors.Join(errs...)
}

func (s *Store) purge(ctx context.Context, some []*jobs.Job) error {
	refs := make([]*firestore.DocumentRef, len(some))
	for i, j := range some {
		refs[i] = s.jobs().Doc(j.ID)
	}
	docs, err := s.client.GetAll(ctx, refs)
	if err != nil {
		return err
	}
	batch := s.newWrites()
	var going []*firestore.DocumentSnapshot
	for _, doc := range docs {
		if !doc.Exists() {
			continue
		}
		j := decodeJob(doc)
		if duty, err := jobs.NewTx(s.cfg.Policy, s.cfg.Now(), "", j, nil).Wake(); err != nil || duty != jobs.Purge {
			continue // somebody has run it again
		}
		if !j.Lapses {
			if err := s.purgeTail(ctx, j.ID); err != nil {
				return err
			}
		}
		batch.Delete(doc.Ref, firestore.LastUpdateTime(doc.UpdateTime))
		going = append(going, doc)
	}
	if len(going) == 0 {
		return nil
	}
	if _, err = batch.Commit(ctx); len(going) == 1 || !changed(err) {
		return unlessChanged(err)
	}
	for _, doc := range going { // one of them was changed meanwhile, and so none was deleted
		if _, err := doc.Ref.Delete(ctx, firestore.LastUpdateTime(doc.UpdateTime)); unlessChanged(err) != nil {
			return err
		}
	}
	return nil
}

// changed reports whether a commit was refused because of what somebody else has done.
func changed(err error) bool {
	switch status.Code(err) {
	case codes.FailedPrecondition, codes.NotFound, codes.Aborted:
		return true
	}
	return false
}

func unlessChanged(err error) error {
	if changed(err) {
		return nil // it is due again, or gone
	}
	return err
}

// purgeTail deletes what hangs on a job of which nothing says when it lapses.
func (s *Store) purgeTail(ctx context.Context, jobID string) error {
	for _, q := range []firestore.Query{s.parts(jobID).Query, s.events(jobID).Query, s.callbacks().Where("jobId", "==", jobID)} {
		if err := s.deleteAll(ctx, q); err != nil {
			return err
		}
	}
	return nil
}

// lapsed reports whether a document's time is over at which the database deletes it by itself. Firestore
// takes up to a day about it; until then, the document is as gone. A time before there was any exportd is not
// believed, as jobs.Checks has it.
func (s *Store) lapsed(doc *firestore.DocumentSnapshot) bool {
	raw, err := doc.DataAt("exportLapsesAt")
	at, ok := raw.(time.Time)
	if err != nil || !ok || s.cfg.Now().Before(at) {
		return false
	}
	could := jobs.NewChecks(s.cfg.Now())
	could.Happened("exportLapsesAt", at)
	return could.What() == ""
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
		err = s.commit(ctx, batch, func(context.Context) (bool, error) { return false, nil }) // what is gone stays gone
		if err != nil || len(docs) < purgeBatch {
			return err
		}
	}
}
