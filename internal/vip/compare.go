package vip

import (
	"bytes"
	"cmp"
	"math"
	"math/big"

	"exportd/internal/vip/wire"
)

// CompareKeys orders two sort keys as Firestore does, ascending. ok is false where this package does not know
// their order: two geo points, arrays or maps, or bytes that are no value.
func CompareKeys(a, b []byte) (order int, ok bool) {
	if bytes.Equal(a, b) {
		return 0, true
	}
	v, err := wire.Parse(a)
	if err != nil {
		return 0, false
	}
	w, err := wire.Parse(b)
	if err != nil {
		return 0, false
	}
	if c := cmp.Compare(rank(v), rank(w)); c != 0 {
		return c, true
	}
	switch v.Kind {
	case wire.Null:
		return 0, true
	case wire.Bool:
		return cmp.Compare(v.Num, w.Num), true
	case wire.Int, wire.Double:
		return compareNumbers(v, w), true
	case wire.Time:
		// Firestore keeps microseconds.
		if c := cmp.Compare(int64(v.Num), int64(w.Num)); c != 0 {
			return c, true
		}
		return cmp.Compare(v.Nanos/1000, w.Nanos/1000), true
	case wire.String, wire.Bytes:
		return bytes.Compare(v.Data, w.Data), true
	case wire.Reference: // segment by segment; 1 is below every byte that is used in names
		return bytes.Compare(bytes.ReplaceAll(v.Data, []byte("/"), []byte{1}), bytes.ReplaceAll(w.Data, []byte("/"), []byte{1})), true
	}
	return 0, false
}

// rank is the place of a value's type in Firestore's order of types. Integers and doubles are one type; NaN
// is below all of them.
func rank(v wire.Value) int {
	switch v.Kind {
	case wire.Null:
		return 1
	case wire.Bool:
		return 2
	case wire.Int:
		return 4
	case wire.Double:
		if math.IsNaN(math.Float64frombits(v.Num)) {
			return 3
		}
		return 4
	case wire.Time:
		return 5
	case wire.String:
		return 6
	case wire.Bytes:
		return 7
	case wire.Reference:
		return 8
	case wire.Geo:
		return 9
	case wire.Array:
		return 10
	case wire.Map: // a vector is a map on the wire, below other maps: not told apart
		return 11
	}
	return 0
}

// compareNumbers orders integers and doubles by their exact values.
func compareNumbers(v, w wire.Value) int {
	switch {
	case v.Kind == wire.Int && w.Kind == wire.Int:
		return cmp.Compare(int64(v.Num), int64(w.Num))
	case v.Kind == wire.Int:
		return -compareDoubleInt(math.Float64frombits(w.Num), int64(v.Num))
	case w.Kind == wire.Int:
		return compareDoubleInt(math.Float64frombits(v.Num), int64(w.Num))
	}
	a, b := math.Float64frombits(v.Num), math.Float64frombits(w.Num)
	if a == b || a != a && b != b { // 0 equals -0, NaN equals NaN
		return 0
	}
	return cmp.Compare(a, b)
}

func compareDoubleInt(f float64, i int64) int {
	switch {
	case math.IsInf(f, 1):
		return 1
	case math.IsInf(f, -1):
		return -1
	case i > -1<<53 && i < 1<<53: // exact as a double
		return cmp.Compare(f+0, float64(i)+0)
	}
	return big.NewFloat(f).Cmp(new(big.Float).SetInt64(i))
}

var numericPrefix = []byte("__id")

// Follows reports whether the row (key, id) comes after the row (lastKey, lastID) in the order of the query:
// by key, then by ids ascending. Where the order is not known to this package it says yes.
func (q *Query) Follows(lastKey, lastID, key, id []byte) bool {
	order, ok := CompareKeys(lastKey, key)
	if q.Ascending {
		order = -order
	}
	switch {
	case !ok || order > 0:
		return true
	case order < 0:
		return false
	case bytes.HasPrefix(lastID, numericPrefix) || bytes.HasPrefix(id, numericPrefix): // rare: it costs a copy of both
		return CompareIDs(string(lastID), string(id)) < 0
	}
	return bytes.Compare(lastID, id) < 0
}
