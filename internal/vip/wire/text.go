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
	seconds, micros := whole(seconds, nanos)
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

// TimeOf is the instant that a value of the kind Time prints as.
func TimeOf(v Value) time.Time {
	seconds, micros := whole(int64(v.Num), v.Nanos)
	return time.Unix(seconds, int64(micros)*1000).UTC()
}

// whole keeps a time within 0001-01-01 to 9999-12-31, which is all that Firestore stores, and rounds it down
// to microseconds.
func whole(seconds int64, nanos int32) (_ int64, micros uint32) {
	return min(max(seconds, -62135596800), 253402300799), uint32(min(max(nanos, 0), 999_999_999)) / 1000
}

// Micros is a time as it prints, in microseconds since 1970.
func (v Value) Micros() int64 {
	seconds, micros := whole(int64(v.Num), v.Nanos)
	return seconds*1_000_000 + int64(micros)
}

// Finite reports whether a double is a number that has an end, which JSON can have.
func (v Value) Finite() bool {
	f := math.Float64frombits(v.Num)
	return !math.IsNaN(f) && !math.IsInf(f, 0)
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
		if v.Finite() {
			return p.Append(dst, v)
		}
	case String, Reference:
		return AppendJSONString(dst, v.Data), nil
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
		dst = append(AppendJSONString(dst, e.key), ':')
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

// AppendJSONString appends s as a JSON string with only the escapes that JSON asks for, and those of U+2028
// and U+2029; a byte that is not UTF-8 becomes an escaped U+FFFD. It is what encoding/json writes with HTML
// escaping off.
func AppendJSONString(dst, s []byte) []byte {
	dst = append(dst, '"')
	from := 0 // s[from:i] is yet to be copied
	for i := 0; i < len(s); {
		if i+8 <= len(s) && plainJSON(binary.LittleEndian.Uint64(s[i:])) {
			i += 8
			continue
		}
		c := s[i]
		n := 1
		if c >= utf8.RuneSelf {
			var r rune
			if r, n = utf8.DecodeRune(s[i:]); r != '\u2028' && r != '\u2029' && (r != utf8.RuneError || n != 1) {
				i += n
				continue
			}
		} else if c >= ' ' && c != '"' && c != '\\' {
			i++
			continue
		}
		dst = appendEscape(append(dst, s[from:i]...), s[i:i+n])
		i += n
		from = i
	}
	return append(append(dst, s[from:]...), '"')
}

// plainJSON reports whether eight characters are of ASCII and need no escape.
func plainJSON(w uint64) bool {
	const ones, highs = 0x01010101_01010101, 0x80808080_80808080
	quote, backslash := w^ones*'"', w^ones*'\\'
	return (w|(w-ones*' ')|(quote-ones)|(backslash-ones))&highs == 0 // of bytes below 0x80 none that matters is missed
}

// appendEscape appends the escape of a character.
func appendEscape(dst, char []byte) []byte {
	switch c := char[0]; c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\b':
		return append(dst, `\b`...)
	case '\f':
		return append(dst, `\f`...)
	case '\n':
		return append(dst, `\n`...)
	case '\r':
		return append(dst, `\r`...)
	case '\t':
		return append(dst, `\t`...)
	default:
		switch {
		case c < ' ':
			return append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&0xf])
		case len(char) == 1:
			return append(dst, `\ufffd`...)
		}
		return append(append(dst, `\u202`...), hexDigits[char[2]&0xf])
	}
}
