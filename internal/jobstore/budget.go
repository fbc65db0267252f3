package jobstore

import (
	"context"
	"fmt"

	"cloud.google.com/go/firestore"

	"exportd/internal/telemetry"
	"exportd/jobs"
)

func (s *Store) budgets() *firestore.CollectionRef { return s.client.Collection("ExportBudgets") }

// BudgetDays are what keys have spent of their budgets today.
func (s *Store) BudgetDays(ctx context.Context, keyIDs []string) ([]jobs.BudgetDay, error) {
	now, days := s.cfg.Now(), make([]jobs.BudgetDay, len(keyIDs))
	refs := make([]*firestore.DocumentRef, len(keyIDs))
	for i, id := range keyIDs {
		days[i] = jobs.NewBudgetDay(id, now)
		refs[i] = s.budgets().Doc(days[i].ID())
	}
	if len(refs) == 0 {
		return days, nil
	}
	docs, err := s.client.GetAll(ctx, refs)
	if err != nil {
		return nil, fmt.Errorf("read the budgets of %d keys: %w", len(keyIDs), classify(err))
	}
	for i, doc := range docs {
		days[i] = s.budgetDayIn(doc, days[i])
	}
	return days, nil
}

// budgetDayIn is the day that a document tells of. One that is damaged is as one of which nothing is spent:
// it locks nobody out.
func (s *Store) budgetDayIn(doc *firestore.DocumentSnapshot, fresh jobs.BudgetDay) jobs.BudgetDay {
	if !doc.Exists() {
		return fresh
	}
	var day jobs.BudgetDay
	why := salvage(doc, &day)
	if err := day.Check(fresh); why == "" && err != nil {
		why = err.Error()
	}
	if why != "" {
		s.damaged(telemetry.BudgetDocument, doc, why)
		return fresh
	}
	return day
}

// reserve has a new job reserve what it asks for, in the commit that makes it and on condition that nobody
// has changed the day since: no two jobs get the same rows.
func (s *Store) reserve(ctx context.Context, batch *writes, job *jobs.Job, r *jobs.BudgetRequest) error {
	if r == nil {
		return nil
	}
	fresh := jobs.NewBudgetDay(job.KeyID, job.CreatedAt)
	docs, err := s.client.GetAll(ctx, []*firestore.DocumentRef{s.budgets().Doc(fresh.ID())})
	if err != nil {
		return fmt.Errorf("read the budget of key %s: %w", job.KeyID, classify(err))
	}
	was := docs[0]
	day, err := job.Reserve(s.budgetDayIn(was, fresh), *r)
	if err != nil {
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
