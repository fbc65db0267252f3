package fsquery

import (
	"math"
	"strings"
	"testing"

	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"exportd/internal/localcloud/firestoreserver/fsvalue"
)

var root = fsvalue.Database{Project: "p", ID: "(default)"}.Root()

// val builds a value from a Go one.
func val(x any) *fsvalue.Value {
	switch x := x.(type) {
	case nil:
		return nullValue
	case *fsvalue.Value:
		return x
	case bool:
		return &fsvalue.Value{ValueType: &firestorepb.Value_BooleanValue{BooleanValue: x}}
	case int:
		return integerValue(int64(x))
	case float64:
		return doubleValue(x)
	case string:
		return &fsvalue.Value{ValueType: &firestorepb.Value_StringValue{StringValue: x}}
	case fsvalue.Path:
		return &fsvalue.Value{ValueType: &firestorepb.Value_ReferenceValue{ReferenceValue: x.String()}}
	case []any:
		vs := make([]*fsvalue.Value, len(x))
		for i := range x {
			vs[i] = val(x[i])
		}
		return &fsvalue.Value{ValueType: &firestorepb.Value_ArrayValue{ArrayValue: &firestorepb.ArrayValue{Values: vs}}}
	case doc:
		return &fsvalue.Value{ValueType: &firestorepb.Value_MapValue{MapValue: &firestorepb.MapValue{Fields: x.fields()}}}
	}
	panic("unknown kind of value")
}

type doc map[string]any

func (d doc) fields() map[string]*fsvalue.Value {
	out := make(map[string]*fsvalue.Value, len(d))
	for k, v := range d {
		out[k] = val(v)
	}
	return out
}

func vec(fs ...float64) *fsvalue.Value {
	list := make([]any, len(fs))
	for i, f := range fs {
		list[i] = f
	}
	return val(doc{"__type__": "__vector__", "value": list})
}

// path builds a path from segments joined by "/".
func path(rel string) fsvalue.Path {
	p := root
	for seg := range strings.SplitSeq(rel, "/") {
		p = p.Child(seg)
	}
	return p
}

type filter = firestorepb.StructuredQuery_Filter

func ref(field string) *firestorepb.StructuredQuery_FieldReference {
	return &firestorepb.StructuredQuery_FieldReference{FieldPath: field}
}

var opNames = map[string]firestorepb.StructuredQuery_FieldFilter_Operator{
	"<": 1, "<=": 2, ">": 3, ">=": 4, "==": 5, "!=": 6, "contains": 7, "in": 8, "any": 9, "not-in": 10, "?": 99,
}

// where is a field filter; in, any and not-in take a []any.
func where(field, op string, operand any) *filter {
	return &filter{FilterType: &firestorepb.StructuredQuery_Filter_FieldFilter{
		FieldFilter: &firestorepb.StructuredQuery_FieldFilter{Field: ref(field), Op: opNames[op], Value: val(operand)}}}
}

func unary(field string, op firestorepb.StructuredQuery_UnaryFilter_Operator) *filter {
	return &filter{FilterType: &firestorepb.StructuredQuery_Filter_UnaryFilter{
		UnaryFilter: &firestorepb.StructuredQuery_UnaryFilter{
			Op: op, OperandType: &firestorepb.StructuredQuery_UnaryFilter_Field{Field: ref(field)}}}}
}

const (
	isNaN     = firestorepb.StructuredQuery_UnaryFilter_IS_NAN
	isNull    = firestorepb.StructuredQuery_UnaryFilter_IS_NULL
	isNotNaN  = firestorepb.StructuredQuery_UnaryFilter_IS_NOT_NAN
	isNotNull = firestorepb.StructuredQuery_UnaryFilter_IS_NOT_NULL
)

func composite(op firestorepb.StructuredQuery_CompositeFilter_Operator, fs ...*filter) *filter {
	return &filter{FilterType: &firestorepb.StructuredQuery_Filter_CompositeFilter{
		CompositeFilter: &firestorepb.StructuredQuery_CompositeFilter{Op: op, Filters: fs}}}
}

func and(fs ...*filter) *filter { return composite(opAnd, fs...) }
func or(fs ...*filter) *filter  { return composite(opOr, fs...) }

// from returns a query on collection c with the given filter.
func from(f *filter, orders ...string) *firestorepb.StructuredQuery {
	return &firestorepb.StructuredQuery{
		From:    []*firestorepb.StructuredQuery_CollectionSelector{{CollectionId: "c"}},
		Where:   f,
		OrderBy: orderBy(orders...),
	}
}

// orderBy reads "a" and "-a".
func orderBy(orders ...string) []*firestorepb.StructuredQuery_Order {
	var out []*firestorepb.StructuredQuery_Order
	for _, o := range orders {
		dir := firestorepb.StructuredQuery_ASCENDING
		o, desc := strings.CutPrefix(o, "-")
		if desc {
			dir = firestorepb.StructuredQuery_DESCENDING
		}
		out = append(out, &firestorepb.StructuredQuery_Order{Field: ref(o), Direction: dir})
	}
	return out
}

func cursor(before bool, values ...any) *firestorepb.Cursor {
	c := &firestorepb.Cursor{Before: before}
	for _, v := range values {
		c.Values = append(c.Values, val(v))
	}
	return c
}

func limited(q *firestorepb.StructuredQuery, n int32) *firestorepb.StructuredQuery {
	q.Limit = wrapperspb.Int32(n)
	return q
}

func mustParse(t testing.TB, q *firestorepb.StructuredQuery) *Query {
	t.Helper()
	out, err := Parse(root, q)
	if err != nil {
		t.Fatalf("Parse(%v) = %v", q, err)
	}
	return out
}

func wantInvalid(t testing.TB, what string, err error, text string) {
	t.Helper()
	if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), text) {
		t.Errorf("%s = %v, want INVALID_ARGUMENT with %q", what, err, text)
	}
}

func orderText(q *Query) string {
	var out []string
	for _, o := range q.Order {
		s := o.Field.String()
		if o.Direction == fsvalue.Descending {
			s = "-" + s
		}
		out = append(out, s)
	}
	return strings.Join(out, " ")
}

// ids runs q over rows in c and returns the last segments.
func ids(q *Query, rows []Row) string {
	var out []string
	for _, r := range q.Run(rows) {
		out = append(out, r.Name.ID())
	}
	return strings.Join(out, " ")
}

// rowsOf makes rows c/<id>.
func rowsOf(docs map[string]doc) []Row {
	var out []Row
	for id, d := range docs {
		out = append(out, Row{Name: path("c/" + id), Fields: d.fields()})
	}
	return out
}

var nan = math.NaN()
