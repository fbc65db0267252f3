package wire_test

import (
	"bytes"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"exportd/internal/csvrow/csvrowtest"
	"exportd/internal/vip/wire"
)

// FuzzDocument compares what a walk finds with the generated types.
func FuzzDocument(f *testing.F) {
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 9))
		f.Add(csvrowtest.Shuffled(r, "projects/p/databases/d/documents/C/id", csvrowtest.RandomFields(r, nil)))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		want := new(firestorepb.Document)
		// Unknown fields may be groups, which no version of these messages has.
		if (proto.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(doc, want) != nil {
			walkAll(doc) // no panic is all that is asked
			return
		}
		canonical, err := proto.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		fields := wire.Document(canonical)
		got := make(map[string][]byte)
		for fields.Next() {
			got[string(fields.Key)] = fields.Value
		}
		if fields.Err() != nil || string(fields.Name) != want.GetName() || len(got) != len(want.GetFields()) {
			t.Fatalf("walk of %v: name %q, %d fields, %v", want, fields.Name, len(got), fields.Err())
		}
		for key, value := range want.GetFields() {
			b, ok := got[key]
			v, err := wire.Parse(b)
			if !ok || err != nil {
				t.Fatalf("field %q: found %v, %v", key, ok, err)
			}
			compare(t, v, value)
		}
	})
}

func walkAll(doc []byte) {
	var p wire.Printer
	fields := wire.Document(doc)
	for fields.Next() {
		if v, err := wire.Parse(fields.Value); err == nil {
			_, _ = p.Append(nil, v)
		}
		_ = wire.Check(fields.Value)
	}
}

// TestFinder: a finder that remembers another document's layout is never wrong.
func TestFinder(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(21, 22))
	finder := wire.Finder{Field: "ltv"}
	for range 5000 {
		fields := csvrowtest.RandomFields(r, nil)
		doc := csvrowtest.Document("d/c/i", fields)
		if r.IntN(2) == 0 {
			doc = csvrowtest.Shuffled(r, "d/c/i", fields)
		}
		var want []byte
		walk := wire.Document(doc)
		for walk.Next() {
			if string(walk.Key) == "ltv" {
				want = walk.Value
			}
		}
		name, got, err := finder.Find(doc)
		if err != nil || string(name) != "d/c/i" || string(got) != string(want) {
			t.Fatalf("Find() = %q, %x, %v, want %x", name, got, err, want)
		}
	}
}

func compare(t *testing.T, got wire.Value, want *firestorepb.Value) {
	t.Helper()
	same := false
	switch v := want.GetValueType().(type) {
	case *firestorepb.Value_NullValue:
		same = got.Kind == wire.Null
	case *firestorepb.Value_BooleanValue:
		same = got.Kind == wire.Bool && got.Num != 0 == v.BooleanValue
	case *firestorepb.Value_IntegerValue:
		same = got.Kind == wire.Int && int64(got.Num) == v.IntegerValue
	case *firestorepb.Value_DoubleValue:
		same = got.Kind == wire.Double
	case *firestorepb.Value_TimestampValue:
		same = got.Kind == wire.Time && int64(got.Num) == v.TimestampValue.GetSeconds() && got.Nanos == v.TimestampValue.GetNanos()
	case *firestorepb.Value_StringValue:
		same = got.Kind == wire.String && string(got.Data) == v.StringValue
	case *firestorepb.Value_BytesValue:
		same = got.Kind == wire.Bytes && string(got.Data) == string(v.BytesValue)
	case *firestorepb.Value_ReferenceValue:
		same = got.Kind == wire.Reference && string(got.Data) == v.ReferenceValue
	case *firestorepb.Value_GeoPointValue:
		same = got.Kind == wire.Geo
	case *firestorepb.Value_ArrayValue:
		items := wire.Elements(got)
		n := 0
		for ; items.Next(); n++ {
			element, err := wire.Parse(items.Value)
			if err != nil || n >= len(v.ArrayValue.GetValues()) {
				t.Fatalf("element %d: %v", n, err)
			}
			compare(t, element, v.ArrayValue.GetValues()[n])
		}
		same = got.Kind == wire.Array && n == len(v.ArrayValue.GetValues()) && items.Err() == nil
	case *firestorepb.Value_MapValue:
		fields := wire.MapFields(got)
		n := 0
		for ; fields.Next(); n++ {
			value, err := wire.Parse(fields.Value)
			if err != nil {
				t.Fatal(err)
			}
			compare(t, value, v.MapValue.GetFields()[string(fields.Key)])
		}
		same = got.Kind == wire.Map && n == len(v.MapValue.GetFields()) && fields.Err() == nil
	default: // unset, or of a type that only pipelines have
		same = got.Kind == wire.None
	}
	if !same {
		t.Errorf("Parse() = %+v, want %v", got, want)
	}
}

// TestTimes: every form that a timestamp has on the wire.
func TestTimes(t *testing.T) {
	t.Parallel()
	var shared wire.Printer // remembers the day of the time before
	for _, seconds := range []int64{0, 1, 127, 128, 86_399, 86_400, -86_400, -86_401, -1, 1 << 27, 1<<28 - 1, 1 << 28, 1_780_000_000, 1<<35 - 1, 1 << 35, 253402300799, -1, -62135596800} {
		for _, nanos := range []int32{0, 1, 127, 128, 1000, 16384, 678901000, 1<<28 - 1, 1 << 28, 999999999} {
			at := &timestamppb.Timestamp{Seconds: seconds, Nanos: nanos}
			b, err := proto.Marshal(&firestorepb.Value{ValueType: &firestorepb.Value_TimestampValue{TimestampValue: at}})
			if err != nil {
				t.Fatal(err)
			}
			v, err := wire.Parse(b)
			if err != nil || v.Kind != wire.Time || int64(v.Num) != seconds || v.Nanos != nanos {
				t.Errorf("Parse(%v) = %+v, %v", at, v, err)
			}
			for _, p := range []*wire.Printer{new(wire.Printer), &shared, &shared} {
				text, err := p.Append(nil, v)
				want := time.Unix(seconds, int64(nanos)).UTC().Format("2006-01-02T15:04:05.000000Z")
				if err != nil || string(text) != want {
					t.Errorf("Append(%v) = %s, %v, want %s", at, text, err, want)
				}
			}
		}
	}
}

// TestLongFields: lengths of one, two and three bytes, in names, keys and values.
func TestLongFields(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 3, 4, 100, 117, 118, 119, 120, 121, 122, 123, 124, 125, 126, 127, 128, 129, 1000, 16370, 16380, 16383, 16384, 16390, 1 << 20} {
		long := string(slices.Repeat([]byte{'x'}, n))
		for _, fields := range []map[string]any{{"a": long, "z": "end"}, {"k" + long: "v", "z": "end"}, {"z": map[string]any{"k" + long: long}}} {
			doc := csvrowtest.Document("p/"+long, fields)
			walk := wire.Document(doc)
			found := 0
			for walk.Next() {
				if want := string(csvrowtest.Value(fields[string(walk.Key)])); string(walk.Value) != want {
					t.Fatalf("%d: value of %.10q has %d bytes, want %d", n, walk.Key, len(walk.Value), len(want))
				}
				found++
			}
			if walk.Err() != nil || found != len(fields) || string(walk.Name) != "p/"+long {
				t.Fatalf("%d: %d fields, %v", n, found, walk.Err())
			}
		}
	}
}

func TestMalformed(t *testing.T) {
	t.Parallel()
	for name, b := range map[string][]byte{
		"cut tag": {0x80}, "field 0": {0x00, 0x01}, "group": {0x0b}, "cut length": {0x0a, 0x80}, "length beyond": {0x0a, 0x02, 'x'},
		"long varint": {0x10, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x02}, "cut fixed": {0x19, 1, 2}, "cut fixed32": {0x1d, 1},
		"huge length": {0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01},
	} {
		if _, err := wire.Parse(b); !errors.Is(err, wire.ErrMalformed) {
			t.Errorf("%s: Parse() = %v, want %v", name, err, wire.ErrMalformed)
		}
		walk := wire.Document(b)
		for walk.Next() {
		}
		if !errors.Is(walk.Err(), wire.ErrMalformed) {
			t.Errorf("%s: walk ends with %v, want %v", name, walk.Err(), wire.ErrMalformed)
		}
		if _, _, err := wire.Response(b); !errors.Is(err, wire.ErrMalformed) {
			t.Errorf("%s: Response() = %v, want %v", name, err, wire.ErrMalformed)
		}
	}
}

// FuzzID compares the search by eight bytes with the library's.
func FuzzID(f *testing.F) {
	for _, name := range []string{"", "/", "a", "c/id", "projects/p/databases/(default)/documents/VipMessages/0123456789abcdef", "/.23456.", "x/./......", "a/bbbbbbb", "a/bbbbbbbb", "/\x80\xaf\xff......."} {
		f.Add([]byte(name))
	}
	f.Fuzz(func(t *testing.T, name []byte) {
		if got, want := wire.ID(name), name[bytes.LastIndexByte(name, '/')+1:]; string(got) != string(want) {
			t.Errorf("ID(%q) = %q, want %q", name, got, want)
		}
	})
}

// FuzzDouble compares the short way of printing amounts with the library's.
func FuzzDouble(f *testing.F) {
	for _, v := range []float64{0, math.Copysign(0, -1), 0.01, 0.005, 0.015, 1.005, 0.07, 1234.5, -1234.56, 99999999999999.99, 9999999999999.99, 1e13, 1e13 - 0.01, 1e15, 0.1 + 0.2, 1e-7, 1e21, math.Inf(1), math.NaN(), 5e-324} {
		f.Add(v, int64(v*100))
	}
	f.Fuzz(func(t *testing.T, any float64, n int64) {
		for _, v := range []float64{any, float64(n) / 100, math.Nextafter(float64(n)/100, 0), float64(n) / 1000} {
			want := "NaN"
			switch {
			case math.IsInf(v, 0):
				want = map[bool]string{true: "Infinity", false: "-Infinity"}[v > 0]
			case !math.IsNaN(v):
				want = strconv.FormatFloat(v, 'f', -1, 64)
				if abs := math.Abs(v); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
					want = strings.Replace(strconv.FormatFloat(v, 'e', -1, 64), "e-0", "e-", 1)
				}
			}
			if got := string(wire.AppendDouble(nil, v)); got != want {
				t.Errorf("AppendDouble(%x) = %s, want %s", v, got, want)
			}
		}
	})
}
