package inmemory

import (
	"context"

	"exportd/jobs"
)

// BudgetDays are what keys have spent of their budgets today.
func (s *Store) BudgetDays(_ context.Context, keyIDs []string) ([]jobs.BudgetDay, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	days := make([]jobs.BudgetDay, len(keyIDs))
	for i, id := range keyIDs {
		days[i] = s.budgetDay(jobs.NewBudgetDay(id, s.now()))
	}
	return days, nil
}

func (s *Store) budgetDay(day jobs.BudgetDay) jobs.BudgetDay {
	if known, ok := s.budgets[day.ID()]; ok {
		known.Now = day.Now
		return known
	}
	return day
}

// reserve has a new job reserve what it asks for.
func (s *Store) reserve(job *jobs.Job, r *jobs.BudgetRequest) error {
	if r == nil {
		return nil
	}
	day, err := job.Reserve(s.budgetDay(jobs.NewBudgetDay(job.KeyID, job.CreatedAt)), *r)
	if err != nil {
		return err
	}
	s.budgets[day.ID()] = day
	return nil
}

// settle adds to a day by how much it changes.
func (s *Store) settle(by *jobs.BudgetDay) {
	if by == nil {
		return
	}
	day := s.budgetDay(jobs.NewBudgetDay(by.KeyID, by.Day))
	day.Rows, day.Reads = day.Rows+by.Rows, day.Reads+by.Reads
	s.budgets[day.ID()] = day
}
