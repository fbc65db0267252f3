package fsindex

import (
	"exportd/internal/localcloud/firestoreserver/fsquery"
	"exportd/internal/localcloud/firestoreserver/fsvalue"
)

// Scan is one index stream. All scans of a disjunct are intersected (merge
// join on the tail fields and the name); each is sorted by those.
type Scan struct {
	Index Index
	// Points is the number of leading index fields that the disjunct fixes to
	// one value (an equality or the array-contains operand); the remaining
	// fields are exactly Plan.Tail.
	Points int
}

// Plan tells how to serve a query.
type Plan struct {
	// Disjuncts has one entry per disjunct of the query: its scans, none of
	// which means a scan of the documents in name order.
	Disjuncts [][]Scan
	// Tail is, per disjunct, the order fields that are index components after
	// the points: the order without equality fields and __name__, then the
	// aggregated fields.
	Tail [][]Field
	// Name is the direction in which names break ties.
	Name fsvalue.Direction
}

// MissingError tells that no set of indexes serves a disjunct.
type MissingError struct {
	// Index would serve it.
	Index Index
	// Exemption tells that the console would add it as a single-field override.
	Exemption        bool
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
