package fsvalue

import (
	"cloud.google.com/go/firestore/apiv1/firestorepb"
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

// ClassOf returns the class of v; a nil or unset value counts as null.
func ClassOf(v *Value) Class { return ClassNull }

// IsNull reports whether v is the null value.
func IsNull(v *Value) bool { return ClassOf(v) == ClassNull }

// IsNaN reports whether v is the double NaN.
func IsNaN(v *Value) bool { return ClassOf(v) == ClassNaN }

// Compare is the total order of all values: 1 and 1.0 are equal, NaN equals
// NaN and lies below every number. It does not allocate for maps of up to 16 keys.
func Compare(a, b *Value) int { return 0 }

// Equal reports order-equality, Compare(a, b) == 0. Filters must test for null
// and NaN operands before, since those match nothing there.
func Equal(a, b *Value) bool { return Compare(a, b) == 0 }

// Identical reports whether two documents' fields are the same in type and
// value, so that 1 and 1.0 differ but any NaN is any other.
func Identical(a, b map[string]*Value) bool { return false }

// AppendFields appends the wire form of a Document's fields (field number 2
// entries) in key order; equal fields give equal bytes.
func AppendFields(dst []byte, fields map[string]*Value) ([]byte, error) { return dst, nil }
