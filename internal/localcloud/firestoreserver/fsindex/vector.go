package fsindex

import (
	"slices"

	"exportd/internal/localcloud/firestoreserver/fsquery"
	"exportd/internal/localcloud/firestoreserver/fsvalue"
)

// Nearest finds the vector indexes of a search over vectors of a dimension, or says which one it lacks: it
// has the fields of the filters, in any order and direction, and then the vector's.
// https://cloud.google.com/firestore/docs/vector-search#create_and_manage_vector_indexes
func (c *Config) Nearest(q *fsquery.Query, vector fsvalue.FieldPath, dimension int) (used []Index, err error) {
	for i := range q.Disjuncts {
		need := newRequirement(q, i, nil)
		fields := slices.Concat(need.points, need.tail)
		at := slices.IndexFunc(c.composites[need.group], func(ix Index) bool {
			n := len(ix.Fields) - 1
			last := ix.Fields[n]
			return ix.Scope == need.scope && last.Kind == Vector && last.Path.Equal(vector) && last.Dimension == dimension && n == len(fields) &&
				!slices.ContainsFunc(fields, func(f Field) bool {
					return !slices.ContainsFunc(ix.Fields[:n], func(have Field) bool {
						return have.Path.Equal(f.Path) && (have.Kind == Contains) == (f.Kind == Contains)
					})
				})
		})
		if at < 0 {
			ix := Index{Group: need.group, Scope: need.scope, Fields: append(fields, Field{Path: vector, Kind: Vector, Dimension: dimension}), Name: fsvalue.Ascending}
			return nil, &MissingError{Index: ix, database: q.Parent.Database()}
		}
		used = append(used, c.composites[need.group][at])
	}
	return used, nil
}
