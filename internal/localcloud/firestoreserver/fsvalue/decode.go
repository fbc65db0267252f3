package fsvalue

import (
	"encoding/binary"
	"errors"
	"math"
	"strings"

	"cloud.google.com/go/firestore/apiv1/firestorepb"
)

// ErrCorruptKey tells that bytes are not what this package's encoder writes.
var ErrCorruptKey = errors.New("corrupt index key")

// CutValue splits the first value component, written in direction d, off a key. The parts alias key.
func CutValue(key []byte, d Direction) (component, rest []byte, err error) {
	n := valueLen(key, d.mask())
	if n < 0 {
		return nil, nil, ErrCorruptKey
	}
	return key[:n], key[n:], nil
}

// Truncated reports whether a component was cut when it was encoded, so that its document must be asked for
// the true value.
func Truncated(component []byte, d Direction) bool {
	n := len(component)
	if n < 2 {
		return false
	}
	mask := d.mask()
	switch component[0] ^ mask {
	case tagString, tagBytes, tagReference:
		return component[n-1]^mask == cutText
	case tagArray, tagMap:
		return component[n-1]^mask == cutList
	case tagVector:
		h := vectorHead(component, mask)
		return h.written < h.dimension
	}
	return false
}

// ClassOfComponent returns the class of an encoded value.
func ClassOfComponent(component []byte, d Direction) (Class, error) {
	if len(component) == 0 {
		return 0, ErrCorruptKey
	}
	switch component[0] ^ d.mask() {
	case tagNull:
		return ClassNull, nil
	case tagFalse, tagTrue:
		return ClassBool, nil
	case tagNaN:
		return ClassNaN, nil
	case tagNumber:
		return ClassNumber, nil
	case tagTimestamp:
		return ClassTimestamp, nil
	case tagString:
		return ClassString, nil
	case tagBytes:
		return ClassBytes, nil
	case tagReference:
		return ClassReference, nil
	case tagGeo:
		return ClassGeo, nil
	case tagArray:
		return ClassArray, nil
	case tagVector:
		return ClassVector, nil
	case tagMap:
		return ClassMap, nil
	}
	return 0, ErrCorruptKey
}

// AppendClassBounds appends to lo the least and to hi the end (exclusive) of the encodings of a class,
// ascending. Descending components need the same bounds complemented and swapped.
func AppendClassBounds(lo, hi []byte, c Class) (outLo, outHi []byte) {
	first, last := classTags[c][0], classTags[c][1]
	return append(lo, first), append(hi, last+1)
}

var classTags = [...][2]byte{
	ClassNull: {tagNull, tagNull}, ClassBool: {tagFalse, tagTrue}, ClassNaN: {tagNaN, tagNaN},
	ClassNumber: {tagNumber, tagNumber}, ClassTimestamp: {tagTimestamp, tagTimestamp},
	ClassString: {tagString, tagString}, ClassBytes: {tagBytes, tagBytes},
	ClassReference: {tagReference, tagReference}, ClassGeo: {tagGeo, tagGeo},
	ClassArray: {tagArray, tagArray}, ClassVector: {tagVector, tagVector}, ClassMap: {tagMap, tagMap},
}

// valueLen returns the length of the value at the start of b, -1 if corrupt.
func valueLen(b []byte, mask byte) int {
	if len(b) == 0 {
		return -1
	}
	n := -1
	switch b[0] ^ mask {
	case tagNull, tagFalse, tagTrue, tagNaN:
		n = 1
	case tagNumber:
		n = numberLen(b, mask)
	case tagTimestamp:
		n = 1 + 8 + 4
	case tagGeo:
		n = 1 + geoBytes
	case tagString, tagBytes:
		n, _ = textLen(b, 1, mask)
	case tagReference:
		n = pathLen(b, 1, mask)
	case tagArray, tagMap:
		n = listLen(b, mask)
	case tagVector:
		if len(b) >= vectorHeadBytes {
			n = vectorHeadBytes + wordBytes*vectorHead(b, mask).written
		}
	}
	if n > len(b) {
		return -1
	}
	return n
}

func numberLen(b []byte, mask byte) int {
	if len(b) < 1+wordBytes {
		return -1
	}
	if math.Abs(doubleAt(b[1:], mask)) >= wideNumber {
		return 1 + wordBytes + 2
	}
	return 1 + wordBytes
}

// textLen returns where the text that begins at b[at] ends; -1 if it does not.
func textLen(b []byte, at int, mask byte) (end int, cut bool) {
	for i := at; i+1 < len(b); i++ {
		if b[i] != mask {
			continue
		}
		switch b[i+1] ^ mask {
		case literal0:
			i++
		case endOfText:
			return i + 2, false
		case cutText:
			return i + 2, true
		default:
			return -1, false
		}
	}
	return -1, false
}

// pathLen returns where the segments that begin at b[at] and their mark end.
func pathLen(b []byte, at int, mask byte) int {
	for at+1 < len(b) {
		if b[at] == mask && b[at+1] == endOfPath^mask {
			return at + 2
		}
		end, cut := idLen(b, at, mask)
		if end < 0 || cut {
			return end
		}
		at = end
	}
	return -1
}

// idLen is textLen for what encoder.id wrote.
func idLen(b []byte, at int, mask byte) (end int, cut bool) {
	if isNumberID(b, at, mask) {
		return at + numberIDBytes, false
	}
	return textLen(b, at, mask)
}

func isNumberID(b []byte, at int, mask byte) bool {
	return len(b) >= at+numberIDBytes && b[at] == mask && b[at+1]^mask == numberID
}

// decodeID is the id that lies between at and end.
func decodeID(b []byte, at, end int, mask byte) string {
	if !isNumberID(b, at, mask) {
		return decodeText(b[at:end-2], mask)
	}
	n := binary.BigEndian.Uint64(b[at+2:])
	if mask != 0 {
		n = ^n
	}
	return numericID(int64(n ^ signBit))
}

// listLen handles arrays and maps alike: map keys are tagged like strings.
func listLen(b []byte, mask byte) int {
	for at := 1; at < len(b); {
		if m := b[at] ^ mask; m == endOfList || m == cutList {
			return at + 1
		}
		n := valueLen(b[at:], mask)
		if n < 0 {
			return -1
		}
		at += n
	}
	return -1
}

const vectorHeadBytes = 1 + 4 + 2

type vectorHeader struct{ dimension, written int }

func vectorHead(b []byte, mask byte) vectorHeader {
	var h [vectorHeadBytes]byte
	for i := range h {
		h[i] = b[i] ^ mask
	}
	return vectorHeader{int(binary.BigEndian.Uint32(h[1:])), int(binary.BigEndian.Uint16(h[5:]))}
}

// doubleAt decodes the 8 bytes orderedBits made.
func doubleAt(b []byte, mask byte) float64 {
	bits := binary.BigEndian.Uint64(b)
	if mask != 0 {
		bits = ^bits
	}
	switch {
	case bits == 0:
		return math.NaN()
	case bits&signBit != 0:
		return math.Float64frombits(bits &^ signBit)
	}
	return math.Float64frombits(^bits)
}

// DecodeNumber decodes a number (or NaN) component. Encodings merge 1 and 1.0, so integer says which to
// return; ok is false for other classes.
func DecodeNumber(component []byte, d Direction, integer bool) (v *Value, ok bool) {
	mask := d.mask()
	switch {
	case len(component) == 1 && component[0]^mask == tagNaN:
		return &Value{ValueType: &firestorepb.Value_DoubleValue{DoubleValue: math.NaN()}}, true
	case len(component) < 1+wordBytes || component[0]^mask != tagNumber:
		return nil, false
	}
	f := doubleAt(component[1:], mask)
	if !integer {
		return &Value{ValueType: &firestorepb.Value_DoubleValue{DoubleValue: f}}, true
	}
	var i int64
	if len(component) >= 1+wordBytes+2 {
		i = int64(binary.BigEndian.Uint16([]byte{component[9] ^ mask, component[10] ^ mask})) - residualBias
	}
	if f == 1<<63 {
		i += math.MaxInt64 // i is negative here
		i++
	} else {
		i += int64(f)
	}
	return &Value{ValueType: &firestorepb.Value_IntegerValue{IntegerValue: i}}, true
}

// CutString decodes the id at the start of a key.
func CutString(key []byte) (s string, rest []byte, err error) {
	end, _ := idLen(key, 0, 0)
	if end < 0 {
		return "", nil, ErrCorruptKey
	}
	return decodeID(key, 0, end, 0), key[end:], nil
}

func decodeText(b []byte, mask byte) string {
	var s strings.Builder
	s.Grow(len(b))
	for i := 0; i < len(b); i++ {
		s.WriteByte(b[i] ^ mask)
		if b[i] == mask {
			i++ // the escape
		}
	}
	return s.String()
}

// CutPath decodes the path component, written in direction d, at the start of a key.
func CutPath(db Database, key []byte, d Direction) (p Path, rest []byte, err error) {
	mask := d.mask()
	var rel strings.Builder
	for at := 0; at+1 < len(key); {
		if key[at] == mask && key[at+1] == endOfPath^mask {
			return Path{db: db, rel: rel.String()}, key[at+2:], nil
		}
		end, cut := idLen(key, at, mask)
		if end < 0 || cut {
			break
		}
		if rel.Len() > 0 {
			rel.WriteByte('/')
		}
		rel.WriteString(decodeID(key, at, end, mask))
		at = end
	}
	return Path{}, nil, ErrCorruptKey
}
