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

// met notes that a cause was met.
func (s *Store) met(n *jobs.CauseNote) {
	if n == nil {
		return
	}
	note := *n
	if was := s.noted(n.ID()); was != nil {
		note.FirstAt, note.Probe = was.FirstAt, was.Probe
	}
	s.causes[n.ID()] = &note
}

// noted is what is remembered of a cause; nil for nothing, or when its time is over.
func (s *Store) noted(id string) *jobs.CauseNote {
	if n := s.causes[id]; n != nil && !s.lapsed(n.ExpiresAt) {
		return n
	}
	return nil
}

// causeOf is the cause of a job, "" for none.
func causeOf(j *jobs.Job) string {
	if j.Error == nil {
		return ""
	}
	return j.Error.CauseID
}

// partOf is in which part a job failed, nil for none.
func partOf(j *jobs.Job) *int {
	if j.Error == nil {
		return nil
	}
	return j.Error.Part
}

// Causes gives a page of causes that were noted since then, latest first.
func (s *Store) Causes(_ context.Context, since time.Time, size int, token string) ([]*jobs.CauseNote, string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []jobs.CauseNote
	for _, n := range s.causes {
		if !n.LastAt.Before(since) && !s.lapsed(n.ExpiresAt) {
			all = append(all, *n)
		}
	}
	slices.SortFunc(all, func(a, b jobs.CauseNote) int {
		return cmp.Or(a.LastAt.Compare(b.LastAt), strings.Compare(a.ID(), b.ID()))
	})
	return page(all, size, token, func(n *jobs.CauseNote) (time.Time, string) { return n.LastAt, n.ID() })
}

// Cause gives what is remembered of a cause.
func (s *Store) Cause(_ context.Context, id string) (*jobs.CauseNote, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.noted(id)
	if n == nil {
		return nil, fmt.Errorf("get cause %s: %w", id, jobs.ErrNotFound)
	}
	note := *n
	return &note, nil
}

// NoteProbe keeps how a look went whether a cause is mended.
func (s *Store) NoteProbe(_ context.Context, id string, p jobs.Probe) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.noted(id)
	if n == nil {
		return fmt.Errorf("note probe of cause %s: %w", id, jobs.ErrNotFound)
	}
	note := *n
	note.Probe = &p
	s.causes[id] = &note
	return nil
}

// CauseCases counts the cases of a cause.
func (s *Store) CauseCases(_ context.Context, q jobs.CauseQuery) (found jobs.CauseCases, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []jobs.CauseCase
	add := func(cause, org string, kind jobs.Kind, c jobs.CauseCase) {
		if cause == q.ID && (q.OrgID == "" || q.OrgID == org) && (q.Kind == "" || q.Kind == kind) && !c.At.Before(q.From) && c.At.Before(q.To) {
			all = append(all, c)
		}
	}
	if state, ok := q.Callbacks(); ok {
		for _, cb := range s.deliveries() {
			if cb.State == state {
				add(cb.CauseID, cb.OrgID, "", jobs.CauseCase{JobID: cb.JobID, OrgID: cb.OrgID, At: cb.CreatedAt})
			}
		}
	} else {
		for _, j := range s.jobs {
			add(causeOf(&j), j.OrgID, j.Kind, jobs.CauseCase{JobID: j.ID, OrgID: j.OrgID, At: j.FinishedAt, Part: partOf(&j)})
		}
	}
	slices.SortFunc(all, func(a, b jobs.CauseCase) int {
		return cmp.Or(b.At.Compare(a.At), strings.Compare(b.JobID, a.JobID))
	})
	return jobs.CauseCases{Count: int64(len(all)), Latest: all[:min(len(all), jobs.CasesShown)]}, nil
}

// BatchOutcome tells how the jobs are that a batch has run again.
func (s *Store) BatchOutcome(_ context.Context, b *jobs.Batch) (o jobs.BatchOutcome, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, cb := range s.sentAgain(b) {
		o.Rerun++
		if cb.State == jobs.CallbackPending {
			o.Live++
		}
		if o.Again == "" && cb.FailedAgain() {
			o.Again = cb.Failing()
		}
	}
	for _, j := range s.sorted(func(j *jobs.Job) bool { return j.BatchID == b.ID }) {
		o.Rerun++
		switch {
		case !j.State.Ended():
			o.Live++
		case j.State == jobs.Failed && o.Again == "" && (b.Filter.Cause == "" || b.Filter.Cause == causeOf(&j)):
			o.Again = jobs.JobFailedAgain(j.ID)
		}
	}
	return o, nil
}

// sentAgain are the callbacks that a batch has sent again.
func (s *Store) sentAgain(b *jobs.Batch) (found []jobs.Callback) {
	for _, cb := range s.deliveries() {
		if cb.BatchID == b.ID {
			found = append(found, cb)
		}
	}
	return found
}

// BatchCallbacks counts the callbacks that a batch has sent again by what they have come to.
func (s *Store) BatchCallbacks(_ context.Context, b *jobs.Batch) (o jobs.CallbackOutcome, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, cb := range s.sentAgain(b) {
		switch cb.State {
		case jobs.CallbackDelivered:
			o.Delivered++
		case jobs.CallbackPending:
			o.UnderWay++
		case jobs.CallbackExhausted, jobs.CallbackBlocked, jobs.CallbackGone, jobs.CallbackSuspended:
			o.GivenUp++
		case jobs.CallbackDropped, jobs.CallbackDamaged:
		}
	}
	return o, nil
}
