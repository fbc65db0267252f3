package fsquery

import (
	"math"
	"testing"

	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"exportd/internal/localcloud/firestoreserver/fsvalue"
)

type aggregation = firestorepb.StructuredAggregationQuery_Aggregation

func count(alias string, upTo int64) *aggregation {
	c := &firestorepb.StructuredAggregationQuery_Aggregation_Count{}
	if upTo != 0 {
		c.UpTo = wrapperspb.Int64(upTo)
	}
	return &aggregation{Alias: alias, Operator: &firestorepb.StructuredAggregationQuery_Aggregation_Count_{Count: c}}
}

func sum(alias, field string) *aggregation {
	return &aggregation{Alias: alias, Operator: &firestorepb.StructuredAggregationQuery_Aggregation_Sum_{
		Sum: &firestorepb.StructuredAggregationQuery_Aggregation_Sum{Field: ref(field)}}}
}

func avg(alias, field string) *aggregation {
	return &aggregation{Alias: alias, Operator: &firestorepb.StructuredAggregationQuery_Aggregation_Avg_{
		Avg: &firestorepb.StructuredAggregationQuery_Aggregation_Avg{Field: ref(field)}}}
}

func aggregate(q *firestorepb.StructuredQuery, as ...*aggregation) *firestorepb.StructuredAggregationQuery {
	return &firestorepb.StructuredAggregationQuery{
		QueryType:    &firestorepb.StructuredAggregationQuery_StructuredQuery{StructuredQuery: q},
		Aggregations: as,
	}
}

func TestAggregationRefused(t *testing.T) {
	t.Parallel()
	group := from(nil, "__name__")
	group.From[0].AllDescendants = true
	tests := map[string]struct {
		q    *firestorepb.StructuredAggregationQuery
		want string
	}{
		"no query":        {&firestorepb.StructuredAggregationQuery{}, "no structured query"},
		"bad query":       {aggregate(from(or()), count("", 0)), "Composite filter"},
		"none":            {aggregate(from(nil)), "at least one"},
		"six":             {aggregate(from(nil), count("", 0), count("", 0), count("", 0), count("", 0), count("", 0), count("", 0)), "maximum number of aggregations"},
		"duplicate alias": {aggregate(from(nil), count("x", 0), sum("x", "a")), "duplicate alias: x"},
		"bad alias":       {aggregate(from(nil), count("a.b", 0)), "Invalid aggregation alias"},
		"negative up_to":  {aggregate(from(nil), count("", -1)), "up_to must be greater than zero"},
		"no operator":     {aggregate(from(nil), &aggregation{}), "no operator"},
		"bad field":       {aggregate(from(nil), sum("", "a.")), "Invalid property path"},
		"name":            {aggregate(from(nil), avg("", "__name__")), "not supported"},
		"beside name":     {aggregate(from(where("__name__", "==", path("c/a"))), sum("", "value"), sum("s", "a")), "has fields [a, value] after __name__"},
		"after name": {aggregate(group, sum("", "value")), "This query requires an index that has fields [value] after __name__ and Firestore does not currently support such an index. " +
			"Please try the query again with additional ordering on those fields."},
	}
	for name, tt := range tests {
		_, err := ParseAggregation(root, tt.q)
		wantInvalid(t, name, err, tt.want)
	}
}

func TestAggregates(t *testing.T) {
	t.Parallel()
	const maxInt = math.MaxInt64
	tests := map[string]struct {
		values   []any
		sum, avg any
	}{
		"nothing":          {nil, 0, nil},
		"nothing numeric":  {[]any{"x", nil, []any{1}}, 0, nil},
		"ints":             {[]any{1, 2, 4, "x"}, 7, 7.0 / 3},
		"negative ints":    {[]any{-5, 2}, -3, -1.5},
		"mixed":            {[]any{1, 2.5}, 3.5, 1.75},
		"whole double":     {[]any{1.0, 1}, 2.0, 1.0},
		"overflow":         {[]any{maxInt, 1}, float64(1 << 63), float64(1 << 62)},
		"overflow undone":  {[]any{maxInt, maxInt, -maxInt}, maxInt, float64(maxInt) / 3},
		"negative extreme": {[]any{math.MinInt64, math.MinInt64}, -2 * float64(1<<63), -float64(1 << 63)},
		"NaN":              {[]any{1, nan, 2}, nan, nan},
		"infinity":         {[]any{1, math.Inf(1)}, math.Inf(1), math.Inf(1)},
		"both infinities":  {[]any{math.Inf(-1), math.Inf(1)}, nan, nan},
		"double overflow":  {[]any{math.MaxFloat64, math.MaxFloat64}, math.Inf(1), math.Inf(1)},
		"compensated":      {[]any{4.8, 5.9, 6.0, 7.1, 8.2}, 32.0, 6.4},
		"descending":       {[]any{8.2, 7.1, 6.0, 5.9}, 27.2, 6.8},
	}
	a, err := ParseAggregation(root, aggregate(from(nil), sum("s", "v"), avg("a", "v"), count("n", 0)))
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range tests {
		g := NewAggregator(a)
		for _, v := range tt.values {
			g.Add([]*fsvalue.Value{val(v)})
		}
		got := g.Result()
		if !proto.Equal(got["s"], val(tt.sum)) || !proto.Equal(got["a"], val(tt.avg)) || got["n"].GetIntegerValue() != int64(len(tt.values)) {
			t.Errorf("%s = %v, want sum %v, avg %v", name, got, tt.sum, tt.avg)
		}
		if g.Done() {
			t.Errorf("%s: a sum is done early", name)
		}
	}
}

// TestAggregatedFieldsMustExist is 8.5: a document without one of the fields counts nowhere, one with a
// non-number counts.
func TestAggregatedFieldsMustExist(t *testing.T) {
	t.Parallel()
	a, err := ParseAggregation(root, aggregate(from(nil), count("", 0), sum("total", "m.v"), avg("", "w"), avg("", "m.v")))
	if err != nil {
		t.Fatal(err)
	}
	g := NewAggregator(a)
	for _, d := range []doc{
		{"m": doc{"v": 1}, "w": 10}, {"m": doc{"v": "x"}, "w": nil}, {"m": doc{"v": 3}}, {"w": 4}, {"m": 5, "w": 1}, {},
		{"m": doc{"v": 2}, "w": 20},
	} {
		g.AddRow(Row{Fields: d.fields()})
	}
	want := map[string]*fsvalue.Value{"field_1": val(3), "total": val(3), "field_2": val(15.0), "field_3": val(1.5)}
	for alias, v := range want {
		if got := g.Result()[alias]; !proto.Equal(got, v) {
			t.Errorf("%s = %v, want %v", alias, got, v)
		}
	}
	if len(g.Result()) != len(want) {
		t.Errorf("Result() = %v", g.Result())
	}
}

func TestCountUpTo(t *testing.T) {
	t.Parallel()
	a, err := ParseAggregation(root, aggregate(from(nil), count("two", 2), count("three", 3)))
	if err != nil {
		t.Fatal(err)
	}
	g := NewAggregator(a)
	n := 0
	for ; !g.Done(); n++ {
		g.AddRow(Row{})
	}
	if got := g.Result(); n != 3 || got["two"].GetIntegerValue() != 2 || got["three"].GetIntegerValue() != 3 {
		t.Errorf("after %d rows = %v, want 2 and 3 after 3", n, got)
	}
}
