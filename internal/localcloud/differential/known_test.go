package differential

import (
	"math"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"cloud.google.com/go/firestore/apiv1/firestorepb"

	"exportd/internal/localcloud/firestoreserver/fsquery"
)

// known says by which rule of production a judge may differ; "" if it may not.
func known(t *testing.T, j judge, asked proto.Message, theirs string) string {
	if j.name != googleName {
		return ""
	}
	q, isQuery := asked.(*query)
	if a, ok := asked.(*firestorepb.StructuredAggregationQuery); ok {
		q, isQuery = a.GetStructuredQuery(), true
	}
	switch {
	case isQuery && strings.Contains(theirs, "Firestore does not support descending key scans"):
		return "a scan by descending name needs an index, which can be made (firebase.google.com/docs/firestore/query-data/indexing); the embedded server is asked in the mode that demands none"
	case isQuery && !strings.HasPrefix(theirs, "!") && overComponents(t, q):
		return "the emulator counts filters as they are written; here, to be no kinder than any reading of the limit on filters, sort orders and path (firebase.google.com/docs/firestore/quotas), in each disjunction"
	case isQuery && comparesNothing(q.GetWhere()):
		return "the emulator leaves out a comparison with null or NaN, of which it knows the outcome, before it looks at the order, and keeps NaN where a NOT_IN excludes it; " +
			"here, as documented, the field of each comparison is one of the order (firebase.google.com/docs/firestore/query-data/multiple-range-fields), and NaN is equal to itself, as in the clients that evaluate queries"
	}
	return ""
}

// overComponents says whether the query has more than 100 filters, sort orders and a path in its normal form.
func overComponents(t *testing.T, q *query) bool {
	_, err := fsquery.Parse(parent(t), proto.CloneOf(q))
	return err != nil && strings.Contains(err.Error(), "filters + sort orders + ancestor total")
}

// comparesNothing says whether there is a comparison with what has no order.
func comparesNothing(f *filter) bool {
	v := f.GetFieldFilter().GetValue()
	switch f.GetFieldFilter().GetOp() {
	case firestorepb.StructuredQuery_FieldFilter_LESS_THAN, firestorepb.StructuredQuery_FieldFilter_LESS_THAN_OR_EQUAL,
		firestorepb.StructuredQuery_FieldFilter_GREATER_THAN, firestorepb.StructuredQuery_FieldFilter_GREATER_THAN_OR_EQUAL, firestorepb.StructuredQuery_FieldFilter_NOT_EQUAL:
		if isNothing(v) {
			return true
		}
	case firestorepb.StructuredQuery_FieldFilter_NOT_IN:
		if slices.ContainsFunc(v.GetArrayValue().GetValues(), isNothing) {
			return true
		}
	}
	return slices.ContainsFunc(f.GetCompositeFilter().GetFilters(), comparesNothing)
}

func isNothing(v *value) bool {
	_, null := v.GetValueType().(*firestorepb.Value_NullValue)
	return null || math.IsNaN(v.GetDoubleValue())
}
