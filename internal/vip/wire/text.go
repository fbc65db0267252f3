package wire

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"math"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"
)

// maxDepth bounds the nesting that a Printer follows; what is deeper prints as null. Firestore stores at most
// 20 levels.
const maxDepth = 64

// Printer turns values into text; see the package comment for the rule. It keeps scratch space between calls,
// so that printing does not allocate in the long run. The zero Printer is ready. It is not safe for
// concurrent use.
type Printer struct {
	entries []entry  // sorts the keys of maps, as a stack while maps nest
	day     int64    // when the day begins that date spells, in seconds since 1970
	date    [27]byte // 2006-01-02T00:00:00.000000Z, or nothing yet
}

type entry struct{ key, value []byte }

// Append appends the text of v to dst.
func (p *Printer) Append(dst []byte, v Value) ([]byte, error) {
	switch v.Kind {
	case None, Null:
		return dst, nil
	case String, Reference:
		return append(dst, v.Data...), nil
	case Bool:
		return strconv.AppendBool(dst, v.Num != 0), nil
	case Int:
		return strconv.AppendInt(dst, int64(v.Num), 10), nil
	case Double:
		return AppendDouble(dst, math.Float64frombits(v.Num)), nil
	case Time:
		return p.appendTime(dst, int64(v.Num), v.Nanos), nil
	case Bytes:
		return base64.StdEncoding.AppendEncode(dst, v.Data), nil
	}
	return p.appendJSON(dst, v, 0)
}

// AppendDouble appends f in the form that the package comment describes.
func AppendDouble(dst []byte, f float64) []byte {
	switch abs := math.Abs(f); {
	case math.IsNaN(f):
		return append(dst, "NaN"...)
	case math.IsInf(f, 1):
		return append(dst, "Infinity"...)
	case math.IsInf(f, -1):
		return append(dst, "-Infinity"...)
	case abs < 1e13 && (abs >= 0.01 || f == 0 && !math.Signbit(f)):
		if n := int64(math.RoundToEven(abs * 100)); float64(n)/100 == abs {
			return appendHundredths(dst, uint64(n), f < 0)
		}
	case abs != 0 && (abs < 1e-6 || abs >= 1e21):
		dst = strconv.AppendFloat(dst, f, 'e', -1, 64)
		// 1e-07 is written 1e-7, as in JSON.
		if n := len(dst); n >= 4 && dst[n-4] == 'e' && dst[n-3] == '-' && dst[n-2] == '0' {
			dst[n-2] = dst[n-1]
			dst = dst[:n-1]
		}
		return dst
	}
	return strconv.AppendFloat(dst, f, 'f', -1, 64)
}

// AppendShortTime is a short cut of [Parse] and [Printer.Append] for the bytes of a timestamp of the years
// 2004 to 2106 as encoders write it. ok false says nothing: they then know.
func (p *Printer) AppendShortTime(dst, b []byte) (_ []byte, ok bool) {
	if len(b) < 8 || b[0] != tagTime {
		return dst, false
	}
	seconds, nanos, ok := shortTime(b)
	if !ok {
		return dst, false
	}
	return p.appendTime(dst, int64(seconds), nanos), true
}

// appendHundredths appends n/100. As it has at most 15 digits, no other decimal of as many is the same
// double, and so none is shorter: amounts of money need no search for the shortest.
func appendHundredths(dst []byte, n uint64, negative bool) []byte {
	if negative {
		dst = append(dst, '-')
	}
	dst = strconv.AppendUint(dst, n/100, 10)
	switch rest := n % 100; {
	case rest == 0:
	case rest%10 == 0:
		dst = append(dst, '.', '0'+byte(rest/10))
	default:
		dst = append(dst, '.', '0'+byte(rest/10), '0'+byte(rest%10))
	}
	return dst
}

const secondsPerDay = 24 * 60 * 60

// appendTime appends a time in UTC with microseconds, rounded down. The date is worked out once for a run of
// times on the same day, as in sorted rows.
func (p *Printer) appendTime(dst []byte, seconds int64, nanos int32) []byte {
	// 0001-01-01 to 9999-12-31 is all that Firestore stores.
	seconds = min(max(seconds, -62135596800), 253402300799)
	micros := uint32(min(max(nanos, 0), 999_999_999)) / 1000
	rest := uint64(seconds - p.day)
	if rest >= secondsPerDay || p.date[0] == 0 {
		rest = uint64((seconds%secondsPerDay + secondsPerDay) % secondsPerDay)
		p.day = seconds - int64(rest)
		year, month, d := time.Unix(p.day, 0).UTC().Date() // of four digits; users' times are on any day
		p.date = [27]byte([]byte("0000-00-00T00:00:00.000000Z"))
		put2(p.date[0:], uint32(year/100))
		put2(p.date[2:], uint32(year%100))
		put2(p.date[5:], uint32(month))
		put2(p.date[8:], uint32(d))
	}
	n := len(dst)
	dst = slices.Grow(dst, len(p.date))[:n+len(p.date)]
	t := (*[27]byte)(dst[n:])
	*t = p.date
	second := uint32(rest)
	put2(t[11:], second/3600)
	put2(t[14:], second/60%60)
	put2(t[17:], second%60)
	put2(t[20:], micros/10000)
	put2(t[22:], micros/100%100)
	put2(t[24:], micros%100)
	return dst
}

// put2 writes two decimal digits.
func put2(b []byte, n uint32) { binary.LittleEndian.PutUint16(b, digits[n&127]) }

// digits are the two digits of each number below 100, the first one low.
var digits = func() (table [128]uint16) {
	for n := range 100 {
		table[n] = uint16('0'+n/10) | uint16('0'+n%10)<<8
	}
	return table
}()

// appendJSON appends v as compact JSON.
func (p *Printer) appendJSON(dst []byte, v Value, depth int) ([]byte, error) {
	if depth > maxDepth {
		return append(dst, "null"...), nil
	}
	switch v.Kind {
	case None, Null:
		return append(dst, "null"...), nil
	case Bool, Int:
		return p.Append(dst, v)
	case Double:
		if f := math.Float64frombits(v.Num); !math.IsNaN(f) && !math.IsInf(f, 0) {
			return AppendDouble(dst, f), nil
		}
	case String, Reference:
		return appendJSONString(dst, v.Data), nil
	case Geo:
		return appendGeo(dst, v.Data)
	case Array:
		return p.appendArray(dst, v, depth)
	case Map:
		return p.appendMap(dst, v, depth)
	}
	dst = append(dst, '"') // times, base64, NaN: nothing in them needs an escape
	dst, err := p.Append(dst, v)
	return append(dst, '"'), err
}

func (p *Printer) appendArray(dst []byte, v Value, depth int) ([]byte, error) {
	dst = append(dst, '[')
	items := Elements(v)
	for first := true; items.Next(); first = false {
		if !first {
			dst = append(dst, ',')
		}
		element, err := Parse(items.Value)
		if err != nil {
			return dst, err
		}
		if dst, err = p.appendJSON(dst, element, depth+1); err != nil {
			return dst, err
		}
	}
	return append(dst, ']'), items.Err()
}

func (p *Printer) appendMap(dst []byte, v Value, depth int) ([]byte, error) {
	base := len(p.entries)
	defer func() {
		clear(p.entries[base:])
		p.entries = p.entries[:base]
	}()
	fields := MapFields(v)
	for fields.Next() {
		p.entries = append(p.entries, entry{fields.Key, fields.Value})
	}
	if err := fields.Err(); err != nil {
		return dst, err
	}
	end := len(p.entries)
	slices.SortStableFunc(p.entries[base:end], func(a, b entry) int { return bytes.Compare(a.key, b.key) })
	dst = append(dst, '{')
	for i, written := base, false; i < end; i++ {
		e := p.entries[i] // by index: a nested map may move the stack
		if i+1 < end && bytes.Equal(e.key, p.entries[i+1].key) {
			continue // sent twice: the last one counts
		}
		if written {
			dst = append(dst, ',')
		}
		written = true
		dst = append(appendJSONString(dst, e.key), ':')
		value, err := Parse(e.value)
		if err != nil {
			return dst, err
		}
		if dst, err = p.appendJSON(dst, value, depth+1); err != nil {
			return dst, err
		}
		p.entries = p.entries[:end]
	}
	return append(dst, '}'), nil
}

func appendGeo(dst, msg []byte) ([]byte, error) {
	lat, lng, ok := parseGeo(msg)
	if !ok {
		return dst, ErrMalformed
	}
	dst = AppendDouble(append(dst, `{"latitude":`...), math.Float64frombits(lat))
	dst = AppendDouble(append(dst, `,"longitude":`...), math.Float64frombits(lng))
	return append(dst, '}'), nil
}

const hexDigits = "0123456789abcdef"

// appendJSONString appends s as a JSON string with only the escapes that JSON asks for, and those of U+2028
// and U+2029; a byte that is not UTF-8 becomes an escaped U+FFFD. It is what encoding/json writes with HTML
// escaping off.
func appendJSONString(dst, s []byte) []byte {
	dst = append(dst, '"')
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRune(s[i:])
			switch {
			case r == utf8.RuneError && n == 1:
				dst = append(dst, `\ufffd`...)
			case r == '\u2028' || r == '\u2029':
				dst = append(dst, `\u202`...)
				dst = append(dst, hexDigits[r&0xf])
			default:
				dst = append(dst, s[i:i+n]...)
			}
			i += n
			continue
		}
		i++
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\b':
			dst = append(dst, `\b`...)
		case '\f':
			dst = append(dst, `\f`...)
		case '\n':
			dst = append(dst, `\n`...)
		case '\r':
			dst = append(dst, `\r`...)
		case '\t':
			dst = append(dst, `\t`...)
		default:
			if c < ' ' {
				dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&0xf])
			} else {
				dst = append(dst, c)
			}
		}
	}
	return append(dst, '"')
}
