package fsquery

import (
	"math/rand/v2"
	"slices"
	"testing"

	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/protobuf/proto"
)

var someFields = []string{"a", "b", "m.k"}

func randomOperand(r *rand.Rand) any {
	return []any{nil, nan, 0, 1, 1.0, 2, "x", []any{1}, doc{"k": 1}}[r.IntN(9)]
}

func randomFilter(r *rand.Rand, depth int) *filter {
	field := someFields[r.IntN(len(someFields))]
	switch n := r.IntN(12); {
	case n < 4 && depth < 3:
		var subs []*filter
		for range 1 + r.IntN(2) {
			subs = append(subs, randomFilter(r, depth+1))
		}
		return composite([]firestorepb.StructuredQuery_CompositeFilter_Operator{opAnd, opOr}[r.IntN(2)], subs...)
	case n < 5:
		return unary(field, []firestorepb.StructuredQuery_UnaryFilter_Operator{isNaN, isNull, isNotNaN, isNotNull}[r.IntN(4)])
	case n < 6:
		return where("__name__", []string{"<", ">=", "!="}[r.IntN(3)], path("c/"+string(rune('0'+r.IntN(10)))))
	case n < 8:
		return where(field, []string{"in", "any", "not-in"}[r.IntN(3)], []any{randomOperand(r), 1})
	}
	return where(field, []string{"<", "<=", ">", ">=", "==", "==", "==", "!=", "contains"}[r.IntN(9)], randomOperand(r))
}

func randomRows(r *rand.Rand) []Row {
	var rows []Row
	for i := range 10 {
		d := doc{}
		for _, f := range []string{"a", "b"} {
			switch r.IntN(4) {
			case 0:
				d[f] = []any{randomOperand(r), r.IntN(3)}
			case 1, 2:
				d[f] = randomOperand(r)
			}
		}
		if r.IntN(2) == 0 {
			d["m"] = doc{"k": r.IntN(3)}
		}
		rows = append(rows, Row{Name: path("c/" + string(rune('0'+i))), Fields: d.fields()})
	}
	return rows
}

// holds evaluates a filter as it was written, without any normal form.
func holds(t *testing.T, f *filter, r Row) bool {
	t.Helper()
	sub := f.GetCompositeFilter().GetFilters()
	switch f.GetCompositeFilter().GetOp() {
	case opAnd:
		return !slices.ContainsFunc(sub, func(f *filter) bool { return !holds(t, f, r) })
	case opOr:
		return slices.ContainsFunc(sub, func(f *filter) bool { return holds(t, f, r) })
	}
	// A lone condition needs no normal form, and the tables judge it.
	return slices.ContainsFunc(mustParse(t, from(f)).Disjuncts, func(c Conjunction) bool { return c.Match(r) })
}

// TestNormalFormKeepsMeaning compares random filters in normal form with a direct evaluation, apart from the
// rule that order fields must exist.
func TestNormalFormKeepsMeaning(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(5, 6))
	parsed := 0
	for range 4_000 {
		f := randomFilter(r, 0)
		q, err := Parse(root, from(f))
		if err != nil {
			continue // refused for a limit, of which the generator knows nothing
		}
		parsed++
		for _, row := range randomRows(r) {
			want := holds(t, f, row)
			for _, o := range q.Order[:len(q.Order)-1] {
				if _, ok := o.Field.Get(row.Fields); !ok {
					want = false
				}
			}
			if got := q.Match(row); got != want {
				t.Fatalf("Match(%v) = %v, want %v for %v", row.Fields, got, want, f)
			}
		}
	}
	if parsed < 1_000 {
		t.Errorf("only %d filters were valid", parsed)
	}
}

// FuzzParse feeds wire bytes; what is accepted must evaluate.
func FuzzParse(f *testing.F) {
	r := rand.New(rand.NewPCG(7, 8))
	for range 50 {
		q := from(randomFilter(r, 0), "a")
		q.StartAt = cursor(true, 1)
		b, err := proto.Marshal(q)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	rows := randomRows(r)
	f.Fuzz(func(t *testing.T, b []byte) {
		var sq firestorepb.StructuredQuery
		if proto.Unmarshal(b, &sq) != nil {
			return
		}
		q, err := Parse(root, &sq)
		if err != nil {
			return
		}
		if n := len(q.Disjuncts); n > maxDisjuncts {
			t.Errorf("%d disjuncts", n)
		}
		if last := q.Order[len(q.Order)-1]; !last.Field.IsName() {
			t.Errorf("the order ends with %v", last)
		}
		out := q.Run(rows)
		if !slices.IsSortedFunc(out, q.Compare) {
			t.Error("rows are not sorted")
		}
		checkCursorFor(t, "fuzz", q, rows)
		if a, err := ParseAggregation(root, aggregate(&sq, sum("", "a"), count("n", 0))); err == nil {
			g := NewAggregator(a)
			for _, r := range out {
				g.AddRow(r)
			}
			if n := g.Result()["n"].GetIntegerValue(); n > int64(len(out)) {
				t.Errorf("%d rows counted of %d", n, len(out))
			}
		}
	})
}
