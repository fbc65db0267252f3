package export

import (
	"math"
	"strings"
	"unicode/utf8"

	"exportd/internal/vip"
)

// Rows that share a sort key are cut by their ids. Ids that are numbers (__id7__) come before all others, by
// their value; the others are cut by the characters behind the prefix that all of them share. No cut is an id
// that Firestore refuses.

// idAxisFrom is the axis of the ids of rows that are at one place of the sort key.
func idAxisFrom(first vip.Position, count counter, rows int64) (axis, error) {
	if _, ok := vip.NumericID(first.ID); ok {
		return numberAxis{first.Key}, nil
	}
	prefix, err := sharedPrefix(first, 0, count, rows)
	if err != nil {
		return nil, err
	}
	return newTextAxis(first.Key, prefix, usual)
}

// numberAxis numbers the ids that are numbers from the least up, which lack 0; all others are at its last
// place.
type numberAxis struct{ key []byte }

// numbers is how many of them have a place of their own: all but the largest.
const numbers = math.MaxUint64 - 1

func (numberAxis) bounds() (lo, hi uint64) { return 0, numbers + 1 }

func (a numberAxis) position(n uint64) vip.Position {
	if n >= numbers {
		return vip.Position{Key: a.key, ID: vip.TextFloor}
	}
	i := int64(n ^ 1<<63)
	if i >= 0 {
		i++ // there is no 0
	}
	return vip.Position{Key: a.key, ID: vip.NumericIDOf(i)}
}

func (a numberAxis) indexOf(p vip.Position) uint64 {
	i, ok := vip.NumericID(p.ID)
	if !ok || !sameKey(a.key, p.Key) {
		return numbers
	}
	if i > 0 {
		i--
	}
	return min(uint64(i)^1<<63, numbers)
}

func (numberAxis) next(first vip.Position, count counter, rows int64) (axis, error) {
	if _, ok := vip.NumericID(first.ID); ok {
		return nil, nil // one row or two are at a place
	}
	return idAxisFrom(first, count, rows)
}

// alphabet is the characters that cuts are made of, in the order of their bytes, and how many of them a cut
// has behind its prefix: size^places < 2^64.
type alphabet interface {
	size() uint64
	length() int
	// widest is the bytes of the longest character.
	widest() int
	char(digit uint64) rune
	// floor is the last digit whose character is not above r; ok is false where there is none.
	floor(r rune) (digit uint64, ok bool)
}

// usual is what ids usually consist of.
const usual = asciiAlphabet("-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz~")

type asciiAlphabet string

func (a asciiAlphabet) size() uint64       { return uint64(len(a)) }
func (asciiAlphabet) length() int          { return 10 }
func (asciiAlphabet) widest() int          { return 1 }
func (a asciiAlphabet) char(d uint64) rune { return rune(a[d]) }

func (a asciiAlphabet) floor(r rune) (uint64, bool) {
	for d := len(a) - 1; d >= 0; d-- {
		if rune(a[d]) <= r {
			return uint64(d), true
		}
	}
	return 0, false
}

// everyScript is each character from the blank up that a legal id may have. It parts any two ids, but takes
// more passes than the usual alphabet for those that are made of that.
type everyScript struct{}

// surrogates are no characters; a slash is not in an id.
const (
	surrogateMin, surrogateMax = 0xD800, 0xDFFF
	surrogates                 = surrogateMax - surrogateMin + 1
)

func (everyScript) size() uint64 { return utf8.MaxRune - ' ' + 1 - surrogates - 1 }
func (everyScript) length() int  { return 3 }
func (everyScript) widest() int  { return utf8.UTFMax }

func (everyScript) char(d uint64) rune {
	r := rune(d) + ' '
	if r >= '/' {
		r++
	}
	if r >= surrogateMin {
		r += surrogates
	}
	return r
}

func (everyScript) floor(r rune) (uint64, bool) {
	if r < ' ' {
		return 0, false
	}
	if r > surrogateMax {
		r -= surrogates
	}
	if r >= '/' {
		r--
	}
	return uint64(r - ' '), true
}

// textAxis numbers the ids that share a sort key and a prefix by the characters that follow.
type textAxis struct {
	key    []byte
	prefix string
	alphabet
	digits int
}

// newTextAxis gives nil where the longest ids leave no room for a cut behind the prefix.
func newTextAxis(key []byte, prefix string, a alphabet) (axis, error) {
	room := (vip.MaxIDBytes - 1 - len(prefix)) / a.widest() // 1: what a reserved id is moved by
	if room < 1 {
		return nil, nil
	}
	return textAxis{key, prefix, a, min(a.length(), room)}, nil
}

// power is size^n.
func (a textAxis) power(n int) uint64 {
	p := uint64(1)
	for range n {
		p *= a.size()
	}
	return p
}

func (a textAxis) bounds() (lo, hi uint64) { return 0, a.power(a.digits) }

// text is the prefix and the characters of a number.
func (a textAxis) text(n uint64) string {
	chars := make([]rune, a.digits)
	for i := a.digits - 1; i >= 0; i-- {
		chars[i] = a.char(n % a.size())
		n /= a.size()
	}
	return a.prefix + string(chars)
}

func (a textAxis) position(n uint64) vip.Position {
	return vip.Position{Key: a.key, ID: vip.LegalID(a.text(n))}
}

// indexOf is the last number whose position is not behind the row: a cut there or before it leaves the row
// where it is.
func (a textAxis) indexOf(p vip.Position) uint64 {
	if !sameKey(a.key, p.Key) {
		_, end := a.bounds()
		return end - 1
	}
	n := a.floor(p.ID)
	if n > 0 && a.position(n).ID > p.ID { // it was moved from a reserved id
		n--
	}
	return n
}

// floor is the last number whose text is not behind s, 0 where there is none.
func (a textAxis) floor(s string) uint64 {
	_, end := a.bounds()
	rest, ok := strings.CutPrefix(s, a.prefix)
	if !ok {
		if s > a.prefix {
			return end - 1
		}
		return 0
	}
	var n uint64
	for left := a.digits; left > 0; left-- {
		r, size := utf8.DecodeRuneInString(rest)
		d, ok := a.alphabet.floor(r)
		if size == 0 || !ok { // before all that begin like this
			return max(n*a.power(left), 1) - 1
		}
		n = n*a.size() + d
		if a.char(d) != r { // behind all that begin like this
			return (n+1)*a.power(left-1) - 1
		}
		rest = rest[size:]
	}
	return n
}

// next goes on behind what the rows share by now. Where that is no more than before, the usual characters do
// not part them.
func (a textAxis) next(first vip.Position, count counter, rows int64) (axis, error) {
	if !sameKey(a.key, first.Key) { // the keys at one place of the sort key's axis may differ
		return idAxisFrom(first, count, rows)
	}
	prefix, err := sharedPrefix(first, len(a.prefix), count, rows)
	switch {
	case err != nil:
		return nil, err
	case len(prefix) > len(a.prefix):
		return newTextAxis(first.Key, prefix, usual)
	case a.alphabet == alphabet(usual):
		return newTextAxis(first.Key, prefix, everyScript{})
	}
	return nil, nil
}

// sharedPrefix finds the longest prefix of the first row's id that all the rows share, so that ids like
// message-00000001 are cut where they differ. They share have bytes of it for sure.
func sharedPrefix(first vip.Position, have int, count counter, rows int64) (string, error) {
	var ends []int // of the characters behind
	for i, r := range first.ID {
		if end := i + utf8.RuneLen(r); i >= have && end <= vip.MaxPrefixBytes {
			ends = append(ends, end)
		}
	}
	shared, above := 0, len(ends)+1 // all rows share the first of ends, above of them are too many
	for above-shared > 1 {
		mid := (shared + above) / 2
		n, err := count(vip.Range{To: &vip.Position{Key: first.Key, ID: vip.AfterPrefix(first.ID[:ends[mid-1]])}})
		if err != nil {
			return "", err
		}
		if n == rows {
			shared = mid
		} else {
			above = mid
		}
	}
	if shared > 0 {
		have = ends[shared-1]
	}
	return first.ID[:have], nil
}

func sameKey(a, b []byte) bool {
	order, ok := vip.CompareKeys(a, b)
	return ok && order == 0
}
