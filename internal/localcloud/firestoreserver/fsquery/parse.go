package fsquery

import (
	"slices"
	"strings"

	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"exportd/internal/localcloud/firestoreserver/fsvalue"
)

// Limits on queries, from the product's quota page and its recorded errors.
const (
	maxDisjuncts    = 30
	maxIn           = 30
	maxNotIn        = 10
	maxInequalities = 10
	maxComponents   = 100 // filters + sort orders + ancestor
)

func invalidf(format string, args ...any) error {
	return status.Errorf(codes.InvalidArgument, format, args...)
}

// Parse validates q, asked under parent (a root or a document), and normalises it. The query keeps parts of
// q, whose timestamps it rounds down to microseconds. Errors are INVALID_ARGUMENT statuses.
func Parse(parent fsvalue.Path, q *firestorepb.StructuredQuery) (*Query, error) {
	out := &Query{Parent: parent, Limit: -1, Offset: int(q.GetOffset())}
	switch len(q.GetFrom()) {
	case 0:
	case 1:
		out.CollectionID = q.From[0].GetCollectionId()
		out.AllDescendants = q.From[0].GetAllDescendants()
	default:
		return nil, invalidf("Query must have at most one collection selector.")
	}
	if out.CollectionID != "" {
		if err := fsvalue.CheckCollectionID(out.CollectionID); err != nil {
			return nil, err
		}
	}
	if out.Offset < 0 {
		return nil, invalidf("offset is negative.")
	}
	if q.GetLimit() != nil {
		if out.Limit = int(q.Limit.GetValue()); out.Limit < 0 {
			return nil, invalidf("limit is negative.")
		}
	}
	if err := out.parseWhere(q.GetWhere(), len(q.GetOrderBy())); err != nil {
		return nil, err
	}
	if err := out.parseOrder(q.GetOrderBy()); err != nil {
		return nil, err
	}
	if err := out.checkScope(q); err != nil {
		return nil, err
	}
	var err error
	if out.Start, err = out.parseCursor(q.GetStartAt()); err != nil {
		return nil, err
	}
	if out.End, err = out.parseCursor(q.GetEndAt()); err != nil {
		return nil, err
	}
	if err := out.parseSelect(q.GetSelect()); err != nil {
		return nil, err
	}
	out.FindNearest = q.GetFindNearest()
	return out, checkNearest(out.FindNearest)
}

// parseOrder builds the whole order: the explicit one, inequality fields not in it, then the name.
func (q *Query) parseOrder(explicit []*firestorepb.StructuredQuery_Order) error {
	last := fsvalue.Ascending
	for _, o := range explicit {
		field, err := fsvalue.ParseFieldPath(o.GetField().GetFieldPath())
		if err != nil {
			return err
		}
		switch o.GetDirection() {
		case firestorepb.StructuredQuery_DIRECTION_UNSPECIFIED, firestorepb.StructuredQuery_ASCENDING:
			last = fsvalue.Ascending
		case firestorepb.StructuredQuery_DESCENDING:
			last = fsvalue.Descending
		default:
			return invalidf("Unknown order direction %d.", o.GetDirection())
		}
		if q.ordered(field) {
			return invalidf("order by clause cannot contain duplicate fields %s", field)
		}
		q.Order = append(q.Order, Order{field, last})
	}
	for _, field := range q.Inequality {
		if !q.ordered(field) {
			q.Order = append(q.Order, Order{field, last})
		}
	}
	name := fsvalue.FieldPath{fsvalue.NameField}
	i := slices.IndexFunc(q.Order, func(o Order) bool { return o.Field.IsName() })
	switch {
	case i < 0:
		q.Order = append(q.Order, Order{name, last})
	case i != len(q.Order)-1:
		return invalidf("order by clause cannot contain more fields after the key %s", q.Order[i+1].Field)
	}
	return nil
}

func (q *Query) ordered(field fsvalue.FieldPath) bool {
	return slices.ContainsFunc(q.Order, func(o Order) bool { return o.Field.Equal(field) })
}

// checkScope holds the rules for queries without a collection id and for collection groups below a document.
func (q *Query) checkScope(sq *firestorepb.StructuredQuery) error {
	plain := sq.GetWhere() == nil && len(sq.GetOrderBy()) == 0
	if q.AllDescendants && q.CollectionID != "" && !q.Parent.IsRoot() && !plain {
		return invalidf("collection group queries are only allowed at the root parent")
	}
	if q.CollectionID != "" {
		return nil
	}
	for i := range q.Disjuncts {
		if field := q.Disjuncts[i].anyField(); field != nil {
			return invalidf("kind is required for filter: %s", field)
		}
	}
	if len(q.Order) > 1 || q.NameDirection() == fsvalue.Descending {
		return invalidf("kind is required for all orders except __key__ ascending")
	}
	return nil
}

// checkComponents counts filters as they are written, as Google's emulator does, or over all disjuncts,
// whichever are more: the documentation does not say of which the limit is.
func (q *Query) checkComponents(written int, disjuncts [][]Filter, orders int) error {
	n := 0
	for _, d := range disjuncts {
		n += len(d)
	}
	n = max(n, written) + orders
	if !q.Parent.IsRoot() {
		n++
	}
	if n > maxComponents {
		return invalidf("The query may not have more than %d filters + sort orders + ancestor total. Currently there are %d.", maxComponents, n)
	}
	return nil
}

func (q *Query) parseCursor(c *firestorepb.Cursor) (*Cursor, error) {
	if len(c.GetValues()) == 0 {
		return nil, nil
	}
	if len(c.Values) > len(q.Order) {
		return nil, invalidf("Cursor has too many values.")
	}
	out := &Cursor{Values: c.Values, Before: c.Before}
	for i, v := range c.Values {
		if err := fsvalue.PrepareValue(v); err != nil {
			return nil, err
		}
		if !q.Order[i].Field.IsName() {
			continue
		}
		name, err := q.parseName(v)
		if err != nil {
			return nil, invalidf("Cursor __key__ value is not a document reference.")
		}
		out.Name = name
	}
	return out, nil
}

// parseName reads a reference that must lie below the query's parent.
func (q *Query) parseName(v *fsvalue.Value) (fsvalue.Path, error) {
	if _, ok := v.GetValueType().(*firestorepb.Value_ReferenceValue); !ok {
		return fsvalue.Path{}, errNotKey()
	}
	name, err := fsvalue.ParseDocument(v.GetReferenceValue())
	if err != nil || name == q.Parent || !q.Parent.Contains(name) {
		return fsvalue.Path{}, errNotKey()
	}
	return name, nil
}

func errNotKey() error { return invalidf("__key__ filter value must be a Key") }

func (q *Query) parseSelect(p *firestorepb.StructuredQuery_Projection) error {
	if len(p.GetFields()) == 0 {
		return nil
	}
	fields := make([]fsvalue.FieldPath, 0, len(p.Fields))
	for _, f := range p.Fields {
		path, err := fsvalue.ParseFieldPath(f.GetFieldPath())
		if err != nil {
			return err
		}
		if !path.IsName() {
			fields = append(fields, path)
		}
	}
	q.KeysOnly = len(fields) == 0
	if q.KeysOnly {
		return nil
	}
	slices.SortFunc(fields, fsvalue.FieldPath.Compare)
	for _, f := range fields { // what a listed path covers follows it
		if n := len(q.Projection); n == 0 || !f.HasPrefix(q.Projection[n-1]) {
			q.Projection = append(q.Projection, f)
		}
	}
	return nil
}

func joinFields(fields []fsvalue.FieldPath) string {
	s := make([]string, len(fields))
	for i, f := range fields {
		s[i] = f.String()
	}
	return strings.Join(s, ", ")
}
