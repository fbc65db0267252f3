package jobstore

import (
	"context"
	"fmt"
	"sync"
	"time"

	"cloud.google.com/go/firestore"

	"exportd/internal/telemetry"
	"exportd/jobs"
)

func (s *Store) causes() *firestore.CollectionRef { return s.client.Collection("ExportCauses") }

// notedCauses remembers when this process last noted each cause.
type notedCauses struct {
	mu sync.Mutex
	at map[string]time.Time
}

// maxNoted bounds what is remembered of causes. Beyond it all are forgotten, and noted again.
const maxNoted = 10_000

// recently says when a cause was noted, if that is so lately that it need not be again.
func (n *notedCauses) recently(id string, now time.Time) (at time.Time, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	at, ok = n.at[id]
	return at, ok && !now.Before(at) && now.Sub(at) < jobs.CauseAgain
}

func (n *notedCauses) note(id string, now time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.at) >= maxNoted {
		clear(n.at)
	}
	n.at[id] = now
}

// addCauses notes causes in the commit of what met them, unless this process or another has just done so: of
// a cause that 256 workers meet, each would write four times a second to one document, which bears one. Each
// reads it, as somebody may have looked since whether the cause is mended. What it gives is to be called once
// that stands.
func (s *Store) addCauses(ctx context.Context, batch *writes, met ...*jobs.CauseNote) (stands func()) {
	added := map[string]time.Time{}
	for _, n := range met {
		if n == nil {
			continue
		}
		id := n.ID()
		if _, twice := added[id]; twice {
			continue
		}
		added[id] = n.LastAt
		note := map[string]any{"code": n.Code, "what": n.What, "message": n.Message, "remedy": n.Remedy, "lastAt": n.LastAt, "expiresAt": n.ExpiresAt}
		doc, err := s.causes().Doc(id).Get(ctx)
		if err == nil && s.gone(doc) { // nothing of it is to be seen again
			note["firstMicros"] = n.FirstAt.UnixMicro()
			batch.Set(doc.Ref, note)
			continue
		}
		var was *jobs.CauseNote
		if err == nil {
			was = s.readCause(doc)
		}
		if was != nil && was.NotedBy(n.LastAt) {
			added[id] = was.LastAt
			continue
		}
		if at, ok := s.noted.recently(id, n.LastAt); ok && !was.Probed() {
			added[id] = at
			continue
		}
		// Also where it could not be read: whether it can be written, the commit says.
		note["firstMicros"] = firestore.FieldTransformMinimum(n.FirstAt.UnixMicro())
		batch.Set(s.causes().Doc(id), note, firestore.MergeAll)
	}
	return func() {
		for id, at := range added {
			s.noted.note(id, at)
		}
	}
}

// causeDoc is a cause as it is stored.
type causeDoc struct {
	Code        jobs.Code   `firestore:"code"`
	What        string      `firestore:"what"`
	Message     string      `firestore:"message"`
	Remedy      string      `firestore:"remedy"`
	FirstMicros int64       `firestore:"firstMicros"`
	LastAt      time.Time   `firestore:"lastAt"`
	ExpiresAt   time.Time   `firestore:"expiresAt"`
	Probe       *jobs.Probe `firestore:"probe"`
}

// readCause reads a cause; nil where it makes no sense, or its time is over.
func (s *Store) readCause(doc *firestore.DocumentSnapshot) *jobs.CauseNote {
	if !doc.Exists() || s.gone(doc) {
		return nil
	}
	var d causeDoc
	why := salvage(doc, &d)
	n := &jobs.CauseNote{
		Cause: jobs.Cause{Code: d.Code, What: d.What}, Message: d.Message, Remedy: d.Remedy, FirstAt: time.UnixMicro(d.FirstMicros).UTC(), LastAt: d.LastAt, ExpiresAt: d.ExpiresAt, Probe: d.Probe,
	}
	if why == "" {
		why = n.Check(doc.Ref.ID, s.cfg.Now())
	}
	if why != "" {
		s.damaged(telemetry.CauseDocument, doc, why)
		return nil
	}
	return n
}

// Causes gives a page of the causes that were noted since then, latest first.
func (s *Store) Causes(ctx context.Context, since time.Time, size int, token string) (page []*jobs.CauseNote, next string, err error) {
	q, err := list{of: s.causes(), at: "lastAt", from: since, token: token, valid: func(id string) bool { return jobs.CauseCode(id) != "" }}.query()
	if err != nil {
		return nil, "", err
	}
	next, err = eachOfPage(ctx, q, "lastAt", pageSize(size), func(doc *firestore.DocumentSnapshot) {
		if c := s.readCause(doc); c != nil {
			page = append(page, c)
		}
	})
	if err != nil {
		return nil, "", fmt.Errorf("list causes: %w", err)
	}
	return page, next, nil
}

// Cause gives what is remembered of a cause.
func (s *Store) Cause(ctx context.Context, id string) (*jobs.CauseNote, error) {
	if jobs.CauseCode(id) == "" {
		return nil, fmt.Errorf("cause id: %w", jobs.ErrNotFound)
	}
	doc, err := s.causes().Doc(id).Get(ctx)
	if err != nil {
		return nil, fmt.Errorf("get cause %s: %w", id, classify(err))
	}
	if n := s.readCause(doc); n != nil {
		return n, nil
	}
	return nil, fmt.Errorf("get cause %s: %w", id, jobs.ErrNotFound)
}

// NoteProbe keeps how a look went whether a cause is mended.
func (s *Store) NoteProbe(ctx context.Context, id string, p jobs.Probe) error {
	if jobs.CauseCode(id) == "" {
		return fmt.Errorf("cause id: %w", jobs.ErrNotFound)
	}
	_, err := s.causes().Doc(id).Update(ctx, []firestore.Update{{Path: "probe", Value: p}})
	if err != nil {
		return fmt.Errorf("note probe of cause %s: %w", id, classify(err))
	}
	return nil
}

// CauseCases counts the cases of a cause: a read for each of the latest, and one for each 1,000 where there
// are more.
func (s *Store) CauseCases(ctx context.Context, q jobs.CauseQuery) (found jobs.CauseCases, err error) {
	at, of := "finishedAt", s.jobs().Where("error.cause", "==", q.ID)
	state, callbacks := q.Callbacks()
	switch {
	case callbacks && q.Kind != "":
		return found, nil
	case callbacks:
		at, of = "createdAt", s.callbacks().Where("cause", "==", q.ID).Where("state", "==", state)
	case q.Kind != "":
		of = of.Where("kind", "==", q.Kind)
	}
	if q.OrgID != "" {
		of = of.Where("orgId", "==", q.OrgID)
	}
	of = of.Where(at, ">=", q.From).Where(at, "<", q.To).OrderBy(at, firestore.Desc)
	err = each(ctx, of.Select("orgId", "jobId", "error.part", at).Limit(jobs.CasesShown+1), func(doc *firestore.DocumentSnapshot) error {
		if found.Count++; found.Count > jobs.CasesShown {
			return nil
		}
		c := jobs.CauseCase{JobID: doc.Ref.ID}
		if callbacks {
			c.JobID, _ = valueAt[string](doc, "jobId")
		}
		c.OrgID, _ = valueAt[string](doc, "orgId")
		c.At, _ = valueAt[time.Time](doc, at)
		if part, ok := valueAt[int64](doc, "error.part"); ok && part >= 0 && part < jobs.MaxParts {
			c.Part = new(int(part))
		}
		found.Latest = append(found.Latest, c)
		return nil
	})
	if err == nil && found.Count > jobs.CasesShown {
		found.Count, err = s.count(ctx, of)
	}
	if err != nil {
		return jobs.CauseCases{}, fmt.Errorf("count cases of cause %s: %w", q.ID, err)
	}
	return found, nil
}

// BatchOutcome tells how the jobs are that a batch has run again: three counts, and a read where one has
// failed again.
func (s *Store) BatchOutcome(ctx context.Context, b *jobs.Batch) (o jobs.BatchOutcome, err error) {
	if b.Callbacks != nil {
		return s.callbackOutcome(ctx, b)
	}
	of := s.jobs().Where("batchId", "==", b.ID)
	if o.Rerun, err = s.count(ctx, of); err != nil {
		return o, fmt.Errorf("count jobs of batch %s: %w", b.ID, err)
	}
	for _, state := range []jobs.State{jobs.Queued, jobs.Running} {
		n, err := s.count(ctx, of.Where("state", "==", state))
		if err != nil {
			return o, fmt.Errorf("count jobs of batch %s: %w", b.ID, err)
		}
		o.Live += n
	}
	// After those that live: one that ends meanwhile is seen as live or as failed, not as neither.
	again := of.Where("state", "==", jobs.Failed)
	if b.Filter.Cause != "" {
		again = again.Where("error.cause", "==", b.Filter.Cause)
	}
	err = each(ctx, again.Limit(1), func(doc *firestore.DocumentSnapshot) error {
		o.Again = jobs.JobFailedAgain(doc.Ref.ID)
		return nil
	})
	if err != nil {
		return o, fmt.Errorf("list failed jobs of batch %s: %w", b.ID, err)
	}
	return o, nil
}
