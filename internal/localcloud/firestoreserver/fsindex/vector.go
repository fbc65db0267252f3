package fsindex

import (
	"slices"

	"exportd/internal/localcloud/firestoreserver/fsquery"
	"exportd/internal/localcloud/firestoreserver/fsvalue"
)

// Nearest says which vector index a search over vectors of a dimension lacks, nil for none: it has the fields
// of the filters, in any order and direction, and then the vector's.
// https://cloud.google.com/firestore/docs/vector-search#create_and_manage_vector_indexes
func (c *Config) Nearest(q *fsquery.Query, vector fsvalue.FieldPath, dimension int) error {
	for i := range q.Disjuncts {
		need := newRequirement(q, i, nil)
		fields := slices.Concat(need.points, need.tail)
		if !slices.ContainsFunc(c.composites[need.group], func(ix Index) bool {
			n := len(ix.Fields) - 1
			last := ix.Fields[n]
			return ix.Scope == need.scope && last.Kind == Vector && last.Path.Equal(vector) && last.Dimension == dimension && n == len(fields) &&
				!slices.ContainsFunc(fields, func(f Field) bool {
					return !slices.ContainsFunc(ix.Fields[:n], func(have Field) bool {
						return have.Path.Equal(f.Path) && (have.Kind == Contains) == (f.Kind == Contains)
					})
				})
		}) {
			ix := Index{Group: need.group, Scope: need.scope, Fields: append(fields, Field{Path: vector, Kind: Vector, Dimension: dimension}), Name: fsvalue.Ascending}
			return &MissingError{Index: ix, database: q.Parent.Database()}
		}
	}
	return nil
}
