package jobstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"cloud.google.com/go/firestore"

	"exportd/internal/telemetry"
	"exportd/jobs"
)

// DueKind is a class of documents that somebody must look at when their wakeAt has passed.
type DueKind int

// The classes. Each is asked for by a query of its own.
const (
	DueJobs      DueKind = iota // queued and running ones
	DueEnded                    // jobs that have ended: files to expire, records to purge
	DueParts                    // of whatever job
	DueCallbacks                // ended ones have no wakeAt
	DuePlaces                   // of running jobs of orgs, which others wait for
)

var dueKinds = map[DueKind]telemetry.DocumentKind{
	DueJobs: telemetry.JobDocument, DueEnded: telemetry.JobDocument, DueParts: telemetry.PartDocument,
	DueCallbacks: telemetry.CallbackDocument, DuePlaces: telemetry.PlaceDocument,
}

// Due is a document whose wakeAt has passed.
type Due struct {
	// Message names it.
	Message jobs.Message
	// Foreign: no transition can ever be made on it, as exportd gives no such names. It is to be
	// retired.
	Foreign bool
	// At is its wakeAt.
	At time.Time

	ref     *firestore.DocumentRef
	updated time.Time
	// Of a place.
	org    string
	number int
}

// Key is the same for a document whenever it is due.
func (d Due) Key() string { return d.ref.Path }

// JobKey is the Key of a job.
func (s *Store) JobKey(id string) string { return s.jobs().Doc(id).Path }

// DuePage is what Due gives; Next is nil when there is no more.
type DuePage struct {
	Docs []Due
	Next *DueCursor
}

// DueCursor is where a page ends.
type DueCursor struct {
	wakeAt any
	ref    *firestore.DocumentRef
}

// AllShards lists the shards.
func AllShards() []int {
	all := make([]int, jobs.Shards)
	for i := range all {
		all[i] = i
	}
	return all
}

// Due gives the documents of a class and of some shards whose wakeAt has passed, longest due
// first, behind after. Those of another schema are not asked for: the version that wrote them
// looks after them.
func (s *Store) Due(ctx context.Context, kind DueKind, shards []int, now time.Time, limit int, after *DueCursor) (DuePage, error) {
	if kind == DueEnded {
		ended := make([]int, len(shards))
		for i, n := range shards {
			ended[i] = jobs.EndedShard(n)
		}
		shards = ended
	}
	q := s.jobs().Query
	switch kind {
	case DueParts:
		q = s.client.CollectionGroup("parts").Query
	case DueCallbacks:
		q = s.callbacks().Query
	case DuePlaces:
		q = s.places().Query
	}
	q = q.Where("schema", "==", jobs.SchemaVersion).Where("shard", "in", shards).Where("wakeAt", "<=", now).
		OrderBy("wakeAt", firestore.Asc).OrderBy(firestore.DocumentID, firestore.Asc)
	if after != nil {
		q = q.StartAfter(after.wakeAt, after.ref)
	}
	docs, err := q.Limit(limit).Select("wakeAt", "planEpoch", "index", "orgId", "number").Documents(ctx).GetAll()
	if err != nil {
		return DuePage{}, fmt.Errorf("ask what is due: %w", classify(err))
	}
	page := DuePage{Docs: make([]Due, 0, len(docs))}
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
		at, _ := last.DataAt("wakeAt")
		page.Next = &DueCursor{at, last.Ref}
	}
	return page, nil
}

// dueDoc reads what a due document names; not ok for one that is in no collection of exportd.
func (s *Store) dueDoc(kind DueKind, doc *firestore.DocumentSnapshot) (Due, bool) {
	d := Due{ref: doc.Ref, updated: doc.UpdateTime}
	if raw, err := doc.DataAt("wakeAt"); err == nil {
		d.At, _ = raw.(time.Time)
	}
	switch kind {
	case DueParts:
		job := doc.Ref.Parent.Parent
		if job == nil || job.Parent.Path != s.jobs().Path {
			return d, false
		}
		var p jobs.Part
		d.Foreign = decode(doc, &p) != nil || !jobs.ValidID(job.ID) || p.PlanEpoch < 0 || p.Index < 0 || doc.Ref.ID != jobs.PartID(p.PlanEpoch, p.Index)
		d.Message = jobs.Message{JobID: job.ID, PlanEpoch: p.PlanEpoch, Part: p.Index}
	case DueCallbacks:
		d.Foreign = !jobs.ValidCallbackID(doc.Ref.ID)
		d.Message = callbackMessage(doc.Ref.ID)
	case DuePlaces:
		var p jobs.Place
		d.Foreign = decode(doc, &p) != nil || !slices.ContainsFunc(s.placeRefs(p.OrgID, p.Number), func(r *firestore.DocumentRef) bool { return r.Path == doc.Ref.Path })
		d.org, d.number = p.OrgID, p.Number
	default:
		d.Foreign = !jobs.ValidID(doc.Ref.ID)
		d.Message = jobs.Message{JobID: doc.Ref.ID}
	}
	return d, true
}

// Retire takes a document out of what is due, unless somebody has changed it meanwhile.
func (s *Store) Retire(ctx context.Context, d Due) error {
	if d.ref == nil {
		return nil // not found by being due
	}
	now, err := d.ref.Update(ctx, []firestore.Update{{Path: "wakeAt", Value: firestore.Delete}}, firestore.LastUpdateTime(d.updated))
	if err == nil && d.Foreign {
		s.cfg.Damage.Told(relative(d.ref), now.UpdateTime)
	}
	if err = classify(err); errors.Is(err, jobs.ErrNotFound) {
		return nil
	}
	return err
}

// callbackMessage names a delivery, and its job as its id does: the document may say anything.
func callbackMessage(id string) jobs.Message {
	m := jobs.Message{CallbackID: id}
	if parts := strings.Split(id, "_"); len(parts) > 1 {
		m.JobID = parts[1]
	}
	return m
}
