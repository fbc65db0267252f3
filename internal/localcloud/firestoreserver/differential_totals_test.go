package firestoreserver_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/protobuf/proto"

	"exportd/internal/localcloud/firestoreserver/fsquery"
	"exportd/internal/localcloud/firestoreserver/fsvalue"
)

// randomTotals counts, sums and averages up to three fields, one of them inside of another.
func randomTotals(r *rand.Rand) []*firestorepb.StructuredAggregationQuery_Aggregation {
	field := func() *firestorepb.StructuredQuery_FieldReference {
		return fieldRef([]string{"a", "b", "c", "m.x"}[r.IntN(4)])
	}
	out := []*firestorepb.StructuredAggregationQuery_Aggregation{
		{Alias: "n", Operator: &firestorepb.StructuredAggregationQuery_Aggregation_Count_{Count: &firestorepb.StructuredAggregationQuery_Aggregation_Count{}}},
		{Alias: "sum", Operator: &firestorepb.StructuredAggregationQuery_Aggregation_Sum_{Sum: &firestorepb.StructuredAggregationQuery_Aggregation_Sum{Field: field()}}},
		{Alias: "avg", Operator: &firestorepb.StructuredAggregationQuery_Aggregation_Avg_{Avg: &firestorepb.StructuredAggregationQuery_Aggregation_Avg{Field: field()}}},
	}
	return out[r.IntN(2) : 2+r.IntN(2)]
}

// compareTotals holds a server's aggregation against the evaluator's over the same rows, and says whether the
// server gave one. Where rows are cut off the order of the index decides which: not compared.
func compareTotals(t *testing.T, f *fixture, e epoch, q *firestorepb.StructuredQuery, totals []*firestorepb.StructuredAggregationQuery_Aggregation) bool {
	t.Helper()
	q = proto.CloneOf(q)
	q.Limit, q.Offset, q.StartAt, q.EndAt = nil, 0, nil, nil
	req := &firestorepb.StructuredAggregationQuery{
		QueryType: &firestorepb.StructuredAggregationQuery_StructuredQuery{StructuredQuery: q}, Aggregations: totals,
	}
	parent, err := fsvalue.ParseParent(benchDatabase + "/documents")
	if err != nil {
		t.Fatal(err)
	}
	parsed, parseErr := fsquery.ParseAggregation(parent, proto.CloneOf(req))
	s, err := f.raw.RunAggregationQuery(t.Context(), &firestorepb.RunAggregationQueryRequest{
		Parent:              benchDatabase + "/documents",
		QueryType:           &firestorepb.RunAggregationQueryRequest_StructuredAggregationQuery{StructuredAggregationQuery: req},
		ConsistencySelector: &firestorepb.RunAggregationQueryRequest_ReadTime{ReadTime: e.at},
	})
	if err != nil {
		t.Fatal(err)
	}
	m, err := s.Recv()
	if !answered(t, err, parseErr, req) {
		return false
	}
	sum := fsquery.NewAggregator(parsed)
	for _, row := range parsed.Query.Run(e.rows(t)) {
		sum.AddRow(row)
	}
	want, got := sum.Result(), m.GetResult().GetAggregateFields()
	for alias, w := range want {
		if !sameTotal(w, got[alias]) {
			t.Errorf("%s = %v, want %v, for %v", alias, got[alias], w, req)
		}
	}
	return true
}

// sameTotal allows doubles what the order of addition may change in them.
func sameTotal(a, b *firestorepb.Value) bool {
	x, ok := a.GetValueType().(*firestorepb.Value_DoubleValue)
	y, both := b.GetValueType().(*firestorepb.Value_DoubleValue)
	if !ok || !both {
		return proto.Equal(a, b)
	}
	if math.IsNaN(x.DoubleValue) || math.IsNaN(y.DoubleValue) || math.IsInf(x.DoubleValue, 0) {
		return math.IsNaN(x.DoubleValue) == math.IsNaN(y.DoubleValue) && (math.IsNaN(x.DoubleValue) || x.DoubleValue == y.DoubleValue)
	}
	return math.Abs(x.DoubleValue-y.DoubleValue) <= 1e-9*math.Max(math.Abs(x.DoubleValue), math.Abs(y.DoubleValue))
}
