package jobstore

import (
	"context"
	"fmt"
	"slices"
	"time"

	"cloud.google.com/go/firestore"

	"exportd/internal/telemetry"
	"exportd/jobs"
)

// Callbacks gives the deliveries of a job's ends, oldest first.
func (s *Store) Callbacks(ctx context.Context, jobID string) ([]*jobs.Callback, error) {
	var out []*jobs.Callback
	err := each(ctx, s.callbacks().Where("jobId", "==", jobID).Limit(100), func(doc *firestore.DocumentSnapshot) error {
		if !s.lapsed(doc) {
			out = append(out, s.shownCallback(doc))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list callbacks of job %s: %w", jobID, err)
	}
	slices.SortFunc(out, func(a, b *jobs.Callback) int { return a.CreatedAt.Compare(b.CreatedAt) })
	return out, nil
}

// ListCallbacks gives a page of deliveries; next is empty on the last.
func (s *Store) ListCallbacks(ctx context.Context, l jobs.CallbackList) (page []*jobs.Callback, next string, err error) {
	q, err := list{
		of: s.callbacks(), at: "createdAt", from: l.CreatedAfter, to: l.CreatedBefore, token: l.PageToken, valid: jobs.ValidCallbackID,
		values: []value{{"orgId", l.OrgID}, {"origin", l.Origin}, {"state", string(l.State)}, {"cause", l.Cause}},
	}.query()
	if err != nil {
		return nil, "", err
	}
	size := pageSize(l.PageSize)
	last := ""
	err = each(ctx, q.Limit(size+1), func(doc *firestore.DocumentSnapshot) error {
		if s.lapsed(doc) {
			return nil // and so are those behind it, which are older
		}
		if len(page) == size {
			next = last // there are more
			return nil
		}
		page, last = append(page, s.shownCallback(doc)), pageToken(createdAt(doc), doc.Ref.ID)
		return nil
	})
	if err != nil {
		return nil, "", fmt.Errorf("list callbacks: %w", err)
	}
	return page, next, nil
}

// UpdateCallback applies a transition to a delivery, as Update does to a job. Returns the delivery as
// committed.
func (s *Store) UpdateCallback(ctx context.Context, id, actor string, fn func(tx *jobs.CallbackTx) error) (*jobs.Callback, error) {
	if !jobs.ValidCallbackID(id) {
		return nil, fmt.Errorf("callback id: %w", jobs.ErrNotFound)
	}
	var out *jobs.Callback
	var before jobs.CallbackState
	var underWay bool
	err := retry(ctx, func() error {
		ref := s.callbacks().Doc(id)
		doc, err := ref.Get(ctx)
		if err = classify(err); err != nil {
			return fmt.Errorf("get callback %s: %w", id, err)
		}
		if s.lapsed(doc) {
			return fmt.Errorf("callback %s: %w", id, jobs.ErrNotFound)
		}
		cb := s.readCallback(doc)
		tx := &jobs.CallbackTx{Policy: s.cfg.Policy, Now: s.cfg.Now().UTC().Truncate(time.Microsecond), Actor: actor, Callback: cb}
		before, underWay = cb.State, telemetry.UnderWay(cb)
		if err := fn(tx); err != nil {
			return err
		}
		cb.Rev = jobs.NewToken()
		batch := s.newWrites().Update(ref, fields(cb.Stored()), firestore.LastUpdateTime(doc.UpdateTime))
		s.addEvents(batch, cb.JobID, tx.Events)
		s.addTally(batch, jobs.TallyCallback(before, cb, tx.Now))
		noted := s.addCauses(ctx, batch, tx.Met)
		s.addAudit(batch, tx.Audit)
		out = cb
		if err := s.commit(ctx, batch, s.hasRev(ref, cb.Rev)); err != nil {
			return err
		}
		noted()
		return nil
	})
	if err != nil {
		return nil, err
	}
	s.cfg.Transitions.Callback(before, underWay, out, s.cfg.Now())
	return out, nil
}
