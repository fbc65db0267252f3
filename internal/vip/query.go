package vip

import (
	"crypto/sha256"
	"fmt"
	"strconv"
	"strings"
	"time"

	"exportd/jobs"
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

// Query says which documents are rows, and their order: SortField descending,
// then the document id ascending. Every combination that [NewQuery] makes has
// its index in deployments/firestore.indexes.json.
type Query struct {
	Kind       jobs.Kind
	Collection string
	Conditions []Condition
	// SortField decides the order. Documents without it are no rows.
	SortField string
	// From and To bound the sort field where it is a time: From <= t < To. Zero
	// is unbounded.
	From, To time.Time
}

// The source collections.
const (
	CollectionWorkspaces = "Workspaces"
	CollectionChannels   = "Channels"
	CollectionUsers      = "VipUsers"
	CollectionMessages   = "VipMessages"
)

// NewQuery returns the query that a filter means. Fields of f that kind does
// not know are ignored. It panics at a kind that jobs.Kind.Valid refuses.
func NewQuery(kind jobs.Kind, f jobs.Filter) Query {
	q := Query{Kind: kind, Conditions: []Condition{
		{"workspaceId", Equal, f.WorkspaceID},
		{"mediumId", Equal, f.MediumID},
	}}
	switch kind {
	case jobs.KindUsers:
		q.Collection, q.SortField = CollectionUsers, "ltv"
		switch {
		case f.BirthdayMonth != 0: // implies a known birthday
			q.Conditions = append(q.Conditions, Condition{"birthdayMonth", Equal, int64(f.BirthdayMonth)})
		case f.HasBirthday:
			q.Conditions = append(q.Conditions, Condition{"hasBirthday", Equal, true})
		}
	case jobs.KindMessages:
		q.Collection, q.SortField = CollectionMessages, "timestamp"
		q.From, q.To = f.From.UTC().Truncate(time.Microsecond), f.To.UTC().Truncate(time.Microsecond)
		if f.ContentType != "" {
			q.Conditions = append(q.Conditions, Condition{"kind", Equal, f.ContentType})
		}
		if f.Label != "" {
			q.Conditions = append(q.Conditions, Condition{"labels", ArrayContains, f.Label})
		}
	default:
		panic(fmt.Sprintf("vip: unknown kind %q", kind))
	}
	return q
}

// scope identifies the query in page tokens: a token of one query is refused
// by another.
func (q *Query) scope() [8]byte {
	var b strings.Builder
	part := func(s string) { fmt.Fprintf(&b, "%d:%s", len(s), s) }
	part(string(q.Kind))
	for _, c := range q.Conditions {
		part(c.Field)
		part(strconv.Itoa(int(c.Op)))
		part(fmt.Sprintf("%T=%v", c.Value, c.Value))
	}
	part(q.SortField)
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
