package localcloud

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"exportd/internal/localcloud/pubsubserver"
)

// queryForm is a query of one filter and one order.
type queryForm struct {
	Field, Op, Value, Order, Direction string
	Ops                                []string
}

var browseOps = map[string]firestorepb.StructuredQuery_FieldFilter_Operator{
	"==": firestorepb.StructuredQuery_FieldFilter_EQUAL, "!=": firestorepb.StructuredQuery_FieldFilter_NOT_EQUAL,
	"<": firestorepb.StructuredQuery_FieldFilter_LESS_THAN, "<=": firestorepb.StructuredQuery_FieldFilter_LESS_THAN_OR_EQUAL,
	">": firestorepb.StructuredQuery_FieldFilter_GREATER_THAN, ">=": firestorepb.StructuredQuery_FieldFilter_GREATER_THAN_OR_EQUAL,
	"array-contains": firestorepb.StructuredQuery_FieldFilter_ARRAY_CONTAINS,
}

func newQueryForm(q url.Values) *queryForm {
	return &queryForm{
		Field: q.Get("field"), Op: q.Get("op"), Value: q.Get("value"), Order: q.Get("order"), Direction: q.Get("direction"),
		Ops: []string{"==", "!=", "<", "<=", ">", ">=", "array-contains"},
	}
}

func (f *queryForm) empty() bool { return f.Field == "" && f.Order == "" }

func (f *queryForm) query(collection string) (*firestorepb.StructuredQuery, error) {
	q := &firestorepb.StructuredQuery{
		From:  []*firestorepb.StructuredQuery_CollectionSelector{{CollectionId: collection}},
		Limit: wrapperspb.Int32(browseRows),
	}
	if f.Field != "" {
		op, ok := browseOps[f.Op]
		if !ok {
			return nil, fmt.Errorf("there is no operator %q", f.Op)
		}
		v, err := literal(f.Value)
		if err != nil {
			return nil, err
		}
		q.Where = &firestorepb.StructuredQuery_Filter{FilterType: &firestorepb.StructuredQuery_Filter_FieldFilter{FieldFilter: &firestorepb.StructuredQuery_FieldFilter{
			Field: &firestorepb.StructuredQuery_FieldReference{FieldPath: f.Field}, Op: op, Value: v,
		}}}
	}
	if f.Order != "" {
		o := &firestorepb.StructuredQuery_Order{Field: &firestorepb.StructuredQuery_FieldReference{FieldPath: f.Order}, Direction: firestorepb.StructuredQuery_ASCENDING}
		if f.Direction == "descending" {
			o.Direction = firestorepb.StructuredQuery_DESCENDING
		}
		q.OrderBy = append(q.OrderBy, o)
	}
	return q, nil
}

// literal reads a value as JSON: a number without a point is an integer. What JSON has no form of, as a time,
// is written as the API writes it: {"timestampValue":"2026-01-01T00:00:00Z"}.
func literal(text string) (*firestorepb.Value, error) {
	text = strings.TrimSpace(text)
	if strings.HasPrefix(text, "{") {
		v := &firestorepb.Value{}
		if err := protojson.Unmarshal([]byte(text), v); err != nil {
			return nil, fmt.Errorf("the value is not one of the API's: %w", err)
		}
		return v, nil
	}
	if i, err := strconv.ParseInt(text, 10, 64); err == nil {
		return &firestorepb.Value{ValueType: &firestorepb.Value_IntegerValue{IntegerValue: i}}, nil
	}
	var any any
	if err := json.Unmarshal([]byte(text), &any); err != nil {
		return nil, fmt.Errorf("the value %q is not JSON: text needs quotes", text)
	}
	switch v := any.(type) {
	case string:
		return &firestorepb.Value{ValueType: &firestorepb.Value_StringValue{StringValue: v}}, nil
	case float64:
		return &firestorepb.Value{ValueType: &firestorepb.Value_DoubleValue{DoubleValue: v}}, nil
	case bool:
		return &firestorepb.Value{ValueType: &firestorepb.Value_BooleanValue{BooleanValue: v}}, nil
	case nil:
		return &firestorepb.Value{ValueType: &firestorepb.Value_NullValue{}}, nil
	}
	return nil, fmt.Errorf("the value %q is neither text, number, true, false nor null; others are written as the API writes them: {\"arrayValue\":…}", text)
}

func sortedFields(d *firestorepb.Document) []string {
	return slices.Sorted(maps.Keys(d.GetFields()))
}

// summary is a document on one line of a list.
func summary(d *firestorepb.Document) string {
	var b strings.Builder
	for _, f := range sortedFields(d) {
		if b.Len() > browseText {
			break
		}
		fmt.Fprintf(&b, "%s: %s  ", f, browseValue(d.GetFields()[f]))
	}
	return shortened(strings.TrimSpace(b.String()))
}

// browseValue shows a value with its type, unless its form tells.
func browseValue(v *firestorepb.Value) string {
	switch x := v.GetValueType().(type) {
	case *firestorepb.Value_NullValue:
		return "null"
	case *firestorepb.Value_BooleanValue:
		return strconv.FormatBool(x.BooleanValue)
	case *firestorepb.Value_IntegerValue:
		return strconv.FormatInt(x.IntegerValue, 10)
	case *firestorepb.Value_DoubleValue:
		s := strconv.FormatFloat(x.DoubleValue, 'g', -1, 64)
		if !strings.ContainsAny(s, ".eIN") {
			s += ".0"
		}
		return s
	case *firestorepb.Value_StringValue:
		return shortened(strconv.Quote(x.StringValue))
	case *firestorepb.Value_TimestampValue:
		return browseTime(x.TimestampValue.AsTime())
	case *firestorepb.Value_ReferenceValue:
		return "→ " + x.ReferenceValue
	case *firestorepb.Value_BytesValue:
		return fmt.Sprintf("%d bytes", len(x.BytesValue))
	case *firestorepb.Value_GeoPointValue:
		return fmt.Sprintf("(%g, %g)", x.GeoPointValue.GetLatitude(), x.GeoPointValue.GetLongitude())
	case *firestorepb.Value_ArrayValue:
		var parts []string
		for _, e := range x.ArrayValue.GetValues()[:min(20, len(x.ArrayValue.GetValues()))] {
			parts = append(parts, browseValue(e))
		}
		return shortened("[" + strings.Join(parts, ", ") + "]")
	case *firestorepb.Value_MapValue:
		return shortened("{" + summary(&firestorepb.Document{Fields: x.MapValue.GetFields()}) + "}")
	}
	return "?"
}

// shortened ends long text where a character does.
func shortened(s string) string {
	if len(s) <= browseText {
		return s
	}
	i := browseText
	for i > 0 && !utf8.RuneStart(s[i]) {
		i--
	}
	return s[:i] + "…"
}

func names(subs []pubsubserver.Backlog) (out []string) {
	for _, s := range subs {
		out = append(out, s.Subscription)
	}
	return out
}
