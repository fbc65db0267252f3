package fsquery

import (
	"math"

	"cloud.google.com/go/firestore/apiv1/firestorepb"

	"exportd/internal/localcloud/firestoreserver/fsvalue"
)

const maxNearest = 1000

// checkNearest validates a vector search; nil is none.
func checkNearest(n *firestorepb.StructuredQuery_FindNearest) error {
	if n == nil {
		return nil
	}
	if _, err := fsvalue.ParseFieldPath(n.GetVectorField().GetFieldPath()); err != nil {
		return err
	}
	if field := n.GetDistanceResultField(); field != "" {
		if _, err := fsvalue.ParseFieldPath(field); err != nil {
			return err
		}
	}
	elements, ok := fsvalue.Vector(n.GetQueryVector())
	if !ok {
		return invalidf("FindNearest.query_vector must be a vector.")
	}
	if len(elements) == 0 {
		return invalidf("Cannot have a zero length vector.")
	}
	if err := fsvalue.PrepareValue(n.GetQueryVector()); err != nil {
		return err
	}
	if limit := n.GetLimit(); limit == nil || limit.GetValue() < 1 || limit.GetValue() > maxNearest {
		return invalidf("FindNearest.limit must be a positive integer of no more than %d", maxNearest)
	}
	switch n.GetDistanceMeasure() {
	case firestorepb.StructuredQuery_FindNearest_EUCLIDEAN, firestorepb.StructuredQuery_FindNearest_COSINE,
		firestorepb.StructuredQuery_FindNearest_DOT_PRODUCT:
	default:
		return invalidf("Unknown Distance Measure.")
	}
	if d := n.GetDistanceThreshold().GetValue(); math.IsNaN(d) || math.IsInf(d, 0) {
		return invalidf("distanceThreshold must be a finite number.")
	}
	return nil
}
