package fsquery

import (
	"cloud.google.com/go/firestore/apiv1/firestorepb"

	"exportd/internal/localcloud/firestoreserver/fsvalue"
)

// Op is a filter operator of the normal form. IN and ARRAY_CONTAINS_ANY do not
// occur: they became disjuncts.
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

// Inequality reports whether op is of the inequality class, which forces its
// field into the order.
func (op Op) Inequality() bool { return op >= Less }

// Filter is one condition on one field.
type Filter struct {
	Field fsvalue.FieldPath
	Op    Op
	// Value is the operand; nil for unary operators and NotIn. A filter on
	// `__name__` has a reference here and its parsed form in Name.
	Value *fsvalue.Value
	// Values are the operands of NotIn; Names their parsed form on `__name__`.
	Values []*fsvalue.Value
	Name   fsvalue.Path
	Names  []fsvalue.Path
}

// Conjunction is one disjunct of the filter: all its conditions must hold.
type Conjunction struct {
	Equal        []Filter // Equal, IsNull, IsNaN on fields other than __name__; at most one per field, else see Never
	Contains     *Filter  // at most one
	Inequalities []Filter // on fields other than __name__
	Names        []Filter // every condition on __name__, Equal included
	// Never tells that no row can match: an operand is null or NaN where that
	// compares with nothing, or two equalities on one field contradict.
	Never bool
}

// Order is one entry of the sort order.
type Order struct {
	Field     fsvalue.FieldPath
	Direction fsvalue.Direction
}

// Cursor is a position in the order: before or after all rows whose leading
// order fields equal Values.
type Cursor struct {
	Values []*fsvalue.Value
	Names  fsvalue.Path // the parsed value for __name__, zero when the cursor is shorter
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
	// Order is the whole order, implicit fields included; its last entry is
	// __name__. A row must have every field of it.
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

// Parse validates q, asked under parent (a root or a document), and normalises it.
func Parse(parent fsvalue.Path, q *firestorepb.StructuredQuery) (*Query, error) {
	return &Query{Parent: parent}, nil
}
