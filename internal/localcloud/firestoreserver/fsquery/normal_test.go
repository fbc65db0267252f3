package fsquery

import (
	"fmt"
	"math"
	"testing"

	"cloud.google.com/go/firestore/apiv1/firestorepb"

	"exportd/internal/localcloud/firestoreserver/fsvalue"
)

// TestDisjunctions: what Google's emulator (of google-cloud-cli 2026) counts, and what it refuses for how
// many there are.
func TestDisjunctions(t *testing.T) {
	t.Parallel()
	in := func(field string, n int) *filter { return where(field, "in", many(n)) }
	is := func(field string, v any) *filter { return where(field, "==", v) }
	isOne := func(field string) *filter { return is(field, 1) }
	mapOf := func(k string, v any) *fsvalue.Value {
		return &fsvalue.Value{ValueType: &firestorepb.Value_MapValue{MapValue: &firestorepb.MapValue{Fields: map[string]*fsvalue.Value{k: val(v)}}}}
	}
	anyIs := func(field string, from, to int) *filter {
		var each []*filter
		for i := from; i < to; i++ {
			each = append(each, is(field, i))
		}
		return or(each...)
	}
	ab, ba := or(is("a", 1), is("b", 1)), or(is("b", 1), is("a", 1))
	fit := map[string]struct {
		f    *filter
		want int
	}{
		"types differ":              {where("a", "in", []any{math.Copysign(0, -1), 1, 1.0, 0}), 4},
		"a value twice":             {where("a", "in", []any{1, 2, 1}), 2},
		"a condition twice":         {and(where("a", "contains", 1), where("a", "contains", 1)), 1},
		"zeros":                     {where("a", "in", []any{0.0, math.Copysign(0, -1)}), 1},
		"zeros in arrays":           {where("a", "in", []any{[]any{0.0}, []any{math.Copysign(0, -1)}}), 1},
		"NaN":                       {where("a", "in", []any{math.NaN(), math.NaN(), 1}), 2},
		"NaN and null":              {where("a", "in", []any{math.NaN(), nil, 1}), 2},
		"types in arrays":           {where("a", "in", []any{[]any{1, 2.0}, []any{1.0, 2}}), 2},
		"types in maps":             {where("a", "in", []any{mapOf("k", 1), mapOf("k", 1.0)}), 2},
		"any of two types":          {where("a", "any", []any{1, 1.0, 2}), 3},
		"null and is null":          {or(unary("a", isNull), is("a", nil), is("b", 1)), 3},
		"a value of a list":         {or(is("a", 1), where("a", "in", []any{1, 2, 3})), 3},
		"ors in an or":              {or(ab, is("b", 1)), 2},
		"ands of one meaning":       {or(and(is("a", 1), is("b", 1)), and(is("b", 1), is("a", 1), is("a", 1))), 1},
		"not absorbed":              {or(and(is("a", 1), is("b", 1)), is("a", 1)), 2},
		"parts of one meaning":      {and(ab, ba), 2},
		"a list twice":              {and(in("x", 30), in("x", 30)), 30},
		"a list in two forms":       {and(in("x", 30), anyIs("x", 0, 30)), 30},
		"terms of one meaning":      {and(in("x", 6), in("x", 7)), 27},
		"an and in an and":          {and(in("x", 2), and(in("a", 4), in("a", 5))), 28},
		"31 in an or and in an and": {and(append(fields(31, isOne), or(fields(31, isOne)...))...), 1},
		"31 remain":                 {and(anyIs("x", 0, 31), is("y", 1), is("x", 0), or(is("x", 0))), -31},
	}
	for name, tt := range fit {
		q, err := Parse(root, from(tt.f))
		if tt.want < 0 {
			wantInvalid(t, name, err, fmt.Sprintf("Result had %d disjunctions which is more than the maximum of 30", -tt.want))
			continue
		}
		if err != nil || len(q.Disjuncts) != tt.want {
			t.Errorf("%s: %v, want %d disjuncts of %+v", name, err, tt.want, q)
		}
	}
	for name, f := range map[string]*filter{
		"8 x 8":           and(in("x", 8), in("y", 8)),
		"8 x 8 of one":    and(in("x", 8), anyIs("x", 1, 9)),
		"ands, 4 x 4 x 5": and(in("x", 4), and(in("a", 4), in("a", 5))),
	} {
		_, err := Parse(root, from(f))
		wantInvalid(t, name, err, "Too many disjunctions after normalization, the maximum is 30")
	}
}

// TestLargeFilters: what a message may hold is refused in a time that grows with its size.
func TestLargeFilters(t *testing.T) {
	t.Parallel()
	const n = 5_000
	isOne := func(field string) *filter { return where(field, "==", 1) }
	_, err := Parse(root, from(and(fields(n, isOne)...)))
	wantInvalid(t, "and", err, "The query may not have more than 100")
	many := make([]string, n)
	for i := range many {
		many[i] = fmt.Sprintf("f%d", i)
	}
	_, err = Parse(root, from(nil, many...))
	wantInvalid(t, "orders", err, "The query may not have more than 100")
	_, err = Parse(root, from(or(fields(n, isOne)...)))
	wantInvalid(t, "or", err, "Too many disjunctions after normalization. Result had 5000")
	deep := isOne("x")
	for i := range 500 {
		deep = or(and(deep, where("a", "==", i)), where("b", "==", i))
	}
	_, err = Parse(root, from(deep))
	wantInvalid(t, "both in each other", err, "Too many disjunctions after normalization, the maximum is 30")
	single := isOne("x")
	for i := range 500 {
		single = or(and(single, where("a", "==", i)))
	}
	_, err = Parse(root, from(single))
	wantInvalid(t, "one in each other", err, "The query may not have more than 100")
}
