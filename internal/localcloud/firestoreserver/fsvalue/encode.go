package fsvalue

import (
	"encoding/binary"
	"maps"
	"math"
	"slices"
	"strings"

	"cloud.google.com/go/firestore/apiv1/firestorepb"
)

// MaxIndexedBytes is the budget of one encoded value; what goes beyond is cut, and then two different values
// may have the same encoding. The piece that crosses the budget may end up to a dozen bytes later.
const MaxIndexedBytes = 1500

// Tags open a value's encoding and order the classes. They leave room, and all are above the terminators that
// may stand in a tag's place (00 to 02).
const (
	tagNull      = 0x05
	tagFalse     = 0x0A
	tagTrue      = 0x0B
	tagNaN       = 0x0F
	tagNumber    = 0x14
	tagTimestamp = 0x19
	tagString    = 0x1E
	tagBytes     = 0x23
	tagReference = 0x28
	tagGeo       = 0x2D
	tagArray     = 0x32
	tagVector    = 0x37
	tagMap       = 0x3C
)

// A byte 00 inside text is followed by one of these. The order matters: an end sorts before a cut, which
// sorts before a number, a literal 00 and any further text.
const (
	endOfPath = 0x00
	endOfText = 0x01
	cutText   = 0x02
	// numberID, at the start of an id only, is followed by the 8 bytes of a number and no end: below every
	// string, above the end of a path.
	numberID = 0x03
	literal0 = 0xFF
)

const numberIDBytes = 2 + wordBytes

// In the place of a next element's tag, these end an array or map.
const (
	endOfList = 0x01
	cutList   = 0x02
)

const (
	signBit = 1 << 63
	// wideNumber is the magnitude from which neighbouring integers round to one double, so that the distance
	// to it must be encoded too.
	wideNumber   = 1 << 53
	residualBias = 1 << 15
)

// AppendValue appends the encoding of v: byte order of encodings is the order of [Compare], and no encoding
// is a prefix of another, so components may be concatenated. Descending complements each byte. truncated
// tells that v went over [MaxIndexedBytes] and equality of encodings no longer proves equality. Timestamps
// must be of whole microseconds (see [PrepareValue]).
func AppendValue(dst []byte, v *Value, d Direction) (out []byte, truncated bool) {
	start := len(dst)
	e := encoder{dst: dst, limit: start + MaxIndexedBytes}
	e.value(v)
	complement(e.dst[start:], d)
	return e.dst, e.cut
}

// AppendIdentity appends what only values share that are equal and of the same types: 1 and 1.0 are two, 0.0
// and -0.0 one, as are all NaN. No identity is a prefix of another.
func AppendIdentity(dst []byte, v *Value) []byte {
	e := encoder{dst: dst, limit: math.MaxInt}
	e.value(v)
	return appendNumberTypes(e.dst, v)
}

// appendNumberTypes appends the type of each number in v, in the order of their encodings.
func appendNumberTypes(dst []byte, v *Value) []byte {
	switch t := v.GetValueType().(type) {
	case *firestorepb.Value_IntegerValue:
		return append(dst, 'i')
	case *firestorepb.Value_DoubleValue:
		return append(dst, 'd')
	case *firestorepb.Value_ArrayValue:
		for _, element := range t.ArrayValue.GetValues() {
			dst = appendNumberTypes(dst, element)
		}
	case *firestorepb.Value_MapValue:
		fields := t.MapValue.GetFields()
		for _, name := range slices.Sorted(maps.Keys(fields)) {
			dst = appendNumberTypes(dst, fields[name])
		}
	}
	return dst
}

func complement(b []byte, d Direction) {
	if d == Ascending {
		return
	}
	for i := range b {
		b[i] = ^b[i]
	}
}

// AppendString appends an id, escaped and terminated: the form of ids in keys.
func AppendString(dst []byte, s string) []byte {
	e := encoder{dst: dst, limit: math.MaxInt}
	e.id(s)
	return e.dst
}

// AppendPath appends the segments of p below the root and the end-of-path mark. Byte order of encodings is
// the order of names inside one database.
func AppendPath(dst []byte, p Path, d Direction) []byte {
	start := len(dst)
	dst = append(AppendPathPrefix(dst, p), 0, endOfPath)
	complement(dst[start:], d)
	return dst
}

// AppendPathPrefix appends the segments without the end mark: the common prefix of p and everything beneath
// it.
func AppendPathPrefix(dst []byte, p Path) []byte {
	e := encoder{dst: dst, limit: math.MaxInt}
	for seg := range p.Segments() {
		e.id(seg)
	}
	return e.dst
}

// PrefixEnd changes prefix in place to the least key greater than all keys that begin with it, and returns
// it; nil when there is none.
func PrefixEnd(prefix []byte) []byte {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i]++; prefix[i] != 0 {
			return prefix[:i+1]
		}
	}
	return nil
}

// encoder writes ascending encodings. Where to cut depends only on the bytes written so far: values that
// agree up to the cut are cut alike.
type encoder struct {
	dst   []byte
	limit int // length of dst at which the budget is used up
	cut   bool
}

func (e *encoder) full() bool { return len(e.dst) >= e.limit }

func (e *encoder) value(v *Value) {
	switch t := v.GetValueType().(type) {
	case *firestorepb.Value_BooleanValue:
		if t.BooleanValue {
			e.dst = append(e.dst, tagTrue)
		} else {
			e.dst = append(e.dst, tagFalse)
		}
	case *firestorepb.Value_IntegerValue:
		e.integer(t.IntegerValue)
	case *firestorepb.Value_DoubleValue:
		e.double(t.DoubleValue)
	case *firestorepb.Value_TimestampValue:
		e.dst = append(e.dst, tagTimestamp)
		e.dst = binary.BigEndian.AppendUint64(e.dst, uint64(t.TimestampValue.GetSeconds())^signBit)
		e.dst = binary.BigEndian.AppendUint32(e.dst, uint32(t.TimestampValue.GetNanos()/1000))
	case *firestorepb.Value_StringValue:
		e.dst = append(e.dst, tagString)
		e.text(t.StringValue)
	case *firestorepb.Value_BytesValue:
		e.dst = append(e.dst, tagBytes)
		e.bytes(t.BytesValue)
	case *firestorepb.Value_ReferenceValue:
		e.reference(t.ReferenceValue)
	case *firestorepb.Value_GeoPointValue:
		e.dst = append(e.dst, tagGeo)
		e.float(t.GeoPointValue.GetLatitude())
		e.float(t.GeoPointValue.GetLongitude())
	case *firestorepb.Value_ArrayValue:
		e.array(t.ArrayValue.GetValues())
	case *firestorepb.Value_MapValue:
		if elements, ok := Vector(v); ok {
			e.vector(elements)
			return
		}
		e.mapping(t.MapValue.GetFields())
	default:
		e.dst = append(e.dst, tagNull)
	}
}

// orderedBits maps doubles to integers of the same order, with -0 as 0 and NaN below -Inf.
func orderedBits(f float64) uint64 {
	if math.IsNaN(f) {
		return 0
	}
	bits := math.Float64bits(f + 0) // -0 + 0 is 0
	if bits&signBit != 0 {
		return ^bits
	}
	return bits | signBit
}

func (e *encoder) float(f float64) {
	e.dst = binary.BigEndian.AppendUint64(e.dst, orderedBits(f))
}

func (e *encoder) double(f float64) {
	if math.IsNaN(f) {
		e.dst = append(e.dst, tagNaN)
		return
	}
	e.number(f, 0)
}

func (e *encoder) integer(i int64) {
	f := float64(i)
	e.number(f, residual(i, f))
}

// number writes the nearest double and, where integers are denser than doubles, the distance to it.
func (e *encoder) number(f float64, residual int64) {
	e.dst = append(e.dst, tagNumber)
	e.float(f)
	if math.Abs(f) >= wideNumber {
		e.dst = binary.BigEndian.AppendUint16(e.dst, uint16(residual+residualBias))
	}
}

// id writes a segment of a name.
func (e *encoder) id(s string) {
	if n, ok := NumericID(s); ok && !e.full() {
		e.dst = append(e.dst, 0, numberID)
		e.dst = binary.BigEndian.AppendUint64(e.dst, uint64(n)^signBit)
		return
	}
	e.text(s)
}

func (e *encoder) text(s string) {
	for len(s) > 0 && !e.full() {
		n := min(len(s), e.limit-len(e.dst))
		if i := strings.IndexByte(s[:n], 0); i >= 0 {
			e.dst = append(e.dst, s[:i]...)
			s = s[i:]
			if e.full() {
				break
			}
			e.dst = append(e.dst, 0, literal0)
			s = s[1:]
			continue
		}
		e.dst = append(e.dst, s[:n]...)
		s = s[n:]
	}
	e.endText(len(s) > 0)
}

func (e *encoder) bytes(b []byte) {
	i := 0
	for ; i < len(b) && !e.full(); i++ {
		e.dst = append(e.dst, b[i])
		if b[i] == 0 {
			e.dst = append(e.dst, literal0)
		}
	}
	e.endText(i < len(b))
}

func (e *encoder) endText(cut bool) {
	if cut {
		e.cut = true
		e.dst = append(e.dst, 0, cutText)
		return
	}
	e.dst = append(e.dst, 0, endOfText)
}

// reference writes project, database and path segments of a full document name. It works on the string so as
// not to allocate.
func (e *encoder) reference(name string) {
	e.dst = append(e.dst, tagReference)
	for n, more := 0, true; more; n++ {
		var seg string
		seg, name, more = strings.Cut(name, "/")
		if n == 0 || n == 2 || n == 4 { // projects, databases, documents
			continue
		}
		if e.id(seg); e.cut {
			return // the cut mark ends the whole reference
		}
	}
	e.dst = append(e.dst, 0, endOfPath)
}

func (e *encoder) array(values []*Value) {
	e.dst = append(e.dst, tagArray)
	for _, v := range values {
		if e.cut || e.full() {
			e.endList(true)
			return
		}
		e.value(v)
	}
	e.endList(e.cut)
}

func (e *encoder) mapping(fields map[string]*Value) {
	var buf [keyBuffer]string
	e.dst = append(e.dst, tagMap)
	for _, k := range sortedKeys(buf[:0], fields) {
		if e.cut || e.full() {
			e.endList(true)
			return
		}
		// The tag keeps keys apart from the end marks, which they may begin with.
		e.dst = append(e.dst, tagString)
		if e.text(k); e.cut || e.full() {
			e.endList(true)
			return
		}
		e.value(fields[k])
	}
	e.endList(e.cut)
}

func (e *encoder) endList(cut bool) {
	if cut {
		e.cut = true
		e.dst = append(e.dst, cutList)
		return
	}
	e.dst = append(e.dst, endOfList)
}

// vector writes the dimension, how many elements follow, and those. The count depends only on what is left of
// the budget, so it does not disturb the order.
func (e *encoder) vector(elements []*Value) {
	e.dst = append(e.dst, tagVector)
	e.dst = binary.BigEndian.AppendUint32(e.dst, uint32(len(elements)))
	n := min(len(elements), max(0, e.limit-len(e.dst))/wordBytes)
	e.dst = binary.BigEndian.AppendUint16(e.dst, uint16(n))
	for _, v := range elements[:n] {
		e.float(v.GetDoubleValue())
	}
	if n < len(elements) {
		e.cut = true
	}
}
