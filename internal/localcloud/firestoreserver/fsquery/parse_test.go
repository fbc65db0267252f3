package fsquery

import (
	"fmt"
	"math"
	"testing"

	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"exportd/internal/localcloud/firestoreserver/fsvalue"
)

func many(n int) []any {
	out := make([]any, n)
	for i := range out {
		out[i] = i
	}
	return out
}

func fields(n int, f func(name string) *filter) (out []*filter) {
	for i := range n {
		out = append(out, f(fmt.Sprintf("f%02d", i)))
	}
	return out
}

// TestRefused holds the recorded texts of sections 7.2 to 7.9.
func TestRefused(t *testing.T) {
	t.Parallel()
	kindless := func(f *filter, orders ...string) *firestorepb.StructuredQuery {
		q := from(f, orders...)
		q.From = nil
		return q
	}
	with := func(change func(q *firestorepb.StructuredQuery)) *firestorepb.StructuredQuery {
		q := from(nil)
		change(q)
		return q
	}
	greater := func(name string) *filter { return where(name, ">", 1) }
	tests := map[string]struct {
		q    *firestorepb.StructuredQuery
		want string
	}{
		"two selectors":        {with(func(q *firestorepb.StructuredQuery) { q.From = append(q.From, q.From[0]) }), "at most one collection"},
		"reserved collection":  {with(func(q *firestorepb.StructuredQuery) { q.From[0].CollectionId = "__x__" }), `Collection id "__x__" is invalid because it is reserved.`},
		"kindless filter":      {kindless(where("n", "==", 1)), "kind is required for filter: n"},
		"kindless inequality":  {kindless(where("n", ">", 1)), "kind is required for filter: n"},
		"kindless contains":    {kindless(where("n", "contains", 1)), "kind is required for filter: n"},
		"kindless order":       {kindless(nil, "n"), "kind is required for all orders except __key__ ascending"},
		"kindless name desc":   {kindless(nil, "-__name__"), "kind is required for all orders except __key__ ascending"},
		"empty or":             {from(or()), "Composite filter must have at least one sub-filter."},
		"unset filter":         {from(&filter{}), "no type"},
		"composite op":         {from(composite(0, where("a", "==", 1))), "composite filter operator"},
		"field op":             {from(where("a", "?", 1)), "field filter operator"},
		"unary op":             {from(unary("a", 0)), "unary filter operator"},
		"direction":            {with(func(q *firestorepb.StructuredQuery) { q.OrderBy = orderBy("a"); q.OrderBy[0].Direction = 3 }), "order direction"},
		"bad path":             {from(where("0foo", "==", 1)), `Invalid property path "0foo".`},
		"bad order path":       {from(nil, "a."), `Invalid property path "a.".`},
		"bad unary path":       {from(unary("", isNull)), "Invalid property path"},
		"unset operand":        {from(where("a", "==", &fsvalue.Value{})), "no type"},
		"contains array":       {from(where("a", "contains", []any{1})), "does not support an ArrayValue"},
		"in unset":             {from(where("a", "in", []any{&fsvalue.Value{}, &fsvalue.Value{}})), "no type"},
		"in scalar":            {from(where("a", "in", 1)), "'IN' requires an ArrayValue."},
		"in empty":             {from(where("a", "in", []any{})), "'IN' requires an non-empty ArrayValue."},
		"in 31":                {from(where("a", "in", many(31))), "'IN' supports up to 30 comparison values."},
		"not-in 11":            {from(where("a", "not-in", many(11))), "'NOT_IN' supports up to 10 comparison values."},
		"any 31":               {from(where("a", "any", many(31))), "'ARRAY_CONTAINS_ANY' supports up to 30 comparison values."},
		"name not a key":       {from(where("__name__", "==", "x")), "__key__ filter value must be a Key"},
		"name elsewhere":       {from(where("__name__", "==", fsvalue.Database{Project: "q", ID: "(default)"}.Root().Child("c").Child("x"))), "__key__ filter value must be a Key"},
		"name not-in":          {from(where("__name__", "not-in", []any{1})), "__key__ filter value must be a Key"},
		"name unary":           {from(unary("__name__", isNull)), "__key__ filter value must be a Key"},
		"name contains":        {from(where("__name__", "contains", 1)), "the name __key__ is reserved"},
		"name any":             {from(where("__name__", "any", []any{1})), "the name __key__ is reserved"},
		"name and inequality":  {from(and(where("__name__", "==", path("c/x")), where("a", ">", 1))), "Equality on key is not allowed if there are other inequality fields and key does not appear in inequalities."},
		"too many disjuncts":   {from(and(where("a", "in", many(8)), where("b", "in", many(4)))), "Too many disjunctions after normalization. Result had 32 disjunctions which is more than the maximum of 30"},
		"disjunct explosion":   {from(and(fields(40, func(n string) *filter { return where(n, "in", many(30)) })...)), "Too many disjunctions"},
		"two contains":         {from(and(where("a", "contains", 1), where("b", "contains", 1))), "A maximum of 1 'ARRAY_CONTAINS' filter is allowed per disjunction."},
		"contains and any":     {from(and(where("a", "contains", 1), where("b", "any", []any{1}))), "A maximum of 1 'ARRAY_CONTAINS' filter is allowed per disjunction."},
		"one contains nested":  {from(and(and(where("a", "contains", 1), where("b", "==", 1)), where("a", "contains", 1))), "A maximum of 1 'ARRAY_CONTAINS' filter is allowed per disjunction."},
		"contains and its any": {from(and(where("a", "contains", 1), where("a", "any", []any{1}))), "A maximum of 1 'ARRAY_CONTAINS' filter is allowed per disjunction."},
		"contains in or":       {from(and(or(where("b", "==", 1), where("a", "contains", 1)), where("a", "contains", 1))), "A maximum of 1 'ARRAY_CONTAINS' filter is allowed per disjunction."},
		"filters nested":       {from(and(and(append(fields(50, func(n string) *filter { return where(n, "==", 1) }), where("m", "==", 1))...), and(fields(50, func(n string) *filter { return where(n, "==", 1) })...))), "Currently there are 101."},
		"two negations":        {from(and(where("a", "!=", 1), unary("b", isNotNull))), "Only a single 'NOT_EQUAL', 'NOT_IN', 'IS_NOT_NAN', or 'IS_NOT_NULL' filter allowed per query."},
		"not-in and in":        {from(and(where("a", "not-in", many(2)), where("b", "in", many(2)))), "'NOT_IN' cannot be used in the same query with 'IN', 'ARRAY_CONTAINS_ANY' or 'OR'."},
		"not-in in an or":      {from(or(where("a", "not-in", many(2)))), "'NOT_IN' cannot be used in the same query with 'IN', 'ARRAY_CONTAINS_ANY' or 'OR'."},
		"not-in and or":        {from(or(where("a", "not-in", many(2)), where("b", "==", 1))), "'NOT_IN' cannot be used in the same query with 'IN', 'ARRAY_CONTAINS_ANY' or 'OR'."},
		"eleven inequalities":  {from(and(fields(11, greater)...)), "The query contains 11 distinct inequality fields: [f00, f01, f02, f03, f04, f05, f06, f07, f08, f09, f10]. A query may not have more than 10 distinct inequality fields."},
		"too many components":  {from(and(fields(101, func(n string) *filter { return where(n, "==", 1) })...)), "The query may not have more than 100 filters + sort orders + ancestor total. Currently there are 101."},
		"values of not-in":     {from(and(append(fields(91, func(n string) *filter { return where(n, "==", 1) }), where("a", "not-in", many(10)))...)), "Currently there are 101."},
		"duplicate order":      {from(nil, "a", "a"), "order by clause cannot contain duplicate fields a"},
		"order after name":     {from(nil, "__name__", "a"), "order by clause cannot contain more fields after the key a"},
		"inequality after key": {from(and(greater("a"), greater("b")), "a", "__name__"), "order by clause cannot contain more fields after the key b"},
		"cursor too long":      {with(func(q *firestorepb.StructuredQuery) { q.StartAt = cursor(true, path("c/a"), 1) }), "Cursor has too many values."},
		"cursor not a name":    {with(func(q *firestorepb.StructuredQuery) { q.EndAt = cursor(true, "a") }), "Cursor __key__ value is not a document reference."},
		"cursor elsewhere":     {with(func(q *firestorepb.StructuredQuery) { q.EndAt = cursor(true, root.Database().Root()) }), "Document name"},
		"cursor unset":         {with(func(q *firestorepb.StructuredQuery) { q.EndAt = cursor(true, &fsvalue.Value{}) }), "no type"},
		"offset":               {with(func(q *firestorepb.StructuredQuery) { q.Offset = -1 }), "offset is negative"},
		"limit":                {limited(from(nil), -1), "limit is negative"},
		"bad select": {with(func(q *firestorepb.StructuredQuery) {
			q.Select = &firestorepb.StructuredQuery_Projection{Fields: []*firestorepb.StructuredQuery_FieldReference{ref("a..b")}}
		}), "Invalid property path"},
	}
	for name, tt := range tests {
		_, err := Parse(root, tt.q)
		wantInvalid(t, name, err, tt.want)
	}
}

func TestGroupBelowDocument(t *testing.T) {
	t.Parallel()
	parent := path("r/x")
	group := func(f *filter, orders ...string) *firestorepb.StructuredQuery {
		q := from(f, orders...)
		q.From[0].AllDescendants = true
		return q
	}
	const refused = "collection group queries are only allowed at the root parent"
	_, err := Parse(parent, group(where("a", "==", 1)))
	wantInvalid(t, "filtered", err, refused)
	_, err = Parse(parent, group(nil, "a"))
	wantInvalid(t, "ordered", err, refused)
	if _, err := Parse(parent, group(nil)); err != nil {
		t.Errorf("plain group below a document = %v, want served", err)
	}
	if _, err := Parse(root, group(where("a", "==", 1), "b")); err != nil {
		t.Errorf("group at the root = %v, want served", err)
	}
	// The ancestor is a component.
	_, err = Parse(parent, from(and(fields(100, func(n string) *filter { return where(n, "==", 1) })...)))
	wantInvalid(t, "100 filters and an ancestor", err, "Currently there are 101.")
}

// TestOrderNormalisation holds section 7.6.
func TestOrderNormalisation(t *testing.T) {
	t.Parallel()
	tests := []struct {
		q    *firestorepb.StructuredQuery
		want string
	}{
		{from(nil), "__name__"},
		{from(nil, "a"), "a __name__"},
		{from(nil, "-a"), "-a -__name__"},
		{from(nil, "a", "-b"), "a -b -__name__"},
		{from(nil, "-a", "__name__"), "-a __name__"},
		{from(where("a", ">", 1)), "a __name__"},
		{from(and(where("b", ">", 1), where("a", "<", 2), where("a", ">", 0))), "a b __name__"},
		{from(and(where("__name__", ">", path("c/x")), where("a", ">", 1))), "a __name__"},
		{from(and(where("b", ">", 1), where("a", ">", 1)), "-b"), "-b -a -__name__"},
		{from(and(where("b", ">", 1), where("a", ">", 1)), "z", "-y"), "z -y -a -b -__name__"},
		{from(or(where("a", ">", 2), where("b", "==", 1))), "a __name__"},
		{from(and(where("a", "==", 1), where("a", ">", 0))), "a __name__"},
		{from(unary("a", isNotNull)), "a __name__"},
		{from(where("`b.c`.d", "not-in", []any{1})), "`b.c`.d __name__"},
		{from(where("a", "in", []any{1, 2}), "-d", "a"), "-d a __name__"},
		{from(and(where("__name__", "==", path("c/x")), where("__name__", ">", path("c/a")))), "__name__"},
	}
	for _, tt := range tests {
		if got := orderText(mustParse(t, tt.q)); got != tt.want {
			t.Errorf("order of %v = %q, want %q", tt.q, got, tt.want)
		}
	}
}

func TestDisjuncts(t *testing.T) {
	t.Parallel()
	q := mustParse(t, from(and(
		where("a", "in", []any{1, 2}),
		or(where("b", "==", 1), and(where("tags", "any", []any{"x", "y"}), where("c", ">", 3))),
		where("__name__", ">", path("c/k")),
	)))
	if len(q.Disjuncts) != 6 {
		t.Fatalf("%d disjuncts, want 6", len(q.Disjuncts))
	}
	for i, c := range q.Disjuncts {
		if len(c.Names) != 1 || c.Never {
			t.Errorf("disjunct %d has names %v, never %v", i, c.Names, c.Never)
		}
		if (c.Contains != nil) != (len(c.Inequalities) == 1) || (c.Contains == nil) != (len(c.Equal) == 2) {
			t.Errorf("disjunct %d mixes the branches: %+v", i, c)
		}
	}
	never := map[string]*filter{
		"contradiction":         and(where("a", "==", 1), where("a", "==", 2)),
		"null and value":        and(unary("a", isNull), where("a", "==", 1)),
		"constant out of range": and(where("a", "==", 1), where("a", ">", 1)),
		"equal null":            where("a", "==", nil),
		"in null":               where("a", "in", []any{nil}),
		"contains NaN":          where("a", "contains", nan),
		"not-in null":           where("a", "not-in", []any{1, nil}),
		"less NaN":              where("a", "<", nan),
		"not null":              where("a", "!=", nil),
	}
	for name, f := range never {
		if q := mustParse(t, from(f)); !q.Disjuncts[0].Never {
			t.Errorf("%s: Never = false, want true", name)
		}
	}
	q = mustParse(t, from(and(where("a", "==", 1), where("a", "==", 1.0), where("a", ">", 0), unary("b", isNaN))))
	if c := q.Disjuncts[0]; c.Never || len(c.Equal) != 2 || len(c.Inequalities) != 0 {
		t.Errorf("agreeing conditions on one field = %+v", c)
	}
	if v, ok := q.Disjuncts[0].Point(fsvalue.FieldPath{"b"}); !ok || !fsvalue.IsNaN(v) {
		t.Errorf("Point(b) = %v, %v, want NaN", v, ok)
	}
	if q := mustParse(t, from(and())); len(q.Disjuncts) != 1 || q.Disjuncts[0].Never {
		t.Errorf("empty AND = %+v, want no filter", q.Disjuncts)
	}
	if q := mustParse(t, from(where("a", "in", many(30)))); len(q.Disjuncts) != 30 {
		t.Errorf("in of 30 = %d disjuncts", len(q.Disjuncts))
	}
}

func TestSelect(t *testing.T) {
	t.Parallel()
	tests := []struct {
		in   []string
		want string
		keys bool
	}{
		{nil, "", false},
		{[]string{"__name__"}, "", true},
		{[]string{"b", "__name__", "a.c", "a", "a.d", "b"}, "a, b", false},
	}
	for _, tt := range tests {
		sq := from(nil)
		sq.Select = &firestorepb.StructuredQuery_Projection{}
		for _, f := range tt.in {
			sq.Select.Fields = append(sq.Select.Fields, ref(f))
		}
		q := mustParse(t, sq)
		if got := joinFields(q.Projection); got != tt.want || q.KeysOnly != tt.keys {
			t.Errorf("select %q = %q, keys %v, want %q, %v", tt.in, got, q.KeysOnly, tt.want, tt.keys)
		}
	}
}

func TestFindNearest(t *testing.T) {
	t.Parallel()
	type nearest = firestorepb.StructuredQuery_FindNearest
	good := func(change func(n *nearest)) *firestorepb.StructuredQuery {
		q := from(nil)
		q.FindNearest = &nearest{VectorField: ref("v"), QueryVector: vec(1, 2), Limit: wrapperspb.Int32(10),
			DistanceMeasure: firestorepb.StructuredQuery_FindNearest_COSINE}
		change(q.FindNearest)
		return q
	}
	mustParse(t, good(func(n *nearest) { n.DistanceResultField = "d"; n.DistanceThreshold = wrapperspb.Double(1) }))
	tests := map[string]func(n *nearest){
		"Invalid property path":                      func(n *nearest) { n.VectorField = nil },
		`Invalid property path "a."`:                 func(n *nearest) { n.DistanceResultField = "a." },
		"must be a vector":                           func(n *nearest) { n.QueryVector = val(1) },
		"Cannot have a zero length vector.":          func(n *nearest) { n.QueryVector = vec() },
		"dimensions":                                 func(n *nearest) { n.QueryVector = vec(make([]float64, 2049)...) },
		"must be a positive integer of no more than": func(n *nearest) { n.Limit = wrapperspb.Int32(1001) },
		"no more than 1000":                          func(n *nearest) { n.Limit = nil },
		"Unknown Distance Measure.":                  func(n *nearest) { n.DistanceMeasure = 0 },
		"distanceThreshold must be a finite number.": func(n *nearest) { n.DistanceThreshold = wrapperspb.Double(math.Inf(1)) },
	}
	for want, change := range tests {
		_, err := Parse(root, good(change))
		wantInvalid(t, want, err, want)
	}
}
