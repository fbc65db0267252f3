package fsvalue

import (
	"bytes"
	"cmp"
	"math"
	"slices"
	"strings"

	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/genproto/googleapis/type/latlng"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// keyBuffer is how many map keys are sorted on the stack.
const keyBuffer = 16

// Compare is the total order of all values: 1 and 1.0 are equal, NaN equals NaN and lies below every number.
// It does not allocate for maps of up to 16 keys.
func Compare(a, b *Value) int {
	class := ClassOf(a)
	if c := cmp.Compare(class, ClassOf(b)); c != 0 {
		return c
	}
	switch class {
	case ClassBool:
		return compareBool(a.GetBooleanValue(), b.GetBooleanValue())
	case ClassNumber:
		return compareNumbers(a, b)
	case ClassTimestamp:
		return compareTimestamps(a.GetTimestampValue(), b.GetTimestampValue())
	case ClassString:
		return strings.Compare(a.GetStringValue(), b.GetStringValue())
	case ClassBytes:
		return bytes.Compare(a.GetBytesValue(), b.GetBytesValue())
	case ClassReference:
		// The names share their layout, so segment-wise order of the whole string is project, database, then
		// path.
		return compareRel(a.GetReferenceValue(), b.GetReferenceValue())
	case ClassGeo:
		return compareGeo(a.GetGeoPointValue(), b.GetGeoPointValue())
	case ClassArray:
		return compareArrays(a.GetArrayValue().GetValues(), b.GetArrayValue().GetValues())
	case ClassVector:
		x, _ := Vector(a)
		y, _ := Vector(b)
		if c := cmp.Compare(len(x), len(y)); c != 0 {
			return c
		}
		return compareArrays(x, y)
	case ClassMap:
		return compareMaps(a.GetMapValue().GetFields(), b.GetMapValue().GetFields())
	}
	return 0 // null, NaN
}

// Equal reports order-equality, Compare(a, b) == 0. Filters must test for null and NaN operands before, since
// those match nothing there.
func Equal(a, b *Value) bool { return Compare(a, b) == 0 }

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// compareNumbers compares by exact value. Going through float64 alone would make 1<<53 and 1<<53 + 1 equal.
func compareNumbers(a, b *Value) int {
	x, xInt := a.GetValueType().(*firestorepb.Value_IntegerValue)
	y, yInt := b.GetValueType().(*firestorepb.Value_IntegerValue)
	switch {
	case xInt && yInt:
		return cmp.Compare(x.IntegerValue, y.IntegerValue)
	case xInt:
		return compareIntDouble(x.IntegerValue, b.GetDoubleValue())
	case yInt:
		return -compareIntDouble(y.IntegerValue, a.GetDoubleValue())
	}
	return cmp.Compare(a.GetDoubleValue(), b.GetDoubleValue())
}

// compareIntDouble relies on rounding being monotonic: different after rounding means different before, in
// the same sense.
func compareIntDouble(i int64, d float64) int {
	f := float64(i)
	if f != d {
		return cmp.Compare(f, d)
	}
	return cmp.Compare(residual(i, f), 0)
}

// residual returns i - f exactly, f being float64(i).
func residual(i int64, f float64) int64 {
	if f == 1<<63 { // does not fit an int64
		return i - math.MaxInt64 - 1
	}
	return i - int64(f)
}

func compareTimestamps(a, b *timestamppb.Timestamp) int {
	if c := cmp.Compare(a.GetSeconds(), b.GetSeconds()); c != 0 {
		return c
	}
	return cmp.Compare(a.GetNanos(), b.GetNanos())
}

func compareGeo(a, b *latlng.LatLng) int {
	if c := cmp.Compare(a.GetLatitude(), b.GetLatitude()); c != 0 {
		return c
	}
	return cmp.Compare(a.GetLongitude(), b.GetLongitude())
}

func compareArrays(a, b []*Value) int {
	for i := range min(len(a), len(b)) {
		if c := Compare(a[i], b[i]); c != 0 {
			return c
		}
	}
	return cmp.Compare(len(a), len(b))
}

func compareMaps(a, b map[string]*Value) int {
	var bufA, bufB [keyBuffer]string
	keysA, keysB := sortedKeys(bufA[:0], a), sortedKeys(bufB[:0], b)
	for i := range min(len(keysA), len(keysB)) {
		if c := strings.Compare(keysA[i], keysB[i]); c != 0 {
			return c
		}
		if c := Compare(a[keysA[i]], b[keysB[i]]); c != 0 {
			return c
		}
	}
	return cmp.Compare(len(keysA), len(keysB))
}

// sortedKeys appends the keys of m to buf in byte order.
func sortedKeys(buf []string, m map[string]*Value) []string {
	for k := range m {
		buf = append(buf, k)
	}
	slices.Sort(buf)
	return buf
}
