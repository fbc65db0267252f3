package firestoreserver

import (
	"cmp"
	"math"
	"slices"

	"cloud.google.com/go/firestore/apiv1/firestorepb"

	"exportd/internal/localcloud/firestoreserver/fsindex"
	"exportd/internal/localcloud/firestoreserver/fsquery"
	"exportd/internal/localcloud/firestoreserver/fsstore"
	"exportd/internal/localcloud/firestoreserver/fsvalue"
)

// neighbour is one candidate of a nearest-neighbour search.
type neighbour struct {
	path     fsvalue.Path
	doc      *firestorepb.Document
	distance float64
}

// findNearest compares the query vector with that of every matching document: vector indexes are demanded and
// hold nothing, so it costs a scan.
func (s *Server) findNearest(db database, q *fsquery.Query, r *reading, stream firestorepb.Firestore_RunQueryServer) (n scanned, err error) {
	fn := q.FindNearest
	_, err = s.nearestIndexes(q)
	if err := s.allow(err); err != nil {
		return n, err
	}
	field, err := fsvalue.ParseFieldPath(fn.GetVectorField().GetFieldPath())
	if err != nil {
		return n, err
	}
	want := vector(fn.GetQueryVector())
	var found []neighbour
	err = s.eachDocument(r.view, db, q, func(p fsvalue.Path, body []byte) error {
		doc, err := message(&fsstore.Document{Path: p, Body: body}, nil)
		if err != nil {
			return err
		}
		v, _ := field.Get(doc.Fields)
		have := vector(v)
		if have == nil || len(have) != len(want) || !q.Match(fsquery.Row{Name: p, Fields: doc.Fields}) {
			return nil
		}
		n.entries++
		if d := distance(fn.GetDistanceMeasure(), want, have); within(fn, d) {
			found = append(found, neighbour{p, doc, d})
		}
		return nil
	})
	if err != nil {
		return n, err
	}
	sign := 1
	if fn.GetDistanceMeasure() == firestorepb.StructuredQuery_FindNearest_DOT_PRODUCT {
		sign = -1
	}
	slices.SortFunc(found, func(a, b neighbour) int {
		if last := cmp.Compare(nan(a.distance), nan(b.distance)); last != 0 {
			return last
		}
		return cmp.Or(sign*cmp.Compare(a.distance, b.distance), a.path.Compare(b.path))
	})
	found = found[:min(len(found), int(fn.GetLimit().GetValue()))]
	if len(found) == 0 {
		return n, stream.Send(&firestorepb.RunQueryResponse{ReadTime: r.time()})
	}
	for _, one := range found {
		if err := sendNeighbour(q, one, r, stream); err != nil {
			return n, err
		}
		n.results++
	}
	return n, nil
}

// nearestIndexes are those of a search, all of which it needs.
func (s *Server) nearestIndexes(q *fsquery.Query) ([]fsindex.Index, error) {
	field, err := fsvalue.ParseFieldPath(q.FindNearest.GetVectorField().GetFieldPath())
	if err != nil {
		return nil, err
	}
	return s.indexes.Nearest(q, field, len(vector(q.FindNearest.GetQueryVector())))
}

func sendNeighbour(q *fsquery.Query, n neighbour, r *reading, stream firestorepb.Firestore_RunQueryServer) error {
	switch {
	case q.KeysOnly:
		n.doc.Fields = nil
	case q.Projection != nil:
		n.doc.Fields = fsvalue.Project(n.doc.Fields, q.Projection)
	}
	if name := q.FindNearest.GetDistanceResultField(); name != "" {
		p, err := fsvalue.ParseFieldPath(name)
		if err != nil {
			return err
		}
		if n.doc.Fields == nil {
			n.doc.Fields = map[string]*fsvalue.Value{}
		}
		setField(n.doc.Fields, p, &fsvalue.Value{ValueType: &firestorepb.Value_DoubleValue{DoubleValue: n.distance}})
	}
	return stream.Send(&firestorepb.RunQueryResponse{Document: n.doc, ReadTime: r.time()})
}

// vector returns the elements of a vector value, nil for any other.
func vector(v *fsvalue.Value) []float64 {
	if v == nil || fsvalue.ClassOf(v) != fsvalue.ClassVector {
		return nil
	}
	values := v.GetMapValue().GetFields()["value"].GetArrayValue().GetValues()
	out := make([]float64, len(values))
	for i, e := range values {
		out[i] = double(e)
	}
	return out
}

// within applies the threshold: a bound on distances, a floor of products.
func within(fn *firestorepb.StructuredQuery_FindNearest, d float64) bool {
	t := fn.GetDistanceThreshold()
	switch {
	case t == nil:
		return true
	case fn.GetDistanceMeasure() == firestorepb.StructuredQuery_FindNearest_DOT_PRODUCT:
		return d >= t.GetValue()
	}
	return d <= t.GetValue()
}

// nan is 1 for no number, which the cosine is with a vector of zeros: Google's emulator sorts it last.
func nan(d float64) int {
	if math.IsNaN(d) {
		return 1
	}
	return 0
}

func distance(m firestorepb.StructuredQuery_FindNearest_DistanceMeasure, a, b []float64) float64 {
	var squares, dot, normA, normB float64
	for i := range a {
		squares += (a[i] - b[i]) * (a[i] - b[i])
		dot += a[i] * b[i]
		normA += a[i] * a[i]
		normB += b[i] * b[i]
	}
	switch m {
	case firestorepb.StructuredQuery_FindNearest_DOT_PRODUCT:
		return dot
	case firestorepb.StructuredQuery_FindNearest_COSINE:
		return 1 - dot/math.Sqrt(normA*normB)
	default:
		return math.Sqrt(squares)
	}
}
