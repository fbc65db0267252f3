package jobstore

import (
	"context"
	"fmt"

	"cloud.google.com/go/firestore"

	"exportd/internal/telemetry"
	"exportd/jobs"
)

func (s *Store) budgets() *firestore.CollectionRef { return s.client.Collection("ExportBudgets") }

// BudgetDay is what a key has spent of its budget today.
func (s *Store) BudgetDay(ctx context.Context, keyID string) (jobs.BudgetDay, error) {
	day, _, err := s.budgetDay(ctx, jobs.NewBudgetDay(keyID, s.cfg.Now()))
	return day, err
}

// budgetDay reads a day. One that is damaged is as one of which nothing is spent: it locks nobody out.
func (s *Store) budgetDay(ctx context.Context, fresh jobs.BudgetDay) (jobs.BudgetDay, *firestore.DocumentSnapshot, error) {
	docs, err := s.client.GetAll(ctx, []*firestore.DocumentRef{s.budgets().Doc(fresh.ID())})
	if err != nil {
		return fresh, nil, fmt.Errorf("read the budget of key %s: %w", fresh.KeyID, classify(err))
	}
	doc, day := docs[0], jobs.BudgetDay{}
	if !doc.Exists() {
		return fresh, doc, nil
	}
	why := salvage(doc, &day)
	if err := day.Check(fresh); why == "" && err != nil {
		why = err.Error()
	}
	if why != "" {
		s.damaged(telemetry.BudgetDocument, doc, why)
		return fresh, doc, nil
	}
	return day, doc, nil
}

// reserve has a new job reserve what it asks for, in the commit that makes it and on condition that nobody
// has changed the day since: no two jobs get the same rows.
func (s *Store) reserve(ctx context.Context, batch *writes, job *jobs.Job, r *jobs.BudgetRequest) error {
	if r == nil {
		return nil
	}
	day, was, err := s.budgetDay(ctx, jobs.NewBudgetDay(job.KeyID, job.CreatedAt))
	if err != nil {
		return err
	}
	if day, err = job.Reserve(day, *r); err != nil {
		return err
	}
	if !was.Exists() {
		batch.Create(was.Ref, day)
		return nil
	}
	batch.Update(was.Ref, fields(day), firestore.LastUpdateTime(was.UpdateTime))
	return nil
}

// addSettlement adds to a day by how much it changes, as addTally does.
func (s *Store) addSettlement(batch *writes, by *jobs.BudgetDay) {
	batch.Set(s.budgets().Doc(by.ID()), map[string]any{
		"keyId": by.KeyID, "day": by.Day, "expiresAt": by.ExpiresAt, "rows": firestore.Increment(by.Rows), "reads": firestore.Increment(by.Reads),
	}, firestore.MergeAll)
}
