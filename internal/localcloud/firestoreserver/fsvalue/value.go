package fsvalue

import (
	"fmt"
	"math"

	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// Value is the protobuf value, spelled shorter.
type Value = firestorepb.Value

// Class is the place of a value's type in the order of types.
type Class uint8

// The classes, in order. Range filters match only within one class.
const (
	ClassNull Class = iota
	ClassBool
	ClassNaN
	ClassNumber
	ClassTimestamp
	ClassString
	ClassBytes
	ClassReference
	ClassGeo
	ClassArray
	ClassVector
	ClassMap
)

// Keys of the map that stands for a vector.
const (
	vectorTypeKey   = "__type__"
	vectorTypeValue = "__vector__"
	vectorValueKey  = "value"
)

// ClassOf returns the class of v; a nil or unset value counts as null.
func ClassOf(v *Value) Class {
	switch t := v.GetValueType().(type) {
	case *firestorepb.Value_BooleanValue:
		return ClassBool
	case *firestorepb.Value_IntegerValue:
		return ClassNumber
	case *firestorepb.Value_DoubleValue:
		if math.IsNaN(t.DoubleValue) {
			return ClassNaN
		}
		return ClassNumber
	case *firestorepb.Value_TimestampValue:
		return ClassTimestamp
	case *firestorepb.Value_StringValue:
		return ClassString
	case *firestorepb.Value_BytesValue:
		return ClassBytes
	case *firestorepb.Value_ReferenceValue:
		return ClassReference
	case *firestorepb.Value_GeoPointValue:
		return ClassGeo
	case *firestorepb.Value_ArrayValue:
		return ClassArray
	case *firestorepb.Value_MapValue:
		if _, ok := Vector(v); ok {
			return ClassVector
		}
		return ClassMap
	}
	return ClassNull
}

// IsNull reports whether v is the null value.
func IsNull(v *Value) bool { return ClassOf(v) == ClassNull }

// IsNaN reports whether v is the double NaN.
func IsNaN(v *Value) bool { return ClassOf(v) == ClassNaN }

// Vector returns the elements of a vector, which travels as the map {__type__: "__vector__", value:
// [doubles]}; ok is false for anything else.
func Vector(v *Value) (elements []*Value, ok bool) {
	m := v.GetMapValue().GetFields()
	if len(m) != 2 || m[vectorTypeKey].GetStringValue() != vectorTypeValue {
		return nil, false
	}
	a, ok := m[vectorValueKey].GetValueType().(*firestorepb.Value_ArrayValue)
	if !ok {
		return nil, false
	}
	return a.ArrayValue.GetValues(), true
}

// Identical reports whether two documents' fields are the same in type and value, so that 1 and 1.0 differ
// but any NaN is any other.
func Identical(a, b map[string]*Value) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if w, ok := b[k]; !ok || !proto.Equal(v, w) {
			return false
		}
	}
	return true
}

// Field numbers of the wire form.
const (
	documentFieldsNumber = 2
	entryKeyNumber       = 1
	entryValueNumber     = 2
)

// AppendFields appends the wire form of a Document's fields (field number 2 entries) in key order; equal
// fields give equal bytes.
func AppendFields(dst []byte, fields map[string]*Value) ([]byte, error) {
	var buf [keyBuffer]string
	opts := proto.MarshalOptions{Deterministic: true}
	for _, k := range sortedKeys(buf[:0], fields) {
		v := fields[k]
		valueSize := opts.Size(v)
		entry := protowire.SizeTag(entryKeyNumber) + protowire.SizeBytes(len(k)) +
			protowire.SizeTag(entryValueNumber) + protowire.SizeBytes(valueSize)
		dst = protowire.AppendTag(dst, documentFieldsNumber, protowire.BytesType)
		dst = protowire.AppendVarint(dst, uint64(entry))
		dst = protowire.AppendTag(dst, entryKeyNumber, protowire.BytesType)
		dst = protowire.AppendString(dst, k)
		dst = protowire.AppendTag(dst, entryValueNumber, protowire.BytesType)
		dst = protowire.AppendVarint(dst, uint64(valueSize))
		var err error
		if dst, err = opts.MarshalAppend(dst, v); err != nil {
			return nil, fmt.Errorf("marshal field %q: %w", k, err)
		}
	}
	return dst, nil
}
