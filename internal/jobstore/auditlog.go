package jobstore

import (
	"context"
	"fmt"

	"cloud.google.com/go/firestore"

	"exportd/internal/telemetry"
	"exportd/jobs"
)

func (s *Store) auditLog() *firestore.CollectionRef { return s.client.Collection("ExportAudit") }

// addAudit writes entries down in the commit of what they tell of.
func (s *Store) addAudit(batch *writes, entries ...*jobs.AuditEntry) {
	for _, e := range entries {
		if e != nil {
			batch.Create(s.auditLog().Doc(e.ID), e)
		}
	}
}

// Record writes an entry down.
func (s *Store) Record(ctx context.Context, e *jobs.AuditEntry) error {
	// Set and not create: whether an answer was lost makes no difference.
	if _, err := s.auditLog().Doc(e.ID).Set(ctx, e); err != nil {
		return fmt.Errorf("record %s: %w", e.Action, classify(err))
	}
	return nil
}

// Recorded says to how many something was done.
func (s *Store) Recorded(ctx context.Context, id string, count int64) error {
	if !jobs.ValidID(id) {
		return fmt.Errorf("audit entry: %w", jobs.ErrNotFound)
	}
	if _, err := s.auditLog().Doc(id).Update(ctx, []firestore.Update{{Path: "count", Value: count}}); err != nil {
		return fmt.Errorf("record how many: %w", classify(err))
	}
	return nil
}

// AuditEntries gives a page of what operators did, latest first.
func (s *Store) AuditEntries(ctx context.Context, l jobs.AuditList) (page []*jobs.AuditEntry, next string, err error) {
	q, err := list{
		of: s.auditLog(), at: "at", from: l.Since, to: l.Until, token: l.PageToken, valid: jobs.ValidID,
		values: []value{{"actor", l.Actor}, {"action", string(l.Action)}, {"target", l.Target}},
	}.query()
	if err != nil {
		return nil, "", err
	}
	next, err = eachOfPage(ctx, q, "at", pageSize(l.PageSize), func(doc *firestore.DocumentSnapshot) {
		var e jobs.AuditEntry
		why := salvage(doc, &e)
		if e.ID = doc.Ref.ID; why == "" {
			why = e.Check(s.cfg.Now())
		}
		switch {
		case s.gone(doc):
		case why != "":
			s.damaged(telemetry.AuditDocument, doc, why)
		default:
			page = append(page, &e)
		}
	})
	if err != nil {
		return nil, "", fmt.Errorf("list what operators did: %w", err)
	}
	return page, next, nil
}
