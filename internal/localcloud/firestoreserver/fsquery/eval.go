package fsquery

import (
	"slices"

	"cloud.google.com/go/firestore/apiv1/firestorepb"

	"exportd/internal/localcloud/firestoreserver/fsvalue"
)

// Row is a document as queries see it.
type Row struct {
	Name   fsvalue.Path
	Fields map[string]*fsvalue.Value
}

// Match reports whether r is in the query's scope, has every order field and satisfies at least one disjunct.
// Cursors are not looked at.
func (q *Query) Match(r Row) bool {
	if !q.InScope(r.Name) {
		return false
	}
	for _, o := range q.Order[:len(q.Order)-1] {
		if _, ok := o.Field.Get(r.Fields); !ok {
			return false
		}
	}
	return slices.ContainsFunc(q.Disjuncts, func(c Conjunction) bool { return c.Match(r) })
}

// InScope reports whether a document of that name belongs to the collections asked for.
func (q *Query) InScope(name fsvalue.Path) bool {
	if name == q.Parent || !q.Parent.Contains(name) {
		return false
	}
	if !q.AllDescendants && name.Len() != q.Parent.Len()+2 {
		return false
	}
	return q.CollectionID == "" || name.CollectionID() == q.CollectionID
}

// Match reports whether r satisfies every condition of c.
func (c *Conjunction) Match(r Row) bool {
	if c.Never {
		return false
	}
	holds := func(f Filter) bool {
		v, ok := f.Field.Get(r.Fields)
		return ok && f.Match(v)
	}
	fails := func(f Filter) bool { return !holds(f) }
	return !slices.ContainsFunc(c.Equal, fails) &&
		(c.Contains == nil || holds(*c.Contains)) &&
		!slices.ContainsFunc(c.Inequalities, fails) &&
		!slices.ContainsFunc(c.Names, func(f Filter) bool { return !f.MatchName(r.Name) })
}

// Match reports whether v, the value of f's field, satisfies f. It is not for filters on __name__; see
// [Filter.MatchName].
func (f *Filter) Match(v *fsvalue.Value) bool {
	switch {
	case f.never():
		return false
	case f.Op == IsNull:
		return fsvalue.IsNull(v)
	case f.Op == IsNaN:
		return fsvalue.IsNaN(v)
	case f.Op == Contains:
		return slices.ContainsFunc(v.GetArrayValue().GetValues(), func(e *fsvalue.Value) bool { return fsvalue.Equal(e, f.Value) })
	case f.Op == Equal:
		return fsvalue.Equal(v, f.Value)
	case fsvalue.IsNull(v):
		return false // no inequality admits a stored null
	case f.Op == IsNotNull:
		return true
	case f.Op == IsNotNaN:
		return !fsvalue.IsNaN(v)
	case f.Op == NotEqual:
		return !fsvalue.Equal(v, f.Value)
	case f.Op == NotIn:
		return !slices.ContainsFunc(f.Values, func(e *fsvalue.Value) bool { return fsvalue.Equal(e, v) })
	}
	return fsvalue.ClassOf(v) == fsvalue.ClassOf(f.Value) && f.Op.admits(fsvalue.Compare(v, f.Value))
}

// MatchName does the same for filters on __name__.
func (f *Filter) MatchName(name fsvalue.Path) bool {
	switch f.Op {
	case NotIn:
		return !slices.Contains(f.Names, name)
	case NotEqual:
		return name != f.Name
	case Equal:
		return name == f.Name
	}
	return f.Op.admits(name.Compare(f.Name))
}

// admits tells for a range operator whether a comparison's outcome satisfies it.
func (op Op) admits(c int) bool {
	switch op {
	case Less:
		return c < 0
	case LessOrEqual:
		return c <= 0
	case Greater:
		return c > 0
	case GreaterOrEqual:
		return c >= 0
	}
	return false
}

// compare applies the direction.
func (o Order) compare(a, b *fsvalue.Value) int { return o.directed(fsvalue.Compare(a, b)) }

func (o Order) directed(c int) int {
	if o.Direction == fsvalue.Descending {
		return -c
	}
	return c
}

// Compare orders two rows that have every order field.
func (q *Query) Compare(a, b Row) int {
	for _, o := range q.Order {
		if o.Field.IsName() {
			return o.directed(a.Name.Compare(b.Name))
		}
		v, _ := o.Field.Get(a.Fields)
		w, _ := o.Field.Get(b.Fields)
		if c := o.compare(v, w); c != 0 {
			return c
		}
	}
	return 0
}

// Behind reports whether r, which has every order field, lies behind the cut.
func (q *Query) Behind(c *Cursor, r Row) bool {
	for i, v := range c.Values {
		o, side := q.Order[i], 0
		if o.Field.IsName() {
			side = o.directed(r.Name.Compare(c.Name))
		} else {
			w, _ := o.Field.Get(r.Fields)
			side = o.compare(w, v)
		}
		if side != 0 {
			return side > 0
		}
	}
	return c.Before
}

// InRange reports whether r, which has every order field, lies between the cursors.
func (q *Query) InRange(r Row) bool {
	return (q.Start == nil || q.Behind(q.Start, r)) && (q.End == nil || !q.Behind(q.End, r))
}

// Run evaluates the whole query over rows: filter, sort, cursors, offset, limit. Projection is left to the
// caller. It takes O(n log n) time and is meant for tests and small fallbacks.
func (q *Query) Run(rows []Row) []Row {
	var out []Row
	for _, r := range rows {
		if q.Match(r) && q.InRange(r) {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, q.Compare)
	out = out[min(q.Offset, len(out)):]
	if q.Limit >= 0 {
		out = out[:min(q.Limit, len(out))]
	}
	return out
}

// isDouble tells doubles from integers, which compare alike.
func isDouble(v *fsvalue.Value) bool {
	_, ok := v.GetValueType().(*firestorepb.Value_DoubleValue)
	return ok
}
