package localcloudtest

import (
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"cloud.google.com/go/firestore"
)

// Wrongs are values that a field of a document does not have, by what they are: of every type, and at the
// ends of each.
func Wrongs() map[string]any {
	year := func(y int) time.Time { return time.Date(y, 6, 1, 0, 0, 0, 0, time.UTC) }
	return map[string]any{
		"missing": firestore.Delete, "null": nil, "text": "x", "an empty text": "", "a path": "../../other", "1 MB of text": strings.Repeat("x", 1<<20-20_000),
		"7": 7, "0": 0, "-1": -1, "-7": -7, "2e9": 2_000_000_000, "MaxInt64": math.MaxInt64, "MinInt64": math.MinInt64,
		"1e308": 1e308, "1.5": 1.5, "NaN": math.NaN(), "true": true, "false": false, "bytes": []byte{0, 255}, "a list": []any{1, "x"}, "a map": map[string]any{"x": 1},
		"year 1": year(1), "year 2200": year(2200), "year 9999": year(9999), "a running state": "running", "a phase": "parts",
	}
}

// FieldPaths lists the fields of a document, those in maps included, as updates name them.
func FieldPaths(data map[string]any) []string { return fieldPaths(data, "") }

func fieldPaths(data map[string]any, prefix string) (out []string) {
	for name, v := range data {
		out = append(out, prefix+name)
		if inner, ok := v.(map[string]any); ok {
			out = append(out, fieldPaths(inner, prefix+name+".")...)
		}
	}
	slices.Sort(out)
	return out
}

// Wound is one damage of a document.
type Wound struct {
	Field, What string // What is a key of Wrongs
	Value       any
}

// Update does it.
func (w Wound) Update() []firestore.Update {
	return []firestore.Update{{Path: w.Field, Value: w.Value}}
}

// Wounds are all that a document can have by Wrongs, or so many of them, always the same: 0 for all.
func Wounds(data map[string]any, sample int) (out []Wound) {
	wrongs := Wrongs()
	for _, field := range FieldPaths(data) {
		for _, what := range slices.Sorted(maps.Keys(wrongs)) {
			out = append(out, Wound{field, what, wrongs[what]})
		}
	}
	if sample > 0 && sample < len(out) {
		rand.New(rand.NewPCG(1, 2)).Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
		out = out[:sample]
	}
	return out
}
