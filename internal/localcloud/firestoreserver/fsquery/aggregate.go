package fsquery

import (
	"cloud.google.com/go/firestore/apiv1/firestorepb"

	"exportd/internal/localcloud/firestoreserver/fsvalue"
)

// AggregateKind is what an aggregation computes.
type AggregateKind uint8

// The kinds.
const (
	Count AggregateKind = iota
	Sum
	Average
)

// Aggregate is one result asked for.
type Aggregate struct {
	Alias string
	Kind  AggregateKind
	Field fsvalue.FieldPath // of Sum and Average
	UpTo  int               // of Count; 0 is no bound
}

// Aggregation is a valid aggregation request in normal form.
type Aggregation struct {
	Query      *Query
	Aggregates []Aggregate
	// Fields are the distinct fields summed or averaged, sorted. A document
	// that lacks one of them counts nowhere.
	Fields []fsvalue.FieldPath
}

// ParseAggregation validates and normalises an aggregation request.
func ParseAggregation(parent fsvalue.Path, q *firestorepb.StructuredAggregationQuery) (*Aggregation, error) {
	return nil, nil
}

// Aggregator accumulates the results of one request. It is not safe for
// concurrent use.
type Aggregator struct {
	agg *Aggregation
}

// NewAggregator returns an empty accumulation.
func NewAggregator(a *Aggregation) *Aggregator { return &Aggregator{agg: a} }

// Add takes one row, given the values of Aggregation.Fields in that order; all
// must be present (the caller skips rows that lack one). The values may come
// from an index entry.
func (g *Aggregator) Add(values []*fsvalue.Value) {}

// AddRow takes one row unless it lacks an aggregated field.
func (g *Aggregator) AddRow(r Row) {}

// Done reports whether no further row can change the result, which only counts
// with a bound allow.
func (g *Aggregator) Done() bool { return false }

// Result returns the value per alias.
func (g *Aggregator) Result() map[string]*fsvalue.Value { return nil }
