// Package wire reads Firestore documents in the form in which they arrive: the protobuf bytes of
// google.firestore.v1.Document. It splits documents into fields without allocating, and it holds the one rule
// by which a value of any type becomes text, so that an exported cell and a listed row never disagree.
//
// # Values as text
//
// Every value prints in the form of the type it is stored with, whatever type its field should have:
//
//   - missing, null, and types this package does not know: nothing
//   - string: itself
//   - boolean: true, false
//   - integer: decimal
//   - double: the shortest decimal that reads back to the same double, written
//     out in full from 1e-6 up to 1e21 and with an exponent outside of it, as
//     JSON does; NaN, Infinity, -Infinity; negative zero is -0
//   - timestamp: UTC with microseconds, 2026-01-02T03:04:05.678901Z
//   - bytes: standard base64 with padding
//   - reference: the full resource name
//   - geo point, array, map: compact JSON, map keys in byte order, with nested
//     values in the forms above (NaN and the infinities as JSON strings)
//
// Malformed bytes are the only error: [ErrMalformed]. A field that is sent twice counts as its last
// occurrence, as in protobuf.
package wire

import (
	"encoding/binary"
	"errors"
)

// ErrMalformed says that bytes are not a well-formed protobuf message of the type they should be. It never
// stands for an unexpected field type.
var ErrMalformed = errors.New("malformed document bytes")

// Kind is the stored type of a value.
type Kind uint8

// The kinds of a value. None is an unset value, or one of a type that this package does not know; it prints
// as nothing.
const (
	None Kind = iota
	Null
	Bool
	Int
	Double
	Time
	String
	Bytes
	Reference
	Geo
	Array
	Map
)

// Value is one parsed google.firestore.v1.Value. It refers to the bytes it was parsed from.
type Value struct {
	Kind  Kind
	Nanos int32  // Time: nanoseconds within the second
	Num   uint64 // Bool, Int and Double as their bits; Time: the bits of its int64 seconds since 1970
	Data  []byte // String, Bytes, Reference: the content; Geo, Array, Map: the inner message
}

// Tags of google.firestore.v1.Value: field number << 3 | wire type.
const (
	tagBool      = 1<<3 | typeVarint
	tagInt       = 2<<3 | typeVarint
	tagDouble    = 3<<3 | typeFixed64
	tagReference = 5<<3 | typeBytes
	tagMap       = 6<<3 | typeBytes
	tagGeo       = 8<<3 | typeBytes
	tagArray     = 9<<3 | typeBytes
	tagTime      = 10<<3 | typeBytes
	tagNull      = 11<<3 | typeVarint
	tagString    = 17<<3 | typeBytes
	tagBytes     = 18<<3 | typeBytes
)

// Wire types of protobuf.
const (
	typeVarint  = 0
	typeFixed64 = 1
	typeBytes   = 2
	typeFixed32 = 5
)

// Parse reads one value.
func Parse(b []byte) (Value, error) {
	// Nearly every value is one field in the shortest form.
	if len(b) >= 2 {
		switch b[0] {
		case tagString&0x7f | 0x80:
			if s, ok := Text(b); ok {
				return Value{Kind: String, Data: s}, nil
			}
		case tagDouble:
			if len(b) == 9 {
				return Value{Kind: Double, Num: binary.LittleEndian.Uint64(b[1:])}, nil
			}
		case tagTime:
			if seconds, nanos, ok := shortTime(b); ok {
				return Value{Kind: Time, Num: seconds, Nanos: nanos}, nil
			}
		case tagArray, tagMap:
			if n, from := shortLength(b, 1); from+n == len(b) && from > 0 {
				v := Value{Kind: Array, Data: b[from:]}
				if b[0] == tagMap {
					v.Kind = Map
				}
				return v, nil
			}
		}
	}
	return parse(b)
}

// shortLength reads a length of one or two bytes at b[i]. from is where the content begins; 0 says nothing.
func shortLength(b []byte, i int) (n, from int) {
	n = int(b[i])
	if n < 0x80 {
		return n, i + 1
	}
	if i+1 >= len(b) || b[i+1] >= 0x80 {
		return 0, 0
	}
	return n&0x7f | int(b[i+1])<<7, i + 2
}

// shortTime reads a timestamp value as encoders write it for years from 2004 to 2106: five bytes of seconds,
// then one to five of nanoseconds where they are not zero. Both varints are taken out of one load of eight
// bytes each.
func shortTime(b []byte) (seconds uint64, nanos int32, ok bool) {
	if len(b) < 8 || len(b) > 14 || int(b[1]) != len(b)-2 || b[2] != 1<<3|typeVarint {
		return 0, 0, false
	}
	s := binary.LittleEndian.Uint64(b) >> 24
	if s&0x80_80808080 != 0x00_80808080 {
		return 0, 0, false
	}
	if len(b) == 8 {
		return sevenths(s), 0, true
	}
	size := uint(len(b) - 9)
	n := binary.LittleEndian.Uint64(b[len(b)-8:]) >> (64 - 8*size)
	last := uint64(0x80) << (8 * size) >> 8
	if size == 0 || b[8] != 2<<3|typeVarint || n&0x80_80808080 != (last-1)&0x80_80808080 {
		return 0, 0, false
	}
	return sevenths(s), int32(sevenths(n)), true
}

// sevenths joins the low seven bits of the five low bytes of v.
func sevenths(v uint64) uint64 {
	return v&0x7f | v>>1&(0x7f<<7) | v>>2&(0x7f<<14) | v>>3&(0x7f<<21) | v>>4&(0x7f<<28)
}

// Text is a short cut of [Parse] for the bytes of a string as every encoder writes it, up to 16 KiB. ok false
// says nothing: Parse then knows.
func Text(b []byte) (s []byte, ok bool) {
	// Two bytes of tag, one or two of length, the content.
	if len(b) < 4 || b[0] != tagString&0x7f|0x80 || b[1] != tagString>>7 {
		return nil, false
	}
	n, from := int(b[2]), 3
	if n >= 0x80 {
		if b[3] >= 0x80 {
			return nil, false
		}
		n, from = n&0x7f|int(b[3])<<7, 4
	}
	return b[from:], n == len(b)-from
}

// TextAt is Text for the value doc[from:to]: it gives where the text begins, 0 if it says nothing.
func TextAt(doc []byte, from, to int) uint32 {
	if to-from < 4 || doc[from] != tagString&0x7f|0x80 || doc[from+1] != tagString>>7 {
		return 0
	}
	n := int(doc[from+2])
	from += 3
	if n >= 0x80 {
		if doc[from] >= 0x80 {
			return 0
		}
		n = n&0x7f | int(doc[from])<<7
		from++
	}
	if n != to-from {
		return 0
	}
	return uint32(from)
}

func parse(b []byte) (Value, error) {
	var v Value
	for i := 0; i < len(b); {
		f := next(b, i)
		if f.end < 0 {
			return Value{}, ErrMalformed
		}
		i = f.end
		switch f.tag {
		case tagString:
			v = Value{Kind: String, Data: b[f.from:f.end]}
		case tagBytes:
			v = Value{Kind: Bytes, Data: b[f.from:f.end]}
		case tagReference:
			v = Value{Kind: Reference, Data: b[f.from:f.end]}
		case tagGeo:
			v = Value{Kind: Geo, Data: b[f.from:f.end]}
		case tagArray:
			v = Value{Kind: Array, Data: b[f.from:f.end]}
		case tagMap:
			v = Value{Kind: Map, Data: b[f.from:f.end]}
		case tagTime:
			var ok bool
			if v, ok = parseTime(b[f.from:f.end]); !ok {
				return Value{}, ErrMalformed
			}
		case tagNull:
			v = Value{Kind: Null}
		case tagBool:
			v = Value{Kind: Bool, Num: min(f.num, 1)}
		case tagInt:
			v = Value{Kind: Int, Num: f.num}
		case tagDouble:
			v = Value{Kind: Double, Num: f.num}
		}
	}
	return v, nil
}

// parseTime reads a google.protobuf.Timestamp.
func parseTime(b []byte) (Value, bool) {
	v := Value{Kind: Time}
	for i := 0; i < len(b); {
		f := next(b, i)
		if f.end < 0 {
			return Value{}, false
		}
		i = f.end
		switch f.tag {
		case 1<<3 | typeVarint:
			v.Num = f.num
		case 2<<3 | typeVarint:
			v.Nanos = int32(f.num)
		}
	}
	return v, true
}

// parseGeo reads a google.type.LatLng, both as bits of a double.
func parseGeo(b []byte) (lat, lng uint64, ok bool) {
	for i := 0; i < len(b); {
		f := next(b, i)
		if f.end < 0 {
			return 0, 0, false
		}
		i = f.end
		switch f.tag {
		case 1<<3 | typeFixed64:
			lat = f.num
		case 2<<3 | typeFixed64:
			lng = f.num
		}
	}
	return lat, lng, true
}

// field is one protobuf field inside a message.
type field struct {
	tag  uint64
	num  uint64 // the number of a varint or fixed field
	from int    // where the content of a length-delimited field begins
	end  int    // where the next field begins; -1: malformed
}

// next reads the field that begins at b[i].
func next(b []byte, i int) field {
	tag, i := uvarint(b, i)
	if i < 0 || tag>>3 == 0 {
		return field{end: -1}
	}
	switch tag & 7 {
	case typeVarint:
		num, i := uvarint(b, i)
		return field{tag: tag, num: num, end: i}
	case typeBytes:
		n, i := uvarint(b, i)
		if i < 0 || n > uint64(len(b)-i) {
			return field{end: -1}
		}
		return field{tag: tag, from: i, end: i + int(n)}
	case typeFixed64:
		if len(b)-i < 8 {
			return field{end: -1}
		}
		return field{tag: tag, num: binary.LittleEndian.Uint64(b[i:]), end: i + 8}
	case typeFixed32:
		if len(b)-i < 4 {
			return field{end: -1}
		}
		return field{tag: tag, end: i + 4}
	}
	return field{end: -1} // groups: not in any message of Firestore
}

// uvarint reads the varint at b[i] and says where the next byte is; -1 where the varint is cut off or longer
// than 64 bits.
func uvarint(b []byte, i int) (uint64, int) {
	if i < len(b) && b[i] < 0x80 {
		return uint64(b[i]), i + 1
	}
	return longUvarint(b, i)
}

//go:noinline
func longUvarint(b []byte, i int) (uint64, int) {
	if uint(i) > uint(len(b)) {
		return 0, -1
	}
	var v uint64
	for n, c := range b[i:min(i+10, len(b))] {
		if c < 0x80 {
			if n == 9 && c > 1 {
				return 0, -1
			}
			return v | uint64(c)<<(7*n), i + n + 1
		}
		v |= uint64(c&0x7f) << (7 * n)
	}
	return 0, -1
}
