package differential

import (
	"math"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"cloud.google.com/go/firestore/apiv1/firestorepb"
)

// known says by which rule of production a judge may differ; "" if it may not.
func known(j judge, asked proto.Message, theirs string) string {
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
	case isQuery && comparesNothing(q.GetWhere()):
		return "the emulator leaves out a comparison with null or NaN, of which it knows the outcome, before it looks at the order, and keeps NaN where a NOT_IN excludes it; " +
			"here, as documented, the field of each comparison is one of the order (firebase.google.com/docs/firestore/query-data/multiple-range-fields), and NaN is equal to itself, as in the clients that evaluate queries"
	}
	return ""
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
