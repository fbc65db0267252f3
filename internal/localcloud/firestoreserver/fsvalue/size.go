package fsvalue

import "cloud.google.com/go/firestore/apiv1/firestorepb"

// What the documented size formula adds to contents.
const (
	nameOverhead     = 16
	documentOverhead = 32
	geoBytes         = 16
	wordBytes        = 8 // numbers, timestamps and vector dimensions
)

func stringSize(s string) int { return len(s) + 1 }

// Size returns the bytes the name counts for in limits.
func (p Path) Size() int {
	n := nameOverhead
	for seg := range p.Segments() {
		if _, ok := NumericID(seg); ok {
			n += wordBytes
			continue
		}
		n += stringSize(seg)
	}
	return n
}

// ValueSize returns the bytes v counts for in limits.
func ValueSize(v *Value) int {
	switch t := v.GetValueType().(type) {
	case *firestorepb.Value_IntegerValue, *firestorepb.Value_DoubleValue, *firestorepb.Value_TimestampValue:
		return wordBytes
	case *firestorepb.Value_StringValue:
		return stringSize(t.StringValue)
	case *firestorepb.Value_BytesValue:
		return len(t.BytesValue)
	case *firestorepb.Value_ReferenceValue:
		if p, err := ParseDocument(t.ReferenceValue); err == nil {
			return p.Size()
		}
		return stringSize(t.ReferenceValue)
	case *firestorepb.Value_GeoPointValue:
		return geoBytes
	case *firestorepb.Value_ArrayValue:
		n := 0
		for _, e := range t.ArrayValue.GetValues() {
			n += ValueSize(e)
		}
		return n
	case *firestorepb.Value_MapValue:
		if elements, ok := Vector(v); ok {
			return wordBytes * len(elements)
		}
		return fieldsSize(t.MapValue.GetFields())
	}
	return 1 // null, bool
}

func fieldsSize(fields map[string]*Value) int {
	n := 0
	for k, v := range fields {
		n += stringSize(k) + ValueSize(v)
	}
	return n
}

// DocumentSize returns the bytes of a whole document by the documented formula.
func DocumentSize(p Path, fields map[string]*Value) int {
	return p.Size() + documentOverhead + fieldsSize(fields)
}
