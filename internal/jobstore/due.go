package jobstore

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"cloud.google.com/go/firestore"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"exportd/internal/telemetry"
	"exportd/jobs"
)

var dueKinds = map[jobs.DueKind]telemetry.DocumentKind{
	jobs.DueJobs: telemetry.JobDocument, jobs.DueEnded: telemetry.JobDocument, jobs.DueParts: telemetry.PartDocument,
	jobs.DueCallbacks: telemetry.CallbackDocument, jobs.DuePlaces: telemetry.PlaceDocument,
}

// JobKey is the Key of a job.
func (s *Store) JobKey(id string) string { return relative(s.jobs().Doc(id)) }

// Due gives the documents of a class and of some shards whose wakeAt has passed, longest due first, behind
// after. Those of a schema that this build does not read are not asked for: the build that wrote them looks
// after them.
func (s *Store) Due(ctx context.Context, kind jobs.DueKind, shards []int, now time.Time, limit int, after *jobs.DueCursor) (jobs.DuePage, error) {
	if kind == jobs.DueEnded {
		ended := make([]int, len(shards))
		for i, n := range shards {
			ended[i] = jobs.EndedShard(n)
		}
		shards = ended
	}
	q, versions := s.jobs().Query, readable()
	switch kind {
	case jobs.DueParts:
		q = s.client.CollectionGroup("parts").Query
	case jobs.DueCallbacks:
		q = s.callbacks().Query
	case jobs.DuePlaces:
		q, versions = s.places().Query, []int{jobs.PlaceSchema}
	}
	q = q.Where("wakeAt", "<=", now).OrderBy("wakeAt", firestore.Asc).OrderBy(firestore.DocumentID, firestore.Asc)
	if after != nil {
		q = q.StartAfter(after.At, s.client.Doc(after.Key))
	}
	docs, err := firstDue(ctx, q.Limit(limit).Select("wakeAt", "planEpoch", "index", "orgId", "number"), versions, shards, limit)
	if err != nil {
		return jobs.DuePage{}, fmt.Errorf("ask what is due: %w", classify(err))
	}
	page := jobs.DuePage{Docs: make([]jobs.Due, 0, len(docs))}
	for _, doc := range docs {
		if d, ok := s.dueDoc(kind, doc); ok {
			if d.Foreign {
				s.damaged(dueKinds[kind], doc, "its name is none that exportd gives")
			}
			page.Docs = append(page.Docs, d)
		}
	}
	if len(docs) == limit {
		last := docs[limit-1]
		raw, _ := last.DataAt("wakeAt")
		at, _ := raw.(time.Time) // what is none is not before now
		page.Next = &jobs.DueCursor{At: at, Key: relative(last.Ref)}
	}
	return page, nil
}

// dueDoc reads what a due document names; not ok for one that is in no collection of exportd.
func (s *Store) dueDoc(kind jobs.DueKind, doc *firestore.DocumentSnapshot) (jobs.Due, bool) {
	d := jobs.Due{Key: relative(doc.Ref), Version: doc.UpdateTime}
	if raw, err := doc.DataAt("wakeAt"); err == nil {
		d.At, _ = raw.(time.Time)
	}
	switch kind {
	case jobs.DueParts:
		job := doc.Ref.Parent.Parent
		if job == nil || job.Parent.Path != s.jobs().Path {
			return d, false
		}
		var p jobs.Part
		d.Foreign = decode(doc, &p) != nil || !jobs.ValidID(job.ID) || p.PlanEpoch < 0 || p.Index < 0 || doc.Ref.ID != jobs.PartID(p.PlanEpoch, p.Index)
		d.Message = jobs.Message{JobID: job.ID, PlanEpoch: p.PlanEpoch, Part: p.Index}
	case jobs.DueCallbacks:
		d.Foreign = !jobs.ValidCallbackID(doc.Ref.ID)
		d.Message = callbackMessage(doc.Ref.ID)
	case jobs.DuePlaces:
		var p jobs.Place
		d.Foreign = decode(doc, &p) != nil || !slices.ContainsFunc(s.placeRefs(p.OrgID, p.Number), func(r *firestore.DocumentRef) bool { return r.Path == doc.Ref.Path })
		d.Place = jobs.PlaceKey{OrgID: p.OrgID, Number: p.Number}
	default:
		d.Foreign = !jobs.ValidID(doc.Ref.ID)
		d.Message = jobs.Message{JobID: doc.Ref.ID}
	}
	return d, true
}

// Retire takes a document out of what is due, unless somebody has changed it meanwhile.
func (s *Store) Retire(ctx context.Context, d jobs.Due) error {
	if d.Key == "" {
		return nil // not found by being due
	}
	now, err := s.client.Doc(d.Key).Update(ctx, []firestore.Update{{Path: "wakeAt", Value: firestore.Delete}}, firestore.LastUpdateTime(d.Version))
	if err == nil && d.Foreign {
		s.cfg.Damage.Told(d.Key, now.UpdateTime)
	}
	switch status.Code(err) {
	case codes.NotFound, codes.FailedPrecondition: // changed meanwhile
		return nil
	}
	return classify(err)
}

// callbackMessage names a delivery, and its job as its id does: the document may say anything.
func callbackMessage(id string) jobs.Message {
	m := jobs.Message{CallbackID: id}
	if parts := strings.Split(id, "_"); len(parts) > 1 {
		m.JobID = parts[1]
	}
	return m
}
