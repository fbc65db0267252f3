package firestoreserver

import (
	"context"
	"fmt"
	"sync"

	"google.golang.org/protobuf/proto"

	"cloud.google.com/go/firestore/apiv1/firestorepb"

	"exportd/internal/localcloud/firestoreserver/fsstore"
	"exportd/internal/localcloud/firestoreserver/fsvalue"
)

const (
	// maxResults bounds the results that are kept; all go when there would be more. A list asks for a handful
	// of totals over and over, a planner for many once.
	maxResults = 1024
	// maxResultKey is the longest aggregation, in bytes, that is kept.
	maxResultKey = 4 << 10
)

// results keeps what aggregations gave. Counting goes through every entry, here as in production, but here on
// the cores of the one machine: a list that shows its total would count 200,000 users at every page. A result
// stands for as long as nothing in its collection group changes, and requests for one that does not stand
// wait for the first of them.
type results struct {
	mu    sync.Mutex
	known map[string]*result
}

// result is what one aggregation gave. Only who has put something into turn may touch it.
type result struct {
	turn   chan struct{}
	at     int64 // instant of the view that gave the fields
	fields map[string]*fsvalue.Value
}

// resultGroup is the collection group that an aggregation is over.
type resultGroup struct {
	db   uint32
	name string
}

// resultKey is the same for the same aggregation, "" for one not worth keeping.
func resultKey(db database, req *firestorepb.RunAggregationQueryRequest) string {
	if proto.Size(req) > maxResultKey {
		return ""
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(req.GetStructuredAggregationQuery())
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%d\x00%s\x00%s", db.id, req.GetParent(), b)
}

func (r *results) of(key string) *result {
	r.mu.Lock()
	defer r.mu.Unlock()
	if known := r.known[key]; known != nil {
		return known
	}
	if r.known == nil || len(r.known) >= maxResults {
		r.known = map[string]*result{}
	}
	fresh := &result{turn: make(chan struct{}, 1)}
	r.known[key] = fresh
	return fresh
}

// get returns the result that v shows: the one that is known where the group is the same now, at v and at the
// view that it was taken from, else that of run. Views inside of commits must not come here: what they show
// is not yet what their instant shows.
func (r *results) get(ctx context.Context, key string, s *fsstore.Store, v *fsstore.View, g resultGroup, run func() (map[string]*fsvalue.Value, error)) (map[string]*fsvalue.Value, error) {
	if key == "" || g.name == "" || !v.IndexesUsable() {
		return run()
	}
	known := r.of(key)
	select {
	case known.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-known.turn }()
	// Every commit up to v's instant is noted, and so is each one that the known result has seen.
	if touched := s.Touched(g.db, g.name); known.fields != nil && touched <= known.at && touched <= v.Instant() {
		return known.fields, nil
	}
	fields, err := run()
	if err == nil && v.Instant() >= known.at {
		known.at, known.fields = v.Instant(), fields
	}
	return fields, err
}
