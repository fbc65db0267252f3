package differential

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"

	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/genproto/googleapis/type/latlng"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const (
	database = "projects/demo-differential/databases/(default)"
	root     = database + "/documents"
)

type (
	value  = firestorepb.Value
	filter = firestorepb.StructuredQuery_Filter
	query  = firestorepb.StructuredQuery
	order  = firestorepb.StructuredQuery_Order
)

func pick[T any](r *rand.Rand, list ...T) T { return list[r.IntN(len(list))] }

// ids are at the edges of the order of names: numeric ones first, then by the bytes of UTF-8.
var ids = []string{"__id-9223372036854775808__", "__id-3__", "__id0__", "__id12__", "__id9223372036854775807__", " ", "!", "0", "00", "A", "a", "a!", "aa", "b", "z", "~", "é", "\u00ff", "\uffff", "\U00010000", "日本"}

func name(r *rand.Rand) string {
	id := pick(r, ids...)
	if r.IntN(4) == 0 {
		return fmt.Sprintf("%s/box/%s/items/%s", root, pick(r, "b0", "b1"), id)
	}
	return root + "/items/" + id
}

func reference(name string) *value {
	return &value{ValueType: &firestorepb.Value_ReferenceValue{ReferenceValue: name}}
}

func integer(i int64) *value {
	return &value{ValueType: &firestorepb.Value_IntegerValue{IntegerValue: i}}
}

func double(f float64) *value {
	return &value{ValueType: &firestorepb.Value_DoubleValue{DoubleValue: f}}
}

func array(list ...*value) *value {
	return &value{ValueType: &firestorepb.Value_ArrayValue{ArrayValue: &firestorepb.ArrayValue{Values: list}}}
}

func number(r *rand.Rand) *value {
	if r.IntN(2) == 0 {
		return integer(pick[int64](r, 0, 1, 2, 3, -1, 1<<53, 1<<53+1, math.MaxInt64, math.MaxInt64-1, math.MinInt64))
	}
	return double(pick(r, 0, math.Copysign(0, -1), 0.5, 1, 2.5, -1, 1<<53, 1<<63, -(1 << 63), math.Inf(1), math.Inf(-1), math.NaN(), math.SmallestNonzeroFloat64, math.MaxFloat64))
}

// scalar is what may stand in an array.
func scalar(r *rand.Rand) *value {
	switch r.IntN(12) {
	case 0:
		return &value{ValueType: &firestorepb.Value_NullValue{}}
	case 1:
		return &value{ValueType: &firestorepb.Value_BooleanValue{BooleanValue: r.IntN(2) == 0}}
	case 2:
		return &value{ValueType: &firestorepb.Value_TimestampValue{TimestampValue: pick(r, &timestamppb.Timestamp{}, &timestamppb.Timestamp{Seconds: -1, Nanos: 999_999_000}, &timestamppb.Timestamp{Seconds: 1_700_000_000, Nanos: 1000}, &timestamppb.Timestamp{Seconds: -62135596800})}}
	case 3, 4:
		return &value{ValueType: &firestorepb.Value_StringValue{StringValue: pick(r, "", "a", "a\x00", "a\x00b", "b", "é", "\uffff", "\U00010000")}}
	case 5:
		return &value{ValueType: &firestorepb.Value_BytesValue{BytesValue: []byte(pick(r, "", "\x00", "a", "\xff", "\xff\x00"))}}
	case 6:
		return reference(pick(r, root+"/items/a", root+"/items/__id0__", root+"/other/a", root+"/items/a/items/b", "projects/demo-differential/databases/(default)/documents/items/é"))
	case 7:
		return &value{ValueType: &firestorepb.Value_GeoPointValue{GeoPointValue: &latlng.LatLng{Latitude: pick(r, 0.0, -90, 90), Longitude: pick(r, 0.0, -180, 180)}}}
	}
	return number(r)
}

func anything(r *rand.Rand, depth int) *value {
	switch n := r.IntN(10); {
	case n == 0:
		return list(r, depth)
	case n == 1 && depth > 0:
		m := map[string]*value{}
		for range r.IntN(3) {
			m[pick(r, "k", "l", "é", "a.b", "")] = anything(r, depth-1)
		}
		delete(m, "") // no field has an empty name
		return &value{ValueType: &firestorepb.Value_MapValue{MapValue: &firestorepb.MapValue{Fields: m}}}
	}
	return scalar(r)
}

func list(r *rand.Rand, depth int) *value {
	out := array()
	for range r.IntN(4) {
		e := scalar(r)
		if depth > 0 && r.IntN(6) == 0 {
			e = &value{ValueType: &firestorepb.Value_MapValue{MapValue: &firestorepb.MapValue{Fields: map[string]*value{"k": anything(r, depth-1)}}}}
		}
		out.GetArrayValue().Values = append(out.GetArrayValue().Values, e)
	}
	return out
}

var paths = []string{"a", "b", "m.k", "`a.b`"}

func fields(r *rand.Rand) map[string]*value {
	out := map[string]*value{}
	for _, f := range []string{"a", "b", "a.b"} {
		if r.IntN(5) > 0 {
			out[f] = anything(r, 2)
		}
	}
	if r.IntN(2) == 0 {
		out["m"] = &value{ValueType: &firestorepb.Value_MapValue{MapValue: &firestorepb.MapValue{Fields: map[string]*value{"k": anything(r, 1)}}}}
	}
	if r.IntN(4) > 0 {
		out["tags"] = list(r, 1)
	}
	return out
}

func field(path string) *firestorepb.StructuredQuery_FieldReference {
	return &firestorepb.StructuredQuery_FieldReference{FieldPath: path}
}

// few are fewer values than there are, so that conditions hold now and then.
func few(r *rand.Rand) *value {
	if r.IntN(3) == 0 {
		return anything(r, 1)
	}
	return pick(r, integer(0), integer(1), double(math.NaN()), double(1), double(math.Copysign(0, -1)), integer(math.MaxInt64), double(1<<63), &value{ValueType: &firestorepb.Value_NullValue{}},
		&value{ValueType: &firestorepb.Value_StringValue{StringValue: "a"}}, array(), array(integer(1)))
}

func some(r *rand.Rand, most int, of func(*rand.Rand) *value) *value {
	out := array()
	for range 1 + r.IntN(most) {
		out.GetArrayValue().Values = append(out.GetArrayValue().Values, of(r))
	}
	return out
}

func condition(r *rand.Rand, depth int) *filter {
	if depth > 0 && r.IntN(2) == 0 {
		c := &firestorepb.StructuredQuery_CompositeFilter{Op: pick(r, firestorepb.StructuredQuery_CompositeFilter_AND, firestorepb.StructuredQuery_CompositeFilter_OR)}
		for range 1 + r.IntN(3) {
			c.Filters = append(c.Filters, condition(r, depth-1))
		}
		return &filter{FilterType: &firestorepb.StructuredQuery_Filter_CompositeFilter{CompositeFilter: c}}
	}
	if r.IntN(8) == 0 {
		return &filter{FilterType: &firestorepb.StructuredQuery_Filter_UnaryFilter{UnaryFilter: &firestorepb.StructuredQuery_UnaryFilter{
			Op: firestorepb.StructuredQuery_UnaryFilter_Operator(2 + r.IntN(4)), OperandType: &firestorepb.StructuredQuery_UnaryFilter_Field{Field: field(pick(r, paths...))},
		}}}
	}
	f := &firestorepb.StructuredQuery_FieldFilter{Field: field(pick(r, paths...)), Value: few(r)}
	f.Op = pick(r, firestorepb.StructuredQuery_FieldFilter_EQUAL, firestorepb.StructuredQuery_FieldFilter_EQUAL, firestorepb.StructuredQuery_FieldFilter_NOT_EQUAL,
		firestorepb.StructuredQuery_FieldFilter_LESS_THAN, firestorepb.StructuredQuery_FieldFilter_LESS_THAN_OR_EQUAL, firestorepb.StructuredQuery_FieldFilter_GREATER_THAN, firestorepb.StructuredQuery_FieldFilter_GREATER_THAN_OR_EQUAL,
		firestorepb.StructuredQuery_FieldFilter_IN, firestorepb.StructuredQuery_FieldFilter_NOT_IN, firestorepb.StructuredQuery_FieldFilter_ARRAY_CONTAINS, firestorepb.StructuredQuery_FieldFilter_ARRAY_CONTAINS_ANY)
	switch {
	case r.IntN(12) == 0:
		f.Field, f.Value = field("__name__"), reference(root+"/items/"+pick(r, ids...))
		f.Op = firestorepb.StructuredQuery_FieldFilter_Operator(1 + r.IntN(6))
	case f.Op == firestorepb.StructuredQuery_FieldFilter_IN, f.Op == firestorepb.StructuredQuery_FieldFilter_NOT_IN:
		f.Value = some(r, 4, few)
	case f.Op == firestorepb.StructuredQuery_FieldFilter_ARRAY_CONTAINS:
		f.Field, f.Value = field("tags"), scalar(r)
	case f.Op == firestorepb.StructuredQuery_FieldFilter_ARRAY_CONTAINS_ANY:
		f.Field, f.Value = field("tags"), some(r, 4, scalar)
	}
	return &filter{FilterType: &firestorepb.StructuredQuery_Filter_FieldFilter{FieldFilter: f}}
}

func randomQuery(r *rand.Rand) *query {
	q := &query{From: []*firestorepb.StructuredQuery_CollectionSelector{{CollectionId: "items", AllDescendants: r.IntN(4) == 0}}}
	if r.IntN(5) > 0 {
		q.Where = condition(r, 2)
	}
	direction := func() firestorepb.StructuredQuery_Direction {
		return pick(r, firestorepb.StructuredQuery_ASCENDING, firestorepb.StructuredQuery_DESCENDING)
	}
	shuffled := append([]string(nil), paths...)
	r.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	for _, path := range shuffled[:pick(r, 0, 0, 1, 1, 2)] {
		q.OrderBy = append(q.OrderBy, &order{Field: field(path), Direction: direction()})
	}
	if r.IntN(3) == 0 {
		q.OrderBy = append(q.OrderBy, &order{Field: field("__name__"), Direction: direction()})
	}
	if len(q.OrderBy) > 0 && r.IntN(2) == 0 {
		q.StartAt = cursor(r, q)
	}
	if len(q.OrderBy) > 0 && r.IntN(3) == 0 {
		q.EndAt = cursor(r, q)
	}
	if r.IntN(3) == 0 {
		q.Limit = wrapperspb.Int32(int32(1 + r.IntN(8)))
	}
	if r.IntN(4) == 0 {
		q.Offset = int32(r.IntN(4))
	}
	if r.IntN(4) == 0 {
		q.Select = &firestorepb.StructuredQuery_Projection{}
		for range 1 + r.IntN(2) {
			q.Select.Fields = append(q.Select.Fields, field(pick(r, append(paths, "__name__", "nothing")...)))
		}
	}
	return q
}

func cursor(r *rand.Rand, q *query) *firestorepb.Cursor {
	c := &firestorepb.Cursor{Before: r.IntN(2) == 0}
	for _, o := range q.OrderBy[:1+r.IntN(len(q.OrderBy))] {
		if o.GetField().GetFieldPath() == "__name__" {
			c.Values = append(c.Values, reference(root+"/items/"+pick(r, ids...)))
		} else {
			c.Values = append(c.Values, anything(r, 1))
		}
	}
	return c
}

type transform = firestorepb.DocumentTransform_FieldTransform

func randomTransform(r *rand.Rand) *transform {
	t := &transform{FieldPath: pick(r, append(paths, "tags", "m")...)}
	operand := number(r)
	elements := some(r, 3, scalar).GetArrayValue()
	switch r.IntN(6) {
	case 0:
		t.TransformType = &firestorepb.DocumentTransform_FieldTransform_Increment{Increment: operand}
	case 1:
		t.TransformType = &firestorepb.DocumentTransform_FieldTransform_Maximum{Maximum: operand}
	case 2:
		t.TransformType = &firestorepb.DocumentTransform_FieldTransform_Minimum{Minimum: operand}
	case 3:
		t.TransformType = &firestorepb.DocumentTransform_FieldTransform_AppendMissingElements{AppendMissingElements: elements}
	case 4:
		t.TransformType = &firestorepb.DocumentTransform_FieldTransform_RemoveAllFromArray{RemoveAllFromArray: elements}
	default:
		t.TransformType = &firestorepb.DocumentTransform_FieldTransform_SetToServerValue{SetToServerValue: firestorepb.DocumentTransform_FieldTransform_REQUEST_TIME}
	}
	return t
}

// write sets a whole document, or some of its fields with transforms, or deletes it.
func write(r *rand.Rand) *firestorepb.Write {
	at := name(r)
	switch r.IntN(8) {
	case 0:
		return &firestorepb.Write{Operation: &firestorepb.Write_Delete{Delete: at}}
	case 1, 2, 3:
		w := &firestorepb.Write{Operation: &firestorepb.Write_Update{Update: &firestorepb.Document{Name: at, Fields: map[string]*value{}}}, UpdateMask: &firestorepb.DocumentMask{}}
		for range 1 + r.IntN(2) {
			w.UpdateTransforms = append(w.UpdateTransforms, randomTransform(r))
		}
		if f := pick(r, paths...); r.IntN(2) == 0 && !strings.Contains(f, ".") {
			w.UpdateMask.FieldPaths = []string{f}
			if r.IntN(2) == 0 {
				w.GetUpdate().Fields[f] = anything(r, 1)
			}
		}
		return w
	}
	return &firestorepb.Write{Operation: &firestorepb.Write_Update{Update: &firestorepb.Document{Name: at, Fields: fields(r)}}}
}

type aggregation = firestorepb.StructuredAggregationQuery_Aggregation

func randomAggregations(r *rand.Rand) []*aggregation {
	out := []*aggregation{{Alias: "n", Operator: &firestorepb.StructuredAggregationQuery_Aggregation_Count_{Count: &firestorepb.StructuredAggregationQuery_Aggregation_Count{}}}}
	if r.IntN(2) == 0 {
		out = append(out, &aggregation{Alias: "sum", Operator: &firestorepb.StructuredAggregationQuery_Aggregation_Sum_{Sum: &firestorepb.StructuredAggregationQuery_Aggregation_Sum{Field: field(pick(r, paths...))}}})
	}
	if r.IntN(2) == 0 {
		out = append(out, &aggregation{Alias: "avg", Operator: &firestorepb.StructuredAggregationQuery_Aggregation_Avg_{Avg: &firestorepb.StructuredAggregationQuery_Aggregation_Avg{Field: field(pick(r, paths...))}}})
	}
	return out
}
