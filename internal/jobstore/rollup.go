package jobstore

import (
	"context"
	"fmt"
	"slices"
	"time"

	"cloud.google.com/go/firestore"
	"golang.org/x/sync/errgroup"

	"exportd/internal/panics"
	"exportd/internal/telemetry"
	"exportd/jobs"
)

func (s *Store) rollups() *firestore.CollectionRef { return s.client.Collection("ExportRollups") }

// noKind stands for no kind, as a field must have a name.
const noKind = "-"

// addTally adds a tally to its rollups, in the commit of the end that it tells of. Nothing is read for it and
// it has no condition: the database adds, so that ends do not get into each other's way.
func (s *Store) addTally(batch *writes, t *jobs.Tally) {
	if t == nil {
		return
	}
	counts := map[string]any{}
	for name, n := range t.Counts {
		counts[string(name)] = firestore.Increment(n)
	}
	kind := string(t.Kind)
	if kind == "" {
		kind = noKind
	}
	for _, key := range t.Keys() {
		if key.OrgID == "" {
			key.Shard = s.turns.next(t.At)
		}
		doc := map[string]any{
			"hour": key.Hour, "orgId": key.OrgID, "shard": key.Shard, "expiresAt": key.Hour.Add(jobs.RollupLife),
			"slots": map[string]any{t.Slot(): map[string]any{kind: counts}},
		}
		if key.OrgID != "" { // by these the largest are found
			doc["rows"], doc["runMs"] = firestore.Increment(t.Counts[jobs.CountRows]), firestore.Increment(t.Counts[jobs.CountRunMs])
		}
		batch.Set(s.rollups().Doc(key.ID()), doc, firestore.MergeAll)
	}
}

// mergeAt is above the 168 hours that a window may have, so that merging is seldom.
const mergeAt = 1000

// Rollups gives the rollups of an org, "" for all together, whose hour begins within [from, to). A read for
// each document: 16 an hour at most of one org, and of all as many as processes have ended something, and one
// more for each 25 ends a minute.
func (s *Store) Rollups(ctx context.Context, orgID string, from, to time.Time) ([]*jobs.Rollup, error) {
	var docs []*jobs.Rollup
	q := s.rollups().Where("orgId", "==", orgID).Where("hour", ">=", from).Where("hour", "<", to).OrderBy("hour", firestore.Asc)
	err := each(ctx, q, func(doc *firestore.DocumentSnapshot) error {
		if r := s.readRollup(doc); r != nil {
			docs = append(docs, r)
		}
		if len(docs) > mergeAt { // a week of a fleet that is busy has 100,000
			docs = jobs.MergeRollups(docs)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read rollups: %w", err)
	}
	return jobs.MergeRollups(docs), nil
}

// topDocuments bounds what is read of an hour to find its largest orgs, by rows and by time each: with 16
// documents an org they are 25 orgs at least.
const topDocuments = 25 * jobs.OrgRollups

// TopRollups gives one for each of the orgs that wrote the most rows in an hour and of those that ran
// longest.
func (s *Store) TopRollups(ctx context.Context, hour time.Time) (orgs []*jobs.Rollup, all bool, err error) {
	found := [2][]*jobs.Rollup{}
	for i, field := range []string{"rows", "runMs"} {
		n := 0
		q := s.rollups().Where("hour", "==", hour).OrderBy(field, firestore.Desc).Limit(topDocuments)
		err := each(ctx, q, func(doc *firestore.DocumentSnapshot) error {
			n++
			if r := s.readRollup(doc); r != nil {
				found[i] = append(found[i], r)
			}
			return nil
		})
		if err != nil {
			return nil, false, fmt.Errorf("look for the largest orgs of an hour: %w", err)
		}
		if n < topDocuments { // these are all that there are
			return jobs.MergeRollups(found[i]), true, nil
		}
	}
	// Of an org that is found by one of its documents, the others may be below the bound.
	seen := map[string]bool{}
	for _, r := range slices.Concat(found[0], found[1]) {
		seen[r.OrgID] = true
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	whole := make(chan *jobs.Rollup, len(seen))
	for org := range seen {
		g.Go(panics.Task(func() error {
			rs, err := s.Rollups(gctx, org, hour, hour.Add(jobs.RollupHour))
			for _, r := range rs {
				whole <- r
			}
			return err
		}))
	}
	if err := g.Wait(); err != nil {
		return nil, false, err
	}
	close(whole)
	for r := range whole {
		orgs = append(orgs, r)
	}
	return orgs, false, nil
}

// readRollup reads a document as far as it makes sense; nil if its hour or org do not.
func (s *Store) readRollup(doc *firestore.DocumentSnapshot) *jobs.Rollup {
	if s.gone(doc) {
		return nil
	}
	hour, _ := valueAt[time.Time](doc, "hour")
	org, isText := valueAt[string](doc, "orgId")
	shard, _ := valueAt[int64](doc, "shard")
	r := &jobs.Rollup{RollupKey: jobs.RollupKey{Hour: hour.UTC(), OrgID: org, Shard: int(shard)}}
	slots, isMap := valueAt[map[string]any](doc, "slots")
	if !isText || !isMap || r.ID() != doc.Ref.ID {
		s.damaged(telemetry.RollupDocument, doc, "hour, orgId and shard are not those of its id, or it has no slots")
		return nil
	}
	whole := true
	for name, raw := range slots {
		minute, err := time.Parse("04", name)
		kinds, ok := raw.(map[string]any)
		if err != nil || !ok || minute.Minute()%int(jobs.RollupSlot/time.Minute) != 0 {
			whole = false
			continue
		}
		for kind, raw := range kinds {
			c, ok := countsIn(raw)
			if kind == noKind {
				kind = ""
			} else if !jobs.Kind(kind).Valid() {
				whole = false
				continue
			}
			whole = whole && ok
			r.Add(r.Hour.Add(time.Duration(minute.Minute())*time.Minute), jobs.Kind(kind), c)
		}
	}
	if !whole {
		s.damaged(telemetry.RollupDocument, doc, "a slot, kind or count is none")
	}
	return r
}

// countsIn reads counters as far as they are some. No hour counts to more than maxCounted.
func countsIn(raw any) (c jobs.Counts, whole bool) {
	counts, whole := raw.(map[string]any)
	c = jobs.Counts{}
	for name, raw := range counts {
		n, ok := raw.(int64)
		if !ok || n < 0 || n > maxCounted || len(name) > 100 {
			whole = false
			continue
		}
		c[jobs.Counter(name)] = n
	}
	return c, whole
}

// maxCounted is a petabyte: sums of all that there are stay far below what fits.
const maxCounted = 1 << 50

// gone reports whether a document's time is over that the database has not deleted yet.
func (s *Store) gone(doc *firestore.DocumentSnapshot) bool {
	at, ok := valueAt[time.Time](doc, "expiresAt")
	return ok && !s.cfg.Now().Before(at)
}

// valueAt reads a field as what it must be.
func valueAt[T any](doc *firestore.DocumentSnapshot, field string) (T, bool) {
	raw, _ := doc.DataAt(field)
	v, ok := raw.(T)
	return v, ok
}
