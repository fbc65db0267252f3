package fsquery

import (
	"math"
	"slices"

	"cloud.google.com/go/firestore/apiv1/firestorepb"

	"exportd/internal/localcloud/firestoreserver/fsvalue"
)

// Op is a filter operator of the normal form. IN and ARRAY_CONTAINS_ANY do not occur: they became disjuncts.
type Op uint8

// The operators.
const (
	Equal    Op = iota + 1
	IsNull      // unary
	IsNaN       // unary
	Contains    // array-contains
	Less        // and the other ranges match only the operand's class
	LessOrEqual
	Greater
	GreaterOrEqual
	NotEqual
	NotIn
	IsNotNull // unary
	IsNotNaN  // unary
)

// Inequality reports whether op is of the inequality class, which forces its field into the order.
func (op Op) Inequality() bool { return op >= Less }

// Filter is one condition on one field.
type Filter struct {
	Field fsvalue.FieldPath
	Op    Op
	// Value is the operand; nil for unary operators and NotIn. On __name__ it is a reference, which Name
	// holds parsed.
	Value *fsvalue.Value
	Name  fsvalue.Path
	// Values are the 1 to 10 operands of NotIn, and Names their parsed forms.
	Values []*fsvalue.Value
	Names  []fsvalue.Path
}

// point returns the one value an equality admits.
func (f *Filter) point() *fsvalue.Value {
	switch f.Op {
	case IsNull:
		return nullValue
	case IsNaN:
		return nanValue
	}
	return f.Value
}

// never reports whether f matches nothing because of a null or NaN operand.
func (f *Filter) never() bool {
	switch f.Op {
	case IsNull, IsNaN, IsNotNull, IsNotNaN:
		return false
	case NotIn:
		return slices.ContainsFunc(f.Values, fsvalue.IsNull)
	case NotEqual:
		return fsvalue.IsNull(f.Value)
	}
	return fsvalue.IsNull(f.Value) || fsvalue.IsNaN(f.Value)
}

// The values that unary equalities stand for; never changed.
var (
	nullValue = &fsvalue.Value{ValueType: &firestorepb.Value_NullValue{}}
	nanValue  = &fsvalue.Value{ValueType: &firestorepb.Value_DoubleValue{DoubleValue: math.NaN()}}
)

// Conjunction is one disjunct of the filter: all its conditions must hold.
type Conjunction struct {
	Equal        []Filter // Equal, IsNull, IsNaN on fields other than __name__, at most one per field
	Contains     *Filter  // at most one
	Inequalities []Filter // on fields other than __name__ and those in Equal
	Names        []Filter // every condition on __name__, Equal included
	// Never tells that no row can match: an operand is null or NaN where that compares with nothing, or
	// conditions on one field contradict. The conditions still tell which index the query needs.
	Never bool
}

// Point returns the value an equality fixes the field to.
func (c *Conjunction) Point(field fsvalue.FieldPath) (*fsvalue.Value, bool) {
	for i := range c.Equal {
		if f := &c.Equal[i]; f.Field.Equal(field) {
			return f.point(), true
		}
	}
	return nil, false
}

// Order is one entry of the sort order.
type Order struct {
	Field     fsvalue.FieldPath
	Direction fsvalue.Direction
}

// Cursor is a cut through the order: rows whose leading order fields equal Values lie behind it if Before is
// set, else in front of it. The start cursor keeps what is behind, the end cursor what is in front. Without
// Values every row is on one side.
type Cursor struct {
	// Values pair with the order fields from the left. The last one may be for __name__ and is a reference
	// then, which Name holds parsed.
	Values []*fsvalue.Value
	Name   fsvalue.Path
	Before bool
}

// Query is a valid query in normal form. It is immutable after Parse.
type Query struct {
	Parent         fsvalue.Path
	CollectionID   string // "" asks for every collection ("kindless")
	AllDescendants bool

	// Disjuncts holds at least one conjunction; one empty one when there is no filter.
	Disjuncts []Conjunction
	// Inequality lists the inequality fields of all branches in implicit order.
	Inequality []fsvalue.FieldPath
	// Order is the whole order, implicit fields included; its last entry is __name__. A row must have every
	// field of it.
	Order []Order

	Start, End *Cursor // nil when unbounded
	Offset     int
	Limit      int // -1 when absent

	// Projection lists the fields to return; nil means all. KeysOnly means none.
	Projection []fsvalue.FieldPath
	KeysOnly   bool

	// FindNearest is carried as received; it is validated, not evaluated.
	FindNearest *firestorepb.StructuredQuery_FindNearest
}

// Tail returns the order fields that still vary within a disjunct: the order without the disjunct's equality
// fields and without __name__.
func (q *Query) Tail(disjunct int) []Order {
	c := &q.Disjuncts[disjunct]
	var tail []Order
	for _, o := range q.Order[:len(q.Order)-1] {
		if _, fixed := c.Point(o.Field); !fixed {
			tail = append(tail, o)
		}
	}
	return tail
}

// CursorFor returns the same cut as one disjunct sees it: its values pair with Tail(disjunct) and then
// __name__. A value for a field that the disjunct fixes is compared here once and for all. A nil cursor stays
// nil.
func (q *Query) CursorFor(disjunct int, c *Cursor) *Cursor {
	if c == nil {
		return nil
	}
	out := &Cursor{Before: c.Before, Name: c.Name}
	for i, v := range c.Values {
		o := q.Order[i]
		constant, fixed := q.Disjuncts[disjunct].Point(o.Field)
		if !fixed {
			out.Values = append(out.Values, v)
			continue
		}
		if side := o.compare(constant, v); side != 0 {
			// All rows that share the values so far are on this side.
			out.Before = side > 0
			out.Name = fsvalue.Path{}
			return out
		}
	}
	return out
}

// NameDirection returns the direction in which names break ties.
func (q *Query) NameDirection() fsvalue.Direction { return q.Order[len(q.Order)-1].Direction }
