package export

import (
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"exportd/internal/vip"
	"exportd/jobs"
)

// axis numbers the places of a query's order, so that a range can be cut at evenly spaced
// ones. Numbers rise in the order of the query. Where a row lies is decided by the
// database, which compares positions; numbers that are off only make cuts less even.
type axis interface {
	// bounds is the half-open interval of numbers.
	bounds() (lo, hi uint64)
	// position is the cut before the rows of place n.
	position(n uint64) vip.Position
	// place is the number of a row.
	place(vip.Position) uint64
	// next is the finer axis for rows that are all at one place, first being the first of
	// them; nil if there is none. count counts within the piece.
	next(first vip.Position, count counter, rows int64) (axis, error)
}

type counter func(vip.Range) (int64, error)

// keyAxis is the axis of the query's sort key, which descends.
func keyAxis(q vip.Query) axis {
	if q.Kind == jobs.KindMessages {
		return timeAxis{newest: q.To.UnixMicro() - 1, oldest: q.From.UnixMicro()}
	}
	return doubleAxis{}
}

// timeAxis numbers the microseconds of the window from the newest down.
type timeAxis struct{ newest, oldest int64 }

func (a timeAxis) bounds() (lo, hi uint64) { return 0, uint64(a.newest-a.oldest) + 1 }

func (a timeAxis) position(n uint64) vip.Position {
	return vip.Position{Key: vip.TimeKey(time.UnixMicro(a.newest - int64(n)))}
}

func (a timeAxis) place(p vip.Position) uint64 {
	t, ok := vip.KeyTime(p.Key)
	if !ok {
		return 0
	}
	return uint64(a.newest - min(max(t.UnixMicro(), a.oldest), a.newest))
}

func (timeAxis) next(first vip.Position, count counter, rows int64) (axis, error) {
	return newIDAxis(first, "", count, rows)
}

// doubleAxis numbers the doubles from +Inf down to -Inf: the bits of a double, read as an
// integer, are in the order of its value, so cuts are even over magnitudes, as exponential
// keys need. Keys of other types lie before and after all numbers.
type doubleAxis struct{}

func (doubleAxis) number(f float64) uint64 {
	b := math.Float64bits(f)
	if b>>63 == 0 {
		b |= 1 << 63
	} else {
		b = ^b
	}
	return ^b
}

func (a doubleAxis) bounds() (lo, hi uint64) {
	return a.number(math.Inf(1)), a.number(math.Inf(-1)) + 1
}

func (doubleAxis) position(n uint64) vip.Position {
	b := ^n
	if b>>63 == 1 {
		b &^= 1 << 63
	} else {
		b = ^b
	}
	return vip.Position{Key: vip.DoubleKey(math.Float64frombits(b))}
}

func (a doubleAxis) place(p vip.Position) uint64 {
	lo, hi := a.bounds()
	f, ok := vip.KeyDouble(p.Key)
	if !ok || math.IsNaN(f) {
		return lo
	}
	return min(max(a.number(f), lo), hi-1)
}

func (doubleAxis) next(first vip.Position, count counter, rows int64) (axis, error) {
	return newIDAxis(first, "", count, rows)
}

const (
	// idDigits are the characters that cuts between ids are made of, in the order of their
	// bytes: what ids usually consist of, and no slash.
	idDigits = "-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz~"
	// idPlaces is how many characters behind the prefix are looked at: 65^10 < 2^64.
	idPlaces = 10
	// afterAll sorts after any character that an id can have.
	afterAll = "\U0010FFFF"
)

// idAxis numbers the ids that share a sort key and a prefix by the characters that follow.
type idAxis struct {
	key    []byte
	prefix string
}

// newIDAxis finds the longest prefix of the first row's id that all the rows share, so
// that ids like message-00000001 are cut where they differ. nil when that is no
// longer than the prefix at hand: nothing finer is to be had.
func newIDAxis(first vip.Position, have string, count counter, rows int64) (axis, error) {
	lo, hi := 0, len(first.ID) // all rows share lo bytes; hi+1 are too many
	for lo < hi {
		mid := (lo + hi + 1) / 2
		cut := runeStart(first.ID, mid)
		if cut <= lo {
			break
		}
		n, err := count(vip.Range{
			From: &vip.Position{Key: first.Key, ID: first.ID[:cut]},
			To:   &vip.Position{Key: first.Key, ID: first.ID[:cut] + afterAll},
		})
		switch {
		case err != nil:
			return nil, err
		case n == rows:
			lo = cut
		default:
			hi = cut - 1
		}
	}
	if have != "" && lo <= len(have) {
		return nil, nil
	}
	return idAxis{key: first.Key, prefix: first.ID[:lo]}, nil
}

// runeStart moves i back to the start of a character.
func runeStart(s string, i int) int {
	for i > 0 && i < len(s) && !utf8.RuneStart(s[i]) {
		i--
	}
	return i
}

func (idAxis) bounds() (lo, hi uint64) {
	hi = 1
	for range idPlaces {
		hi *= uint64(len(idDigits))
	}
	return 0, hi
}

func (a idAxis) position(n uint64) vip.Position {
	var b [idPlaces]byte
	for i := idPlaces - 1; i >= 0; i-- {
		b[i] = idDigits[n%uint64(len(idDigits))]
		n /= uint64(len(idDigits))
	}
	return vip.Position{Key: a.key, ID: a.prefix + string(b[:])}
}

func (a idAxis) place(p vip.Position) uint64 {
	rest, ok := strings.CutPrefix(p.ID, a.prefix)
	if !ok {
		return 0
	}
	var n uint64
	for i := range idPlaces {
		d := 0
		if i < len(rest) {
			for d+1 < len(idDigits) && idDigits[d+1] <= rest[i] {
				d++
			}
		}
		n = n*uint64(len(idDigits)) + uint64(d)
	}
	return n
}

func (a idAxis) next(first vip.Position, count counter, rows int64) (axis, error) {
	return newIDAxis(first, a.prefix+"-", count, rows)
}
