package fsvalue

import (
	"bytes"
	"math"
	"math/big"
	"math/rand/v2"
	"strings"
	"testing"

	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/genproto/googleapis/type/latlng"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

func null() *Value { return &Value{ValueType: &firestorepb.Value_NullValue{}} }
func boolean(b bool) *Value {
	return &Value{ValueType: &firestorepb.Value_BooleanValue{BooleanValue: b}}
}
func integer(i int64) *Value {
	return &Value{ValueType: &firestorepb.Value_IntegerValue{IntegerValue: i}}
}
func double(f float64) *Value {
	return &Value{ValueType: &firestorepb.Value_DoubleValue{DoubleValue: f}}
}
func str(s string) *Value {
	return &Value{ValueType: &firestorepb.Value_StringValue{StringValue: s}}
}
func blob(s string) *Value {
	return &Value{ValueType: &firestorepb.Value_BytesValue{BytesValue: []byte(s)}}
}
func ref(s string) *Value {
	return &Value{ValueType: &firestorepb.Value_ReferenceValue{ReferenceValue: s}}
}
func stamp(seconds int64, nanos int32) *Value {
	return &Value{ValueType: &firestorepb.Value_TimestampValue{
		TimestampValue: &timestamppb.Timestamp{Seconds: seconds, Nanos: nanos}}}
}
func geo(lat, lng float64) *Value {
	return &Value{ValueType: &firestorepb.Value_GeoPointValue{
		GeoPointValue: &latlng.LatLng{Latitude: lat, Longitude: lng}}}
}
func array(vs ...*Value) *Value {
	return &Value{ValueType: &firestorepb.Value_ArrayValue{ArrayValue: &firestorepb.ArrayValue{Values: vs}}}
}
func object(kv ...any) *Value {
	m := make(map[string]*Value)
	for i := 0; i < len(kv); i += 2 {
		m[kv[i].(string)] = kv[i+1].(*Value)
	}
	return &Value{ValueType: &firestorepb.Value_MapValue{MapValue: &firestorepb.MapValue{Fields: m}}}
}
func vector(fs ...float64) *Value {
	vs := make([]*Value, len(fs))
	for i, f := range fs {
		vs[i] = double(f)
	}
	return object(vectorTypeKey, str(vectorTypeValue), vectorValueKey, array(vs...))
}

const docs = "projects/p/databases/(default)/documents/"

// ascending lists values in strictly ascending order; entries of one row are equal.
var ascending = [][]*Value{
	{null(), {}, nil},
	{boolean(false)},
	{boolean(true)},
	{double(math.NaN()), double(math.Float64frombits(0xFFF8000000000001))},
	{double(math.Inf(-1))},
	{double(-math.MaxFloat64)},
	{integer(math.MinInt64), double(-1 << 63)},
	{integer(math.MinInt64 + 1)},
	{integer(-1<<53 - 1)},
	{integer(-1 << 53), double(-1 << 53)},
	{double(-1.5)},
	{integer(-1), double(-1)},
	{double(-math.SmallestNonzeroFloat64)},
	{integer(0), double(0), double(math.Copysign(0, -1))},
	{double(math.SmallestNonzeroFloat64)},
	{integer(1), double(1)},
	{double(1.5)},
	{integer(1 << 53), double(1 << 53)},
	{integer(1<<53 + 1)},
	{integer(1<<53 + 2), double(1<<53 + 2)},
	{integer(math.MaxInt64)},
	{double(1 << 63)},
	{double(math.MaxFloat64)},
	{double(math.Inf(1))},
	{stamp(-62135596800, 0)},
	{stamp(-1, 999_999_000)},
	{stamp(0, 0)},
	{stamp(0, 1000)},
	{stamp(1, 0)},
	{str("")},
	{str("\x00")},
	{str("\x00\x01")},
	{str("\x00\xc3\xbf")},
	{str("\x01")},
	{str("a")},
	{str("a\x00")},
	{str("a\x00b")},
	{str("a\x01")},
	{str("ab")},
	{str("é")},
	{str("\uFFFD")},
	{str("\U0001F600")}, // above U+FFFD in UTF-8, below it in UTF-16
	{blob("")},
	{blob("\x00")},
	{blob("\x00\x00")},
	{blob("\x00\x01")},
	{blob("\x00\x02")},
	{blob("\x00\xff")},
	{blob("\x01")},
	{blob("\xff")},
	{blob("\xff\xff")},
	{ref("projects/a/databases/zzzz/documents/c/z")},
	{ref("projects/p/databases/(default)/documents/c/a")},
	{ref("projects/p/databases/(default)/documents/c/a/s/x")},
	{ref("projects/p/databases/(default)/documents/c/a!")},
	{ref("projects/p/databases/(default)/documents/c/a-/s/x")},
	{ref("projects/p/databases/(default)/documents/c!/a")},
	{ref("projects/p/databases/abcd/documents/a/a")},
	{ref("projects/p!/databases/abcd/documents/a/a")},
	{geo(-90, 180)},
	{geo(0, -1)},
	{geo(0, 0), geo(math.Copysign(0, -1), 0)},
	{geo(0, 1)},
	{geo(1, -180)},
	{array()},
	{array(null())},
	{array(null(), null())},
	{array(integer(1)), array(double(1))},
	{array(integer(1), null())},
	{array(integer(2))},
	{array(str("")), array(str(""))},
	{array(str("a"), integer(9))},
	{array(str("a\x00"))},
	{array(object())},
	{vector(9)},
	{vector(-1, 5)},
	{vector(1, 2)},
	{vector(1, 3)},
	{vector(0, 0, 0)},
	{object()},
	{object("\x01", integer(1))},
	{object("\x02", integer(1))},
	{object("a", integer(1)), object("a", double(1))},
	{object("a", integer(1), "\u00e9", null())},
	{object("a", integer(2))},
	{object("a", array(integer(1)))},
	{object("a", object("b", null()), "c", null())},
	{object("a\x00", null())},
	{object("aa", null())},
	{object("b", integer(1))},
}

func TestCompareAndEncodingOrder(t *testing.T) {
	t.Parallel()
	for i, rowA := range ascending {
		for j, rowB := range ascending {
			for _, a := range rowA {
				for _, b := range rowB {
					want := sign(i - j)
					checkOrder(t, a, b, want)
				}
			}
		}
	}
}

func sign(n int) int {
	switch {
	case n < 0:
		return -1
	case n > 0:
		return 1
	}
	return 0
}

func checkOrder(t *testing.T, a, b *Value, want int) {
	t.Helper()
	if got := Compare(a, b); got != want {
		t.Errorf("Compare(%v, %v) = %d, want %d", a, b, got, want)
	}
	for _, d := range []Direction{Ascending, Descending} {
		x, cutX := AppendValue(nil, a, d)
		y, cutY := AppendValue(nil, b, d)
		if cutX != Truncated(x, d) || cutY != Truncated(y, d) {
			t.Errorf("Truncated disagrees with AppendValue for %v or %v", a, b)
		}
		w := want
		if d == Descending {
			w = -w
		}
		got := bytes.Compare(x, y)
		// A cut value ties with others that agree up to the cut, and no more.
		if got != w && !(got == 0 && cutX && cutY) {
			t.Errorf("encoding of %v against %v, %v = %d, want %d", a, b, d, got, w)
		}
		if got != 0 && (bytes.HasPrefix(x, y) || bytes.HasPrefix(y, x)) {
			t.Errorf("one encoding of %v, %v is a prefix of the other", a, b)
		}
		key := append(append(bytes.Clone(x), y...), 0x77)
		for _, want := range [][]byte{x, y} {
			comp, rest, err := CutValue(key, d)
			if err != nil || !bytes.Equal(comp, want) {
				t.Fatalf("CutValue of %v then %v, %v = %x, %v, want %x", a, b, d, comp, err, want)
			}
			key = rest
		}
		if class, err := ClassOfComponent(x, d); err != nil || class != ClassOf(a) {
			t.Errorf("ClassOfComponent(%v) = %v, %v, want %v", a, class, err, ClassOf(a))
		}
	}
	x, _ := AppendValue(nil, a, Ascending)
	lo, hi := AppendClassBounds(nil, nil, ClassOf(a))
	if bytes.Compare(x, lo) < 0 || bytes.Compare(x, hi) >= 0 {
		t.Errorf("encoding of %v lies outside its class bounds", a)
	}
}

// randomValue leans to edges: shared prefixes, zero bytes, neighbouring numbers and, now and then, sizes
// beyond the index budget.
func randomValue(r *rand.Rand, depth int) *Value {
	n := 11
	if depth > 3 {
		n = 8
	}
	switch r.IntN(n) {
	case 0:
		return []*Value{null(), boolean(false), boolean(true), double(math.NaN())}[r.IntN(4)]
	case 1:
		return integer(randomInt(r))
	case 2:
		return randomDouble(r)
	case 3:
		return stamp(r.Int64N(3)-1, int32(r.IntN(3))*1000)
	case 4, 5:
		return str(randomText(r))
	case 6:
		return blob(randomText(r))
	case 7:
		if r.IntN(2) == 0 {
			return geo(float64(r.IntN(3)-1), float64(r.IntN(3)-1))
		}
		return ref(docs + []string{"a/b", "a/b!", "a/b/c/d", "a/b\x01/c/d", "a!/b", "a/b\x00"}[r.IntN(6)])
	case 8:
		vs := make([]*Value, r.IntN(4))
		for i := range vs {
			vs[i] = randomValue(r, depth+1)
		}
		return array(vs...)
	case 9:
		fs := make([]float64, 1+r.IntN(3))
		if r.IntN(4) == 0 {
			fs = make([]float64, 180+r.IntN(20))
		}
		for i := range fs {
			fs[i] = float64(r.IntN(3) - 1)
		}
		return vector(fs...)
	default:
		m := object()
		for range r.IntN(4) {
			m.GetMapValue().Fields[randomText(r)+"k"] = randomValue(r, depth+1)
		}
		return m
	}
}

func randomInt(r *rand.Rand) int64 {
	edge := []int64{0, 1 << 53, -1 << 53, math.MaxInt64, math.MinInt64, 1 << 62, 1<<63 - 512, 1<<63 - 1024}
	return edge[r.IntN(len(edge))] + int64(r.IntN(1100)) - 550 // may wrap, which is fine
}

func randomDouble(r *rand.Rand) *Value {
	if r.IntN(3) == 0 {
		return double(math.Float64frombits(r.Uint64()))
	}
	f := float64(randomInt(r))
	return double([]float64{f, math.Nextafter(f, 0), math.Nextafter(f, math.Inf(1)), f / 3}[r.IntN(4)])
}

func randomText(r *rand.Rand) string {
	var b strings.Builder
	if r.IntN(8) == 0 { // near the budget
		b.WriteString(strings.Repeat("x", MaxIndexedBytes-4+r.IntN(8)))
	}
	for range r.IntN(5) {
		b.WriteByte("\x00\x01\x02ab\x7f"[r.IntN(6)])
	}
	return b.String()
}

func FuzzEncodingOrder(f *testing.F) {
	for i := range uint64(64) {
		f.Add(i, i*7)
	}
	f.Fuzz(func(t *testing.T, s1, s2 uint64) {
		r := rand.New(rand.NewPCG(s1, s2))
		a, b := randomValue(r, 0), randomValue(r, 0)
		if r.IntN(3) == 0 { // a near relative of a
			b = proto.Clone(a).(*Value)
			if arr := b.GetArrayValue(); arr != nil {
				arr.Values = append(arr.Values, randomValue(r, 2))
			} else if m := b.GetMapValue(); m != nil && ClassOf(b) == ClassMap {
				if m.Fields == nil {
					m.Fields = map[string]*Value{}
				}
				m.Fields[randomText(r)+"z"] = randomValue(r, 2)
			}
		}
		c := Compare(a, b)
		if Compare(b, a) != -c {
			t.Errorf("Compare(%v, %v) is not antisymmetric", a, b)
		}
		checkOrder(t, a, b, c)
	})
}

func TestOrderOfRandomValues(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	vs := make([]*Value, 200)
	for i := range vs {
		vs[i] = randomValue(r, 0)
	}
	for i, a := range vs {
		for _, b := range vs[i:] {
			checkOrder(t, a, b, Compare(a, b))
		}
	}
}

// TestNumbersAgainstRationals judges numbers by exact arithmetic.
func TestNumbersAgainstRationals(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(3, 4))
	exact := func(v *Value) *big.Rat {
		if i, ok := v.GetValueType().(*firestorepb.Value_IntegerValue); ok {
			return new(big.Rat).SetInt64(i.IntegerValue)
		}
		return new(big.Rat).SetFloat64(v.GetDoubleValue()) // nil for NaN, Inf
	}
	for range 30_000 {
		a, b := integer(randomInt(r)), randomDouble(r)
		if r.IntN(2) == 0 {
			b = integer(randomInt(r))
		}
		x, y := exact(a), exact(b)
		if y == nil {
			continue
		}
		if got, want := Compare(a, b), x.Cmp(y); got != want {
			t.Fatalf("Compare(%v, %v) = %d, want %d", a, b, got, want)
		}
		for _, d := range []Direction{Ascending, Descending} {
			enc, _ := AppendValue(nil, a, d)
			if got, ok := DecodeNumber(enc, d, true); !ok || !proto.Equal(got, a) {
				t.Fatalf("DecodeNumber(%v) = %v", a, got)
			}
		}
	}
}

func TestDecodeNumberOfDoubles(t *testing.T) {
	t.Parallel()
	for _, f := range []float64{0, 1.5, -1.5, 1e300, -1e300, math.Inf(1), math.Inf(-1), math.NaN(), 1 << 53, 1 << 63} {
		for _, d := range []Direction{Ascending, Descending} {
			enc, _ := AppendValue(nil, double(f), d)
			if got, ok := DecodeNumber(enc, d, false); !ok || !proto.Equal(got, double(f)) {
				t.Errorf("DecodeNumber(%v, %v) = %v, %v", f, d, got, ok)
			}
		}
	}
	enc, _ := AppendValue(nil, str("1"), Ascending)
	if _, ok := DecodeNumber(enc, Ascending, false); ok {
		t.Error("DecodeNumber of a string is ok, want not")
	}
}

func TestTruncation(t *testing.T) {
	t.Parallel()
	x := strings.Repeat("x", MaxIndexedBytes)
	tests := map[string]struct {
		v    *Value
		want bool
	}{
		"text at the budget":  {str(x[:MaxIndexedBytes-1]), false},
		"text over":           {str(x), true},
		"bytes over":          {blob(x), true},
		"array over":          {array(str(x[:MaxIndexedBytes-10]), str("0123456789abc"), integer(1)), true},
		"map over":            {object("a", str(x), "b", null()), true},
		"long key":            {object(x, null()), true},
		"reference over":      {ref(docs + "c/" + x[:1490]), true},
		"vector over":         {vector(make([]float64, 200)...), true},
		"vector inside":       {vector(make([]float64, 100)...), false},
		"many small elements": {array(func() (vs []*Value) { return append(vs, make([]*Value, 2000)...) }()...), true},
	}
	for name, tt := range tests {
		enc, got := AppendValue(nil, tt.v, Ascending)
		if got != tt.want {
			t.Errorf("%s: truncated = %v, want %v", name, got, tt.want)
		}
		if len(enc) > MaxIndexedBytes+16 {
			t.Errorf("%s: %d bytes, want about %d at most", name, len(enc), MaxIndexedBytes)
		}
	}
}

func TestCutValueOfGarbage(t *testing.T) {
	t.Parallel()
	whole := [][]byte{{}, {0}, {0xEE}, {tagNumber, 1}, {tagString, 'a'}, {tagString, 0, 9}, {tagArray, tagNull}, {tagMap}, {tagReference, 'a', 0, 1}, {tagVector, 0, 0, 0, 9, 0, 9}}
	for _, key := range whole {
		if c, _, err := CutValue(key, Ascending); err == nil {
			t.Errorf("CutValue(%x) = %x, want an error", key, c)
		}
	}
}

func FuzzCutValue(f *testing.F) {
	for _, row := range ascending {
		enc, _ := AppendValue(nil, row[0], Ascending)
		f.Add(enc, false)
	}
	f.Fuzz(func(t *testing.T, key []byte, desc bool) {
		d := Ascending
		if desc {
			d = Descending
		}
		c, rest, err := CutValue(key, d)
		if err == nil && len(c)+len(rest) != len(key) {
			t.Errorf("CutValue(%x) lost bytes", key)
		}
		if _, _, err := CutPath(Database{}, key, d); err != nil {
			return
		}
	})
}

func TestNoAllocation(t *testing.T) {
	a := object("a", array(integer(1), str("xyz")), "b", ref(docs+"c/d"), "c", geo(1, 2), "d", stamp(1, 2000))
	b := proto.Clone(a).(*Value)
	dst := make([]byte, 0, 4096)
	if n := testing.AllocsPerRun(100, func() { Compare(a, b) }); n != 0 {
		t.Errorf("Compare allocates %v times, want 0", n)
	}
	if n := testing.AllocsPerRun(100, func() { AppendValue(dst, a, Descending) }); n != 0 {
		t.Errorf("AppendValue allocates %v times, want 0", n)
	}
	p, err := ParseDocument(docs + "c/d")
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() { AppendPath(dst, p, Ascending) }); n != 0 {
		t.Errorf("AppendPath allocates %v times, want 0", n)
	}
}

func BenchmarkAppendValue(b *testing.B) {
	v := object("kind", str("message"), "at", stamp(1_700_000_000, 0), "n", integer(42))
	dst := make([]byte, 0, 4096)
	for b.Loop() {
		AppendValue(dst, v, Ascending)
	}
}

func BenchmarkCompare(b *testing.B) {
	v := object("kind", str("message"), "at", stamp(1_700_000_000, 0), "n", integer(42))
	w := proto.Clone(v).(*Value)
	for b.Loop() {
		Compare(v, w)
	}
}
