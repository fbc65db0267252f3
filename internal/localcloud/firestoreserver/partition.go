package firestoreserver

import (
	"context"
	"errors"
	"slices"
	"sync"

	"cloud.google.com/go/firestore/apiv1/firestorepb"

	"exportd/internal/localcloud/firestoreserver/fsquery"
	"exportd/internal/localcloud/firestoreserver/fsstore"
	"exportd/internal/localcloud/firestoreserver/fsvalue"
)

const (
	// partitionStep is the least number of documents between two cuts, as production's answers suggest.
	partitionStep = 128
	// maxSamples bounds the memory for one group; the step doubles beyond.
	maxSamples = 4096
	// maxSampled bounds the number of groups whose samples are kept.
	maxSampled = 256
)

// samples keeps evenly spaced names of collection groups, so that only the first call after a change walks
// the group's keys.
type samples struct {
	mu     sync.Mutex
	groups map[sampleKey]sample
}

type sampleKey struct {
	db    uint32
	group string
}

type sample struct {
	touched int64
	paths   []fsvalue.Path
}

// PartitionQuery implements the RPC.
func (s *Server) PartitionQuery(ctx context.Context, req *firestorepb.PartitionQueryRequest) (_ *firestorepb.PartitionQueryResponse, err error) {
	parent, err := fsvalue.ParseParent(req.GetParent())
	if err != nil {
		return nil, err
	}
	q, err := fsquery.Parse(parent, req.GetStructuredQuery())
	if err != nil {
		return nil, err
	}
	if err := partitionable(parent, q, req); err != nil {
		return nil, err
	}
	token, err := parseToken(req.GetPageToken(), req.GetParent(), q.CollectionID, req.GetPartitionCount())
	if err != nil {
		return nil, err
	}
	db, err := s.databaseOf(parent.Database())
	if err != nil {
		return nil, err
	}
	r, err := s.open(ctx, consistency{readTime: req.GetReadTime()})
	if err != nil {
		return nil, err
	}
	defer r.close(&err)
	paths, err := s.sample(r.view, db, q.CollectionID)
	if err != nil {
		return nil, s.answer(err)
	}
	cuts := spread(paths, int(req.GetPartitionCount()))
	cuts = cuts[min(token.Offset, len(cuts)):]
	resp := &firestorepb.PartitionQueryResponse{}
	if n := int(req.GetPageSize()); n > 0 && len(cuts) > n {
		cuts = cuts[:n]
		token.Offset += n
		resp.NextPageToken = token.String()
	}
	for _, p := range cuts {
		resp.Partitions = append(resp.Partitions, &firestorepb.Cursor{
			Before: true,
			Values: []*fsvalue.Value{{ValueType: &firestorepb.Value_ReferenceValue{ReferenceValue: p.String()}}},
		})
	}
	return resp, nil
}

func partitionable(parent fsvalue.Path, q *fsquery.Query, req *firestorepb.PartitionQueryRequest) error {
	sq := req.GetStructuredQuery()
	switch {
	case req.GetPartitionCount() <= 0:
		return invalid("partition_count must be positive.")
	case !parent.IsRoot() || !q.AllDescendants || q.CollectionID == "":
		return invalid("Only collection group queries of a whole database can be partitioned.")
	case sq.GetWhere() != nil || sq.GetLimit() != nil || sq.GetOffset() != 0 || sq.GetStartAt() != nil || sq.GetEndAt() != nil || sq.GetSelect() != nil:
		return invalid("A partitioned query can have no filter, limit, offset, cursor or projection.")
	case len(sq.GetOrderBy()) != 1 || len(q.Order) != 1 || q.Order[0].Direction != fsvalue.Ascending:
		return invalid("A partitioned query must be ordered by __name__ ascending.")
	}
	return nil
}

// spread picks at most n of the samples, evenly.
func spread(paths []fsvalue.Path, n int) []fsvalue.Path {
	if len(paths) <= n {
		return paths
	}
	out := make([]fsvalue.Path, 0, n)
	for i := 1; i <= n; i++ {
		out = append(out, paths[i*len(paths)/(n+1)])
	}
	return slices.Compact(out)
}

func (s *Server) sample(v *fsstore.View, db database, group string) (_ []fsvalue.Path, err error) {
	key := sampleKey{db.id, group}
	touched := s.store.Touched(db.id, group)
	s.samples.mu.Lock()
	kept, ok := s.samples.groups[key]
	s.samples.mu.Unlock()
	if ok && kept.touched == touched {
		return kept.paths, nil
	}
	prefix := fsstore.GroupPrefix(nil, db.id, group)
	sc, err := newScan(v, db.id, group, prefix, false, bounds{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, sc.cursor.Err(), sc.cursor.Close()) }()
	step := partitionStep
	var paths []fsvalue.Path
	for n := 1; sc.next(); n++ {
		if n%step != 0 {
			continue
		}
		p, _, err := fsvalue.CutPath(db.name, sc.key(), fsvalue.Ascending)
		if err != nil {
			return nil, err
		}
		if paths = append(paths, p); len(paths) == maxSamples {
			for i := range maxSamples / 2 {
				paths[i] = paths[2*i+1]
			}
			paths, step = paths[:maxSamples/2], 2*step
		}
	}
	s.samples.mu.Lock()
	defer s.samples.mu.Unlock()
	if s.samples.groups == nil || len(s.samples.groups) >= maxSampled {
		s.samples.groups = map[sampleKey]sample{}
	}
	s.samples.groups[key] = sample{touched, paths}
	return paths, nil
}
