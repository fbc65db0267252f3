package fsquery

import (
	"slices"

	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/protobuf/proto"

	"exportd/internal/localcloud/firestoreserver/fsvalue"
)

// Names of the protobuf operators, shorter.
const (
	opAnd = firestorepb.StructuredQuery_CompositeFilter_AND
	opOr  = firestorepb.StructuredQuery_CompositeFilter_OR
)

// tree collects what the limits on a whole filter need while it is walked.
type tree struct {
	q         *Query
	negations int // NOT_EQUAL, NOT_IN, IS_NOT_NAN, IS_NOT_NULL
	notIn     bool
	union     bool // IN, ARRAY_CONTAINS_ANY, OR
	normal    normalizer
}

// parseWhere expands the filter of a query with so many sort orders into its disjunctive normal form.
func (q *Query) parseWhere(f *firestorepb.StructuredQuery_Filter, orders int) error {
	t := tree{q: q}
	var w written
	disjuncts := [][]Filter{nil}
	if f != nil {
		var err error
		if w, err = t.check(f); err != nil {
			return err
		}
		terms, err := t.expand(f)
		if err != nil {
			return err
		}
		if n := len(terms); n > maxDisjuncts {
			return invalidf("Too many disjunctions after normalization. Result had %d disjunctions which is more than the maximum of %d", n, maxDisjuncts)
		}
		disjuncts = t.normal.filtersOf(terms)
	}
	if t.negations > 1 {
		return invalidf("Only a single 'NOT_EQUAL', 'NOT_IN', 'IS_NOT_NAN', or 'IS_NOT_NULL' filter allowed per query.")
	}
	if t.notIn && t.union {
		return invalidf("'NOT_IN' cannot be used in the same query with 'IN', 'ARRAY_CONTAINS_ANY' or 'OR'.")
	}
	if err := q.collectInequalities(disjuncts); err != nil {
		return err
	}
	if err := q.checkComponents(w.filters, disjuncts, orders); err != nil {
		return err
	}
	if w.contains > 1 {
		return invalidf("A maximum of 1 'ARRAY_CONTAINS' filter is allowed per disjunction.")
	}
	for _, d := range disjuncts {
		q.Disjuncts = append(q.Disjuncts, newConjunction(d))
	}
	return nil
}

// written is what of a filter is counted as it is written. A part of a composite that stands in it before
// does not count again.
type written struct {
	filters  int // each value of a list is one
	contains int // of ARRAY_CONTAINS and ARRAY_CONTAINS_ANY, in the disjunction that has most
}

// check validates the shape of the tree.
func (t *tree) check(f *firestorepb.StructuredQuery_Filter) (written, error) {
	switch ft := f.GetFilterType().(type) {
	case *firestorepb.StructuredQuery_Filter_CompositeFilter:
		return t.checkComposite(ft.CompositeFilter)
	case *firestorepb.StructuredQuery_Filter_FieldFilter:
		return t.checkField(ft.FieldFilter)
	case *firestorepb.StructuredQuery_Filter_UnaryFilter:
		switch ft.UnaryFilter.GetOp() {
		case firestorepb.StructuredQuery_UnaryFilter_IS_NOT_NAN, firestorepb.StructuredQuery_UnaryFilter_IS_NOT_NULL:
			t.negations++
		}
		return written{filters: 1}, nil
	}
	return written{}, invalidf("Filter has no type set.")
}

func (t *tree) checkComposite(c *firestorepb.StructuredQuery_CompositeFilter) (out written, err error) {
	switch c.GetOp() {
	case opAnd:
	case opOr:
		if len(c.GetFilters()) == 0 {
			return out, invalidf("Composite filter must have at least one sub-filter.")
		}
		t.union = true // also of one filter: the rule is on how a query is written
	default:
		return out, invalidf("Unknown composite filter operator %d.", c.GetOp())
	}
	for i, sub := range c.GetFilters() {
		w, err := t.check(sub)
		if err != nil {
			return out, err
		}
		if twice(c.GetFilters(), i) {
			continue
		}
		out.filters += w.filters
		if c.GetOp() == opAnd {
			out.contains += w.contains
		} else {
			out.contains = max(out.contains, w.contains)
		}
	}
	return out, nil
}

// twice says whether a filter stands before in the same composite, and so says nothing new. Behind as many as
// a query may have at all nobody looks.
func twice(list []*firestorepb.StructuredQuery_Filter, i int) bool {
	return i <= maxComponents && slices.ContainsFunc(list[:i], func(o *firestorepb.StructuredQuery_Filter) bool { return proto.Equal(o, list[i]) })
}

func (t *tree) checkField(f *firestorepb.StructuredQuery_FieldFilter) (written, error) {
	out, op, most := written{filters: 1}, f.GetOp(), maxIn
	switch op {
	case firestorepb.StructuredQuery_FieldFilter_NOT_EQUAL:
		t.negations++
		return out, nil
	case firestorepb.StructuredQuery_FieldFilter_ARRAY_CONTAINS:
		out.contains = 1
		return out, nil
	case firestorepb.StructuredQuery_FieldFilter_NOT_IN:
		t.negations++
		t.notIn = true
		most = maxNotIn
	case firestorepb.StructuredQuery_FieldFilter_ARRAY_CONTAINS_ANY:
		out.contains = 1
		t.union = true
	case firestorepb.StructuredQuery_FieldFilter_IN:
		t.union = true
	default:
		return out, nil
	}
	list, ok := f.GetValue().GetValueType().(*firestorepb.Value_ArrayValue)
	if !ok {
		return out, invalidf("'%s' requires an ArrayValue.", op)
	}
	out.filters = len(list.ArrayValue.GetValues())
	switch n := out.filters; {
	case n == 0:
		return out, invalidf("'%s' requires an non-empty ArrayValue.", op)
	case n > most:
		return out, invalidf("'%s' supports up to %d comparison values.", op, most)
	}
	return out, nil
}

// expand returns the disjuncts of f, whose shape has been checked.
func (t *tree) expand(f *firestorepb.StructuredQuery_Filter) (disjunction, error) {
	switch ft := f.GetFilterType().(type) {
	case *firestorepb.StructuredQuery_Filter_FieldFilter:
		return t.expandField(ft.FieldFilter)
	case *firestorepb.StructuredQuery_Filter_UnaryFilter:
		return t.expandUnary(ft.UnaryFilter)
	}
	op := f.GetCompositeFilter().GetOp()
	parts, err := t.parts(nil, op, f)
	if err != nil {
		return nil, err
	}
	if op == opOr {
		return union(parts...), nil
	}
	return product(parts...)
}

// parts appends the expanded parts of a composite, those of composites of the same kind inside it among them.
func (t *tree) parts(out []disjunction, op firestorepb.StructuredQuery_CompositeFilter_Operator, f *firestorepb.StructuredQuery_Filter) ([]disjunction, error) {
	c := f.GetCompositeFilter()
	if c == nil || c.GetOp() != op {
		s, err := t.expand(f)
		return append(out, s), err
	}
	for _, sub := range c.GetFilters() {
		var err error
		if out, err = t.parts(out, op, sub); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (t *tree) expandUnary(f *firestorepb.StructuredQuery_UnaryFilter) (disjunction, error) {
	field, err := fsvalue.ParseFieldPath(f.GetField().GetFieldPath())
	if err != nil {
		return nil, err
	}
	if field.IsName() {
		return nil, errNotKey()
	}
	var op Op
	switch f.GetOp() {
	case firestorepb.StructuredQuery_UnaryFilter_IS_NAN:
		op = IsNaN
	case firestorepb.StructuredQuery_UnaryFilter_IS_NULL:
		op = IsNull
	case firestorepb.StructuredQuery_UnaryFilter_IS_NOT_NAN:
		op = IsNotNaN
	case firestorepb.StructuredQuery_UnaryFilter_IS_NOT_NULL:
		op = IsNotNull
	default:
		return nil, invalidf("Unknown unary filter operator %d.", f.GetOp())
	}
	return t.normal.anyOf(Filter{Field: field, Op: op}), nil
}

var fieldOps = map[firestorepb.StructuredQuery_FieldFilter_Operator]Op{
	firestorepb.StructuredQuery_FieldFilter_LESS_THAN:             Less,
	firestorepb.StructuredQuery_FieldFilter_LESS_THAN_OR_EQUAL:    LessOrEqual,
	firestorepb.StructuredQuery_FieldFilter_GREATER_THAN:          Greater,
	firestorepb.StructuredQuery_FieldFilter_GREATER_THAN_OR_EQUAL: GreaterOrEqual,
	firestorepb.StructuredQuery_FieldFilter_EQUAL:                 Equal,
	firestorepb.StructuredQuery_FieldFilter_NOT_EQUAL:             NotEqual,
	firestorepb.StructuredQuery_FieldFilter_ARRAY_CONTAINS:        Contains,
	firestorepb.StructuredQuery_FieldFilter_IN:                    Equal,
	firestorepb.StructuredQuery_FieldFilter_ARRAY_CONTAINS_ANY:    Contains,
	firestorepb.StructuredQuery_FieldFilter_NOT_IN:                NotIn,
}

func (t *tree) expandField(f *firestorepb.StructuredQuery_FieldFilter) (disjunction, error) {
	field, err := fsvalue.ParseFieldPath(f.GetField().GetFieldPath())
	if err != nil {
		return nil, err
	}
	op, ok := fieldOps[f.GetOp()]
	if !ok {
		return nil, invalidf("Unknown field filter operator %d.", f.GetOp())
	}
	if field.IsName() && op == Contains {
		return nil, invalidf("the name __key__ is reserved")
	}
	operands := []*fsvalue.Value{f.GetValue()}
	switch f.GetOp() {
	case firestorepb.StructuredQuery_FieldFilter_IN, firestorepb.StructuredQuery_FieldFilter_NOT_IN,
		firestorepb.StructuredQuery_FieldFilter_ARRAY_CONTAINS_ANY:
		operands = f.GetValue().GetArrayValue().GetValues()
	}
	for _, v := range operands {
		if err := fsvalue.PrepareValue(v); err != nil {
			return nil, err
		}
		if op == Contains && fsvalue.ClassOf(v) == fsvalue.ClassArray {
			return nil, invalidf("'%s' does not support an ArrayValue as comparison value.", f.GetOp())
		}
	}
	if op == NotIn {
		filter := Filter{Field: field, Op: op, Values: operands}
		if filter.Names, err = t.names(field, operands); err != nil {
			return nil, err
		}
		return t.normal.anyOf(filter), nil
	}
	out := make([]Filter, len(operands))
	for i, v := range operands {
		filter := Filter{Field: field, Op: op, Value: v}
		names, err := t.names(field, operands[i:i+1])
		if err != nil {
			return nil, err
		}
		if names != nil {
			filter.Name = names[0]
		}
		out[i] = filter
	}
	return t.normal.anyOf(out...), nil
}

// names parses the operands of a filter on __name__; nil for other fields.
func (t *tree) names(field fsvalue.FieldPath, operands []*fsvalue.Value) ([]fsvalue.Path, error) {
	if !field.IsName() {
		return nil, nil
	}
	names := make([]fsvalue.Path, len(operands))
	for i, v := range operands {
		var err error
		if names[i], err = t.q.parseName(v); err != nil {
			return nil, err
		}
	}
	return names, nil
}

// collectInequalities sets the inequality fields of all branches, sorted.
func (q *Query) collectInequalities(disjuncts [][]Filter) error {
	keyEqual := false
	for _, d := range disjuncts {
		for i := range d {
			f := &d[i]
			keyEqual = keyEqual || (f.Field.IsName() && f.Op == Equal)
			if f.Op.Inequality() {
				q.Inequality = append(q.Inequality, f.Field)
			}
		}
	}
	slices.SortFunc(q.Inequality, fsvalue.FieldPath.Compare)
	q.Inequality = slices.CompactFunc(q.Inequality, fsvalue.FieldPath.Equal)
	n := len(q.Inequality)
	if n > maxInequalities {
		return invalidf("The query contains %d distinct inequality fields: [%s]. A query may not have more than %d distinct inequality fields.",
			n, joinFields(q.Inequality), maxInequalities)
	}
	if keyEqual && n > 0 && !q.Inequality[n-1].IsName() {
		return invalidf("Equality on key is not allowed if there are other inequality fields and key does not appear in inequalities.")
	}
	return nil
}

// newConjunction sorts the conditions of one disjunct by what they mean to an index, and finds
// contradictions.
func newConjunction(filters []Filter) (c Conjunction) {
	for i := range filters {
		f := filters[i]
		c.Never = c.Never || f.never()
		switch {
		case f.Field.IsName():
			c.Names = append(c.Names, f)
		case f.Op == Contains:
			c.Contains = &f
		case f.Op.Inequality():
			c.Inequalities = append(c.Inequalities, f)
		default:
			if v, fixed := c.Point(f.Field); !fixed {
				c.Equal = append(c.Equal, f)
			} else if !fsvalue.Equal(v, f.point()) {
				c.Never = true
			}
		}
	}
	c.Inequalities = slices.DeleteFunc(c.Inequalities, func(f Filter) bool {
		v, fixed := c.Point(f.Field)
		c.Never = c.Never || (fixed && !f.Match(v))
		return fixed
	})
	return c
}

// anyField returns a field other than __name__ that has a condition.
func (c *Conjunction) anyField() fsvalue.FieldPath {
	switch {
	case len(c.Equal) > 0:
		return c.Equal[0].Field
	case c.Contains != nil:
		return c.Contains.Field
	case len(c.Inequalities) > 0:
		return c.Inequalities[0].Field
	}
	return nil
}
