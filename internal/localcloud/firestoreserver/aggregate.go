package firestoreserver

import (
	"context"
	"errors"
	"hash/maphash"
	"math"
	"time"

	"google.golang.org/protobuf/proto"

	"cloud.google.com/go/firestore/apiv1/firestorepb"

	"exportd/internal/localcloud/firestoreserver/fsquery"
	"exportd/internal/localcloud/firestoreserver/fsstore"
	"exportd/internal/localcloud/firestoreserver/fsvalue"
)

// RunAggregationQuery implements the RPC.
func (s *Server) RunAggregationQuery(req *firestorepb.RunAggregationQueryRequest, stream firestorepb.Firestore_RunAggregationQueryServer) (err error) {
	parent, err := fsvalue.ParseParent(req.GetParent())
	if err != nil {
		return err
	}
	db, err := s.databaseOf(parent.Database())
	if err != nil {
		return err
	}
	agg, err := fsquery.ParseAggregation(parent, req.GetStructuredAggregationQuery())
	if err != nil {
		return err
	}
	begun := time.Now()
	explain, planOnly, err := s.explained(req.GetExplainOptions(), agg.Query, agg.Fields)
	if err != nil {
		return err
	}
	if planOnly {
		return stream.Send(&firestorepb.RunAggregationQueryResponse{ExplainMetrics: explain})
	}
	r, err := s.open(stream.Context(), consistency{db: db.id, transaction: req.GetTransaction(), begin: req.GetNewTransaction(), readTime: req.GetReadTime()})
	if err != nil {
		return err
	}
	defer r.close(&err)
	fields, err := s.results.get(stream.Context(), resultKey(db, req), s.store, r.view, resultGroup{db.id, agg.Query.CollectionID}, func() (map[string]*fsvalue.Value, error) {
		return s.aggregate(stream.Context(), r.view, db, agg)
	})
	if err != nil {
		return s.answer(err)
	}
	result := &firestorepb.AggregationResult{AggregateFields: fields}
	if t := r.txn; t != nil && !t.readOnly {
		t.sawQuery(queryRead{db: db, group: agg.Query.CollectionID, digest: digestOf(result), again: func(v *fsstore.View) (uint64, error) {
			fields, err := s.aggregate(s.ctx, v, db, agg)
			return digestOf(&firestorepb.AggregationResult{AggregateFields: fields}), err
		}})
	}
	if err := stream.Send(&firestorepb.RunAggregationQueryResponse{Result: result, ReadTime: r.time(), Transaction: r.begun}); err != nil || explain == nil {
		return err
	}
	// 1 read for 1,000 entries; only a count tells how many there were.
	entries := 0
	for _, v := range fields {
		entries = max(entries, int(v.GetIntegerValue()))
	}
	if err := measure(explain, time.Since(begun), scanned{results: 1, entries: entries}, (entries+999)/1000, 0); err != nil {
		return s.answer(err)
	}
	return stream.Send(&firestorepb.RunAggregationQueryResponse{ReadTime: r.time(), ExplainMetrics: explain})
}

func digestOf(m proto.Message) uint64 {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return 0
	}
	return maphash.Bytes(digestSeed, b)
}

func (s *Server) aggregate(ctx context.Context, v *fsstore.View, db database, agg *fsquery.Aggregation) (_ map[string]*fsvalue.Value, err error) {
	order, err := s.aggregationOrder(agg)
	if err != nil {
		return nil, err
	}
	res, err := s.newRows(ctx, v, db, agg.Query, order, len(agg.Fields) == 0)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, res.close()) }()
	if len(agg.Fields) == 0 {
		return countOnly(agg, res)
	}
	sum := fsquery.NewAggregator(agg)
	if ok, err := res.aggregateDocuments(sum); ok || err != nil {
		return sum.Result(), err
	}
	for !sum.Done() {
		ok, err := res.next()
		if err != nil {
			return nil, err
		}
		if !ok {
			break
		}
		if err := sum.AddWire(res.current.body); err != nil {
			return nil, err
		}
	}
	return sum.Result(), nil
}

// aggregationOrder returns the fields by which the index must be sorted beside those of the query: the
// aggregated ones, unless the rows are the documents of a collection, all of them. Then their order counts
// for nothing, and reading the documents one after the other takes a twentieth of fetching each by its entry.
// That an index for the aggregation exists is demanded anyway.
func (s *Server) aggregationOrder(agg *fsquery.Aggregation) ([]fsvalue.FieldPath, error) {
	q := agg.Query
	if len(agg.Fields) == 0 || q.AllDescendants || q.Limit >= 0 || q.Offset > 0 || q.Start != nil || q.End != nil {
		return agg.Fields, nil
	}
	if _, err := s.plan(q, agg.Fields); err != nil {
		return nil, err
	}
	if plan, err := s.indexes.Plan(q, nil); err == nil && len(q.Disjuncts) == 1 && !usesIndex(plan) {
		return nil, nil
	}
	return agg.Fields, nil
}

// aggregateDocuments adds the documents of a collection as they lie there, where those are the rows, and says
// whether they are.
func (r *rows) aggregateDocuments(sum *fsquery.Aggregator) (bool, error) {
	d := r.only()
	if d == nil || !d.primary() || r.q.AllDescendants || r.q.Offset > 0 || r.q.Limit >= 0 {
		return false, nil
	}
	for c := d.scans[0].cursor; c.Next(); {
		if err := r.alive(); err != nil {
			return true, err
		}
		if err := sum.AddWire(fsstore.DocumentBody(c.Value())); err != nil {
			return true, err
		}
	}
	return true, d.err()
}

// countOnly serves requests that only count, each up to its own bound.
func countOnly(agg *fsquery.Aggregation, res *rows) (map[string]*fsvalue.Value, error) {
	var upTo int64
	for i, a := range agg.Aggregates {
		if a.UpTo == 0 {
			upTo = 0
			break
		}
		if i == 0 || a.UpTo > upTo {
			upTo = a.UpTo
		}
	}
	n, err := res.count(int(min(upTo, math.MaxInt32)))
	if err != nil {
		return nil, err
	}
	out := make(map[string]*fsvalue.Value, len(agg.Aggregates))
	for _, a := range agg.Aggregates {
		k := int64(n)
		if a.UpTo > 0 {
			k = min(k, a.UpTo)
		}
		out[a.Alias] = &fsvalue.Value{ValueType: &firestorepb.Value_IntegerValue{IntegerValue: k}}
	}
	return out, nil
}
