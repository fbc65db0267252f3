package jobstore

import (
	"context"
	"fmt"
	"time"

	"cloud.google.com/go/firestore"

	"exportd/internal/telemetry"
	"exportd/jobs"
)

func (s *Store) budgets() *firestore.CollectionRef { return s.client.Collection("ExportBudgets") }

// BudgetDays are what keys have spent of their budgets today.
func (s *Store) BudgetDays(ctx context.Context, keyIDs []string) ([]jobs.BudgetDay, error) {
	days, _, err := s.readBudgets(ctx, keyIDs)
	return days, err
}

// readBudgets gives the days of keys, and the documents. Which day it is Firestore says where clocks are
// compared: by clocks that differ, or step, a key would have the rest of yesterday here and tomorrow's budget
// there, and be refused past midnight.
func (s *Store) readBudgets(ctx context.Context, keyIDs []string) ([]jobs.BudgetDay, []*firestore.DocumentSnapshot, error) {
	days, docs, err := s.readBudgetsOf(ctx, s.cfg.Now(), keyIDs)
	if err != nil || len(docs) == 0 || s.cfg.Drift <= 0 {
		return days, docs, err
	}
	now := docs[0].ReadTime
	if now.Before(days[0].Day) || !now.Before(days[0].RenewsAt()) {
		return s.readBudgetsOf(ctx, now, keyIDs)
	}
	for i := range days {
		days[i].Now = now
	}
	return days, docs, nil
}

// readBudgetsOf reads the day of now.
func (s *Store) readBudgetsOf(ctx context.Context, now time.Time, keyIDs []string) ([]jobs.BudgetDay, []*firestore.DocumentSnapshot, error) {
	days, refs := make([]jobs.BudgetDay, len(keyIDs)), make([]*firestore.DocumentRef, len(keyIDs))
	for i, id := range keyIDs {
		days[i] = jobs.NewBudgetDay(id, now)
		refs[i] = s.budgets().Doc(days[i].ID())
	}
	if len(refs) == 0 {
		return days, nil, nil
	}
	docs, err := s.client.GetAll(ctx, refs)
	if err != nil {
		return nil, nil, fmt.Errorf("read the budgets of %d keys: %w", len(keyIDs), classify(err))
	}
	for i, doc := range docs {
		days[i] = s.budgetDayIn(doc, days[i])
	}
	return days, docs, nil
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
	day.Now = fresh.Now
	return day
}

// reserve has a new job reserve what it asks for, in the commit that makes it and on condition that nobody
// has changed the day since: no two jobs get the same rows.
func (s *Store) reserve(ctx context.Context, batch *writes, job *jobs.Job, r *jobs.BudgetRequest) error {
	if r == nil {
		return nil
	}
	days, docs, err := s.readBudgets(ctx, []string{job.KeyID})
	if err != nil {
		return err
	}
	day, err := job.Reserve(days[0], *r)
	if err != nil {
		return err
	}
	was := docs[0]
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
