package inmemory

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"exportd/jobs"
)

// record writes an entry down.
func (s *Store) record(e *jobs.AuditEntry) {
	if e != nil {
		s.audit = append(s.audit, *e)
	}
}

// Record writes an entry down.
func (s *Store) Record(_ context.Context, e *jobs.AuditEntry) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.record(e)
	return nil
}

// Recorded says to how many something was done.
func (s *Store) Recorded(_ context.Context, id string, count int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.audit {
		if s.audit[i].ID == id {
			s.audit[i].Count = count
			return nil
		}
	}
	return fmt.Errorf("audit entry %s: %w", id, jobs.ErrNotFound)
}

// AuditEntries gives a page of what operators did, latest first.
func (s *Store) AuditEntries(_ context.Context, l jobs.AuditList) ([]*jobs.AuditEntry, string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := slices.DeleteFunc(slices.Clone(s.audit), func(e jobs.AuditEntry) bool {
		return l.Actor != "" && l.Actor != e.Actor || l.Action != "" && l.Action != e.Action || l.Target != "" && l.Target != e.Target ||
			e.At.Before(l.Since) || !l.Until.IsZero() && !e.At.Before(l.Until) || s.lapsed(e.ExpiresAt)
	})
	slices.SortFunc(all, func(a, b jobs.AuditEntry) int { return cmp.Or(a.At.Compare(b.At), strings.Compare(a.ID, b.ID)) })
	return page(all, l.PageSize, l.PageToken, func(e *jobs.AuditEntry) (time.Time, string) { return e.At, e.ID })
}
