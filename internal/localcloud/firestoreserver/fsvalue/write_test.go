package fsvalue

import (
	"bytes"
	"math"
	"strings"
	"testing"

	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/protobuf/proto"
)

func nest(levels int) *Value {
	v := integer(1)
	for range levels {
		v = object("m", v)
	}
	return v
}

func TestPrepareDocument(t *testing.T) {
	t.Parallel()
	p := mustDocument(t, "c/d")
	field := &Value{ValueType: &firestorepb.Value_FieldReferenceValue{FieldReferenceValue: "x"}}
	mixed := vector(1, 2)
	mixed.GetMapValue().Fields[vectorValueKey].GetArrayValue().Values[1] = integer(2)
	tests := map[string]struct {
		v    *Value
		want string // "" is fine
	}{
		"unset":               {&Value{}, "no type"},
		"nil":                 {nil, "no type"},
		"field reference":     {field, "cannot be stored"},
		"bad UTF-8":           {str("\xff"), "UTF-8"},
		"array in array":      {array(array()), "Cannot convert an array value in an array value."},
		"array in map":        {array(object("a", array())), ""},
		"vector":              {vector(1, 2), ""},
		"vector of ints":      {mixed, "doubles"},
		"vector too long":     {vector(make([]float64, 2049)...), "dimensions"},
		"vector longest":      {vector(make([]float64, 2048)...), ""},
		"foreign type":        {object("__type__", str("__int__")), "reserved"},
		"reserved key":        {object("__int__", integer(1)), "reserved"},
		"empty key":           {object("", integer(1)), "empty"},
		"long key":            {object(strings.Repeat("k", 1501), integer(1)), "1500"},
		"depth 20":            {nest(20), ""},
		"depth 21":            {nest(21), "20 levels"},
		"reference":           {ref(docs + "c/d"), ""},
		"other database":      {ref("projects/q/databases/abcd/documents/c/d"), ""},
		"bad reference":       {ref(docs + "c"), "lacks"},
		"latitude":            {geo(90.1, 0), "Latitude"},
		"longitude":           {geo(0, math.NaN()), "Longitude"},
		"geo edge":            {geo(-90, 180), ""},
		"time too early":      {stamp(minSeconds-1, 0), "range"},
		"time too late":       {stamp(maxSeconds+1, 0), "range"},
		"nanos":               {stamp(0, 1e9), "range"},
		"earliest and latest": {array(stamp(minSeconds, 0), stamp(maxSeconds, 999_999_999)), ""},
		"longest value":       {str(strings.Repeat("x", MaxValueBytes-1)), ""},
		"value too long":      {str(strings.Repeat("x", MaxValueBytes)), `The value of property "f" is longer than 1048487 bytes.`},
	}
	for name, tt := range tests {
		err := PrepareDocument(p, map[string]*Value{"f": tt.v})
		if tt.want != "" {
			wantInvalid(t, name, err, tt.want)
		} else if err != nil {
			t.Errorf("%s = %v, want no error", name, err)
		}
	}
}

func TestPrepareRoundsTimestampsDown(t *testing.T) {
	t.Parallel()
	v := array(stamp(-1, 1999))
	if err := PrepareValue(v); err != nil {
		t.Fatal(err)
	}
	if want := array(stamp(-1, 1000)); !proto.Equal(v, want) {
		t.Errorf("PrepareValue = %v, want %v", v, want)
	}
}

func TestDocumentTooLarge(t *testing.T) {
	t.Parallel()
	half := str(strings.Repeat("x", 600_000))
	err := PrepareDocument(mustDocument(t, "c/d"), map[string]*Value{"a": half, "b": half})
	wantInvalid(t, "PrepareDocument", err, "Document '"+docs+"c/d' cannot be written because its size (1,200,058 bytes) exceeds the maximum allowed size of 1,048,576 bytes.")
}

// TestDocumentedSizes holds the sums of the product's page on storage size.
func TestDocumentedSizes(t *testing.T) {
	t.Parallel()
	p := mustDocument(t, "users/jeff/tasks/my_task_id")
	fields := map[string]*Value{
		"type": str("Personal"), "done": boolean(false), "priority": integer(1), "description": str("Learn Cloud Firestore"),
	}
	if got := DocumentSize(p, fields); got != 147 {
		t.Errorf("DocumentSize = %d, want 147", got)
	}
	tests := []struct {
		v    *Value
		want int
	}{
		{null(), 1}, {boolean(true), 1}, {integer(1), 8}, {double(1), 8}, {stamp(0, 0), 8}, {str("é"), 3}, {blob("abc"), 3},
		{geo(1, 2), 16}, {ref(docs + "c/d"), 20}, {array(integer(1), str("a")), 10}, {vector(1, 2, 3), 24}, {object("a", null()), 3},
	}
	for _, tt := range tests {
		if got := ValueSize(tt.v); got != tt.want {
			t.Errorf("ValueSize(%v) = %d, want %d", tt.v, got, tt.want)
		}
	}
}

func TestIdentical(t *testing.T) {
	t.Parallel()
	one := map[string]*Value{"a": integer(1), "n": double(math.NaN())}
	same := map[string]*Value{"a": integer(1), "n": double(math.NaN())}
	other := map[string]*Value{"a": double(1), "n": double(math.NaN())}
	if !Identical(one, same) || Identical(one, other) || Identical(one, map[string]*Value{"a": integer(1)}) {
		t.Error("Identical is wrong")
	}
}

// TestAppendFields checks that the bytes are the tail of the wire Document.
func TestAppendFields(t *testing.T) {
	t.Parallel()
	fields := map[string]*Value{"b": object("z", integer(1), "y", str("s")), "a": null(), "": array(), "é": double(2)}
	got, err := AppendFields([]byte("x"), fields)
	if err != nil {
		t.Fatal(err)
	}
	want, err := proto.MarshalOptions{Deterministic: true}.Marshal(&firestorepb.Document{Fields: fields})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got[1:], want) {
		t.Errorf("AppendFields = %x, want %x", got[1:], want)
	}
}
