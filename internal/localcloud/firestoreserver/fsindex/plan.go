package fsindex

import (
	"exportd/internal/localcloud/firestoreserver/fsquery"
	"exportd/internal/localcloud/firestoreserver/fsvalue"
)

// Scan is one index stream of a disjunct.
type Scan struct {
	Index Index
	// Points is the number of leading index fields that the disjunct fixes to
	// one value (an equality, or the array-contains operand for a Contains
	// field); the remaining fields are exactly [Branch.Tail].
	Points int
}

// Branch tells how to serve one disjunct.
type Branch struct {
	// Scans are intersected: each yields names sorted by (Tail, name), and a
	// row must be in all of them. None means the documents in name order.
	Scans []Scan
	// Tail are the fields after the points in every scan: the order without
	// the equality fields and __name__, then the aggregated fields.
	Tail []Field
}

// Plan tells how to serve a query.
type Plan struct {
	Branches []Branch // one per disjunct of the query, in its order
	// Name is the direction in which names break ties.
	Name fsvalue.Direction
}

// MissingError tells that no set of indexes serves a disjunct.
type MissingError struct {
	// Index would serve it.
	Index Index
	// Exemption tells that the console would add it as a single-field override.
	Exemption bool

	database         fsvalue.Database
	manyInequalities bool
}

// Error returns production's text with the console link.
func (e *MissingError) Error() string { return "" }

// Plan decides which indexes serve q. aggregated are the fields summed or
// averaged, nil for ordinary queries and where those need no index. The error
// is a *MissingError.
func (c *Config) Plan(q *fsquery.Query, aggregated []fsvalue.FieldPath) (*Plan, error) {
	return nil, nil
}
