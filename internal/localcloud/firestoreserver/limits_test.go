package firestoreserver_test

import (
	"fmt"
	"strings"
	"testing"

	"cloud.google.com/go/firestore"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"exportd/internal/localcloud/firestoreserver"
)

// TestLimits: what a document and a query may be, at the limit and one beyond, through the official client.
// https://cloud.google.com/firestore/quotas; the values of sizes, depth and names were asked of Google's
// emulator.
func TestLimits(t *testing.T) {
	t.Parallel()
	f := start(t, firestoreserver.Options{IndexesJSON: []byte(`{"indexes":[{"collectionGroup":"wide","queryScope":"COLLECTION","fields":[
		{"fieldPath":"a","order":"ASCENDING"},{"fieldPath":"b","order":"ASCENDING"},{"fieldPath":"c","order":"ASCENDING"},
		{"fieldPath":"d","order":"ASCENDING"},{"fieldPath":"e","order":"ASCENDING"},{"fieldPath":"f","order":"ASCENDING"}]}],
		"fieldOverrides":[{"collectionGroup":"heavy","fieldPath":"*","indexes":[]}]}`)})
	ctx := t.Context()
	set := func(collection string, data map[string]any) error {
		_, err := f.client.Collection(collection).Doc("d").Set(ctx, data)
		return err
	}
	nested := func(depth int) any {
		v := any(1)
		for range depth {
			v = map[string]any{"a": v}
		}
		return v
	}
	numbers := func(n int) []int {
		out := make([]int, n)
		for i := range out {
			out[i] = i
		}
		return out
	}
	wide := func(bytes int) map[string]any {
		out := map[string]any{}
		for _, k := range []string{"a", "b", "c", "d", "e", "f"} {
			out[k] = strings.Repeat("x", bytes)
		}
		return out
	}
	in := func(n int) error {
		_, err := f.client.Collection("c").Where("a", "in", numbers(n)).Documents(ctx).GetAll()
		return err
	}
	writes := func(n, bytes int) error {
		//lint:ignore SA1019 one commit of so many writes is what is tried, and the bulk writer sends others
		batch := f.client.Batch()
		for i := range n {
			batch.Set(f.client.Collection("heavy").Doc(fmt.Sprint(i)), map[string]any{"a": strings.Repeat("x", bytes)})
		}
		_, err := batch.Commit(ctx)
		return err
	}
	long := func(elements int) error { // each entry holds the name
		_, err := f.client.Collection("c").Doc(strings.Repeat("n", 1400)).Set(ctx, map[string]any{"a": numbers(elements)})
		return err
	}
	const value = 1<<20 - 89
	for name, c := range map[string]struct {
		err  error
		want codes.Code
	}{
		"value":                 {set("heavy", map[string]any{"a": strings.Repeat("x", value-1)}), codes.OK},
		"value too long":        {set("heavy", map[string]any{"a": strings.Repeat("x", value)}), codes.InvalidArgument},
		"two values over 1 MiB": {set("heavy", map[string]any{"a": strings.Repeat("x", 600_000), "b": strings.Repeat("x", 600_000)}), codes.InvalidArgument},
		"field name":            {set("c", map[string]any{strings.Repeat("n", 1500): 1}), codes.OK},
		"field name too long":   {set("c", map[string]any{strings.Repeat("n", 1501): 1}), codes.InvalidArgument},
		"field name ____":       {set("c", map[string]any{"____": 1}), codes.OK},
		"reserved field name":   {set("c", map[string]any{"_____": 1}), codes.InvalidArgument},
		"nested 20":             {set("c", map[string]any{"a": nested(20)}), codes.OK},
		"nested 21":             {set("c", map[string]any{"a": nested(21)}), codes.InvalidArgument},
		"array in array":        {set("c", map[string]any{"a": []any{[]any{1}}}), codes.InvalidArgument},
		"39,998 elements":       {set("c", map[string]any{"a": numbers(39_998)}), codes.OK},
		"40,001 elements":       {set("c", map[string]any{"a": numbers(40_001)}), codes.InvalidArgument},
		"entries of 8 MiB":      {long(7_000), codes.InvalidArgument},
		"entries under 8 MiB":   {long(5_000), codes.OK},
		"entry of 7.5 KiB":      {set("wide", wide(1_200)), codes.OK},
		"entry over 7.5 KiB":    {set("wide", wide(1_500)), codes.InvalidArgument},
		"in with 30":            {in(30), codes.OK},
		"in with 31":            {in(31), codes.InvalidArgument},
		"501 writes":            {writes(501, 10), codes.OK}, // the old limit of 500 is gone since March 2023
		"request over 10 MiB":   {writes(11, 1_000_000), codes.InvalidArgument},
		"501 transforms":        {transforms(t, f, 501), codes.InvalidArgument},
		"500 transforms":        {transforms(t, f, 500), codes.OK},
	} {
		if got := status.Code(c.err); got != c.want {
			t.Errorf("%s: %.300v, want %s", name, c.err, c.want)
		}
	}
}

func transforms(t *testing.T, f *fixture, n int) error {
	t.Helper()
	updates := make([]firestore.Update, n)
	for i := range updates {
		updates[i] = firestore.Update{Path: fmt.Sprintf("f%d", i), Value: firestore.Increment(1)}
	}
	doc := f.client.Collection("c").Doc(fmt.Sprintf("transforms-%d", n))
	if _, err := doc.Set(t.Context(), map[string]any{}); err != nil {
		return err
	}
	_, err := doc.Update(t.Context(), updates)
	return err
}
