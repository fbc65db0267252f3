package vip

import (
	"crypto/sha256"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Op is how a condition compares a field.
type Op uint8

// The comparisons there are.
const (
	Equal         Op = iota // the field equals the value
	ArrayContains           // the field is an array with the value in it
)

// Condition is one condition on a field. Value is a string, a bool or an int64.
type Condition struct {
	Field string
	Op    Op
	Value any
}

// Query says which documents are rows, and their order: SortField, then the document id ascending. Package
// dataset makes them.
type Query struct {
	// Name is the dataset's. Page tokens are of it.
	Name       string
	Collection string
	Conditions []Condition
	// SortField decides the order. Documents without it are no rows. The greatest comes first, unless
	// Ascending.
	SortField string
	Ascending bool
	// From and To bound the sort field where it is a time: From <= t < To. Zero is unbounded.
	From, To time.Time
	// Sandbox: the rows are those made up for sandboxes, never real ones.
	Sandbox bool
}

// Unsorted is the query for all documents that meet the conditions, also those that have no place in the
// order: the window is none of its. Firestore answers it by indexes of single fields.
func (q Query) Unsorted() Query {
	q.SortField, q.From, q.To = "", time.Time{}, time.Time{}
	return q
}

// The collections that the gate reads.
const (
	CollectionWorkspaces = "Workspaces"
	CollectionChannels   = "Channels"
)

// scope identifies the query in page tokens: a token of one query is refused by another.
func (q *Query) scope() [8]byte {
	var b strings.Builder
	part := func(s string) { fmt.Fprintf(&b, "%d:%s", len(s), s) }
	part(q.Name)
	for _, c := range q.Conditions {
		part(c.Field)
		part(strconv.Itoa(int(c.Op)))
		part(fmt.Sprintf("%T=%v", c.Value, c.Value))
	}
	part(q.SortField)
	if q.Sandbox {
		part("sandbox")
	}
	if q.Ascending {
		part("ascending")
	}
	for _, t := range []time.Time{q.From, q.To} {
		if !t.IsZero() {
			part(strconv.FormatInt(t.UnixMicro(), 10))
		} else {
			part("")
		}
	}
	sum := sha256.Sum256([]byte(b.String()))
	return [8]byte(sum[:8])
}
