package fsquery

import (
	"math"
	"slices"
	"strings"
	"testing"

	"cloud.google.com/go/firestore/apiv1/firestorepb"
)

// kinds has one document per kind of value in field a, and one without.
var kinds = map[string]doc{
	"none": {"b": 1}, "null": {"a": nil}, "false": {"a": false}, "nan": {"a": nan}, "minf": {"a": math.Inf(-1)}, "zero": {"a": 0},
	"one": {"a": 1}, "one.0": {"a": 1.0}, "two": {"a": 2}, "str": {"a": "s"}, "arr": {"a": []any{1, "x", nil}}, "arrn": {"a": []any{nan}},
	"map": {"a": doc{"k": 1}}, "vec": {"a": vec(1, 2)},
}

// TestFilters holds the tables of 3.8: null, NaN, classes.
func TestFilters(t *testing.T) {
	t.Parallel()
	tests := []struct {
		f    *filter
		want string
	}{
		{where("a", "==", 1), "one one.0"},
		{where("a", "==", nil), ""},
		{where("a", "==", nan), ""},
		{where("a", "in", []any{nil, nan, 1, 1}), "one one.0"},
		{where("a", "in", []any{[]any{1.0, "x", nil}}), "arr"},
		{where("a", "==", []any{nan}), "arrn"},
		{where("a", "==", doc{"k": 1.0}), "map"},
		{unary("a", isNull), "null"},
		{unary("a", isNaN), "nan"},
		{unary("a", isNotNull), "nan minf zero one one.0 two arr arrn false map str vec"},
		{unary("a", isNotNaN), "minf zero one one.0 two arr arrn false map str vec"},
		{where("a", "!=", nan), "minf zero one one.0 two arr arrn false map str vec"},
		{where("a", "!=", 1), "nan minf zero two arr arrn false map str vec"},
		{where("a", "!=", nil), ""},
		{where("a", "not-in", []any{1, "s"}), "nan minf zero two arr arrn false map vec"},
		{where("a", "not-in", []any{nan}), "minf zero one one.0 two arr arrn false map str vec"},
		{where("a", "not-in", []any{nil, 1}), ""},
		{where("a", "<=", 2), "minf zero one one.0 two"},
		{where("a", "<", 1), "minf zero"},
		{where("a", ">", 1), "two"},
		{where("a", ">=", math.Inf(-1)), "minf zero one one.0 two"},
		{where("a", ">=", nan), ""},
		{where("a", "<", nil), ""},
		{where("a", ">=", ""), "str"},
		{where("a", ">", []any{}), "arr arrn"},
		{where("a", ">", doc{}), "map"},
		{where("a", "contains", 1.0), "arr"},
		{where("a", "contains", nil), ""},
		{where("a", "any", []any{nan, nil}), ""},
		{where("a", "any", []any{"x", 1}), "arr"},
		{where("a.k", "==", 1), "map"},
		{or(where("a", "==", 1), where("b", "==", 1)), "none one one.0"},
		{or(where("a", ">", 1), where("b", "==", 1)), "two"}, // an inequality field of one branch must exist
		{and(where("a", ">", 0), where("a", "<", 2)), "one one.0"},
		{where("__name__", ">=", path("c/two")), "two vec zero"},
		{where("__name__", "<", path("c/false")), "arr arrn"},
		{where("__name__", "!=", path("c/two")), "arr arrn false map minf nan none null one one.0 str vec zero"},
		{where("__name__", "in", []any{path("c/two"), path("c/one"), path("c/none/x/y")}), "one two"},
		{where("__name__", "not-in", []any{path("c/two"), path("c/one")}), "arr arrn false map minf nan none null one.0 str vec zero"},
	}
	for _, tt := range tests {
		got := strings.Fields(ids(mustParse(t, from(tt.f)), rowsOf(kinds)))
		want := strings.Fields(tt.want)
		slices.Sort(got) // the order is not what is tested here
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%v = %q, want %q", tt.f, got, want)
		}
	}
}

func TestOrder(t *testing.T) {
	t.Parallel()
	rows := rowsOf(kinds)
	const asc = "null false nan minf zero one one.0 two str arrn arr vec map"
	if got := ids(mustParse(t, from(nil, "a")), rows); got != asc {
		t.Errorf("order a = %q, want %q", got, asc)
	}
	const desc = "map vec arr arrn str two one.0 one zero minf nan false null"
	if got := ids(mustParse(t, from(nil, "-a")), rows); got != desc {
		t.Errorf("order -a = %q, want %q", got, desc)
	}
	if got := ids(mustParse(t, from(where("a", "==", 1), "-a", "__name__")), rows); got != "one one.0" {
		t.Errorf("ties by name = %q", got)
	}
}

func TestScope(t *testing.T) {
	t.Parallel()
	var rows []Row
	for _, rel := range []string{"c/1", "c/1/c/2", "d/1", "d/1/c/3", "d/1/e/4"} {
		rows = append(rows, Row{Name: path(rel)})
	}
	tests := []struct {
		parent, coll string
		all          bool
		want         string
	}{
		{"", "c", false, "c/1"},
		{"", "c", true, "c/1 c/1/c/2 d/1/c/3"},
		{"", "", false, "c/1 d/1"},
		{"", "", true, "c/1 c/1/c/2 d/1 d/1/c/3 d/1/e/4"},
		{"d/1", "c", false, "d/1/c/3"},
		{"d/1", "", false, "d/1/c/3 d/1/e/4"},
		{"c/1", "c", true, "c/1/c/2"},
		{"c/1", "", true, "c/1/c/2"},
	}
	for _, tt := range tests {
		sq := from(nil)
		sq.From[0].CollectionId, sq.From[0].AllDescendants = tt.coll, tt.all
		parent := root
		if tt.parent != "" {
			parent = path(tt.parent)
		}
		q, err := Parse(parent, sq)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, r := range q.Run(rows) {
			got = append(got, r.Name.Rel())
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%q below %q, all %v = %q, want %q", tt.coll, tt.parent, tt.all, got, tt.want)
		}
	}
}

// TestCursors holds 7.7 and 7.8, and checks CursorFor against the whole cursor.
func TestCursors(t *testing.T) {
	t.Parallel()
	rows := rowsOf(map[string]doc{
		"a": {"e": 1, "q": 1}, "b": {"e": 1, "q": 2}, "c": {"e": 1, "q": 2}, "d": {"e": 1, "q": 3}, "x": {"e": 2, "q": 2}, "s": {"e": 1, "q": "s"},
	})
	e1 := where("e", "==", 1)
	tests := []struct {
		name       string
		f          *filter
		orders     []string
		start, end *firestorepb.Cursor
		want       string
	}{
		{"start at", e1, []string{"q"}, cursor(true, 2), nil, "b c d s"},
		{"start after", e1, []string{"q"}, cursor(false, 2), nil, "d s"},
		{"end before", e1, []string{"q"}, nil, cursor(true, 2), "a"},
		{"end at", e1, []string{"q"}, nil, cursor(false, 2), "a b c"},
		{"both", e1, []string{"q"}, cursor(true, 2), cursor(false, 3), "b c d"},
		{"crossed", e1, []string{"q"}, cursor(true, 3), cursor(true, 2), ""},
		{"no values", e1, []string{"q"}, cursor(true), cursor(false), "a b c d s"},
		{"descending", e1, []string{"-q"}, cursor(true, 2), nil, "c b a"},
		{"descending after", e1, []string{"-q"}, cursor(false, 2), nil, "a"},
		{"with name", e1, []string{"q", "__name__"}, cursor(false, 2, path("c/b")), nil, "c d s"},
		{"name not there", e1, []string{"q", "__name__"}, cursor(true, 2, path("c/bb")), nil, "c d s"},
		{"other class", e1, []string{"q"}, cursor(true, "a"), nil, "s"},
		{"past every class", e1, []string{"q"}, cursor(true, doc{}), nil, ""},
		{"equality field equal", e1, []string{"e", "q"}, cursor(true, 1, 2), nil, "b c d s"},
		{"equality field smaller", e1, []string{"e", "q"}, cursor(true, 0, 3), nil, "a b c d s"},
		{"equality field greater", e1, []string{"e", "q"}, cursor(true, 2, 0), nil, ""},
		{"equality field greater, end", e1, []string{"e", "q"}, nil, cursor(true, 2, 0), "a b c d s"},
		{"equality field behind", e1, []string{"q", "e"}, cursor(true, 2, 2), nil, "d s"},
		{"equality field behind, less", e1, []string{"q", "e"}, cursor(false, 2, 0), nil, "b c d s"},
		{"equality field descending", e1, []string{"-e", "-q"}, cursor(true, 2, 3), nil, "s d c b a"},
		{"of two disjuncts", where("e", "in", []any{1, 2}), []string{"e", "q"}, cursor(false, 1, 3), nil, "s x"},
		{"names alone", nil, nil, cursor(false, path("c/c")), cursor(false, path("c/s")), "d s"},
	}
	for _, tt := range tests {
		sq := from(tt.f, tt.orders...)
		sq.StartAt, sq.EndAt = tt.start, tt.end
		q := mustParse(t, sq)
		if got := ids(q, rows); got != tt.want {
			t.Errorf("%s = %q, want %q", tt.name, got, tt.want)
		}
		checkCursorFor(t, tt.name, q, rows)
	}
}

// checkCursorFor compares the cut of each disjunct with the whole one.
func checkCursorFor(t *testing.T, name string, q *Query, rows []Row) {
	t.Helper()
	for i := range q.Disjuncts {
		tail := append(q.Tail(i), q.Order[len(q.Order)-1])
		for _, c := range []*Cursor{q.Start, q.End} {
			if c == nil {
				if q.CursorFor(i, c) != nil {
					t.Errorf("%s: CursorFor(nil) is not nil", name)
				}
				continue
			}
			for _, r := range rows {
				if !q.Match(r) || !q.Disjuncts[i].Match(r) {
					continue
				}
				reduced := &Query{Order: tail}
				if got, want := reduced.Behind(q.CursorFor(i, c), r), q.Behind(c, r); got != want {
					t.Errorf("%s: disjunct %d puts %s behind = %v, want %v", name, i, r.Name.ID(), got, want)
				}
			}
		}
	}
}

func TestOffsetAndLimit(t *testing.T) {
	t.Parallel()
	rows := rowsOf(map[string]doc{"1": {}, "2": {}, "3": {}})
	page := func(offset int32, limit int32) *Query {
		q := limited(from(nil), limit)
		q.Offset = offset
		return mustParse(t, q)
	}
	for _, tt := range []struct {
		q    *Query
		want string
	}{
		{page(0, 0), ""}, {page(0, 2), "1 2"}, {page(1, 1), "2"}, {page(2, 9), "3"}, {page(5, 1), ""}, {mustParse(t, from(nil)), "1 2 3"},
	} {
		if got := ids(tt.q, rows); got != tt.want {
			t.Errorf("offset %d limit %d = %q, want %q", tt.q.Offset, tt.q.Limit, got, tt.want)
		}
	}
}
