package export

import (
	"math"
	"time"

	"exportd/internal/dataset"
	"exportd/internal/vip"
)

// axis numbers the places of a query's order, so that a range can be cut at evenly spaced ones. Numbers rise
// in the order of the query. Where a row lies is decided by the database, which compares positions; numbers
// that are off only make cuts less even.
type axis interface {
	// bounds is the half-open interval of numbers.
	bounds() (lo, hi uint64)
	// position is the cut before the rows of place n.
	position(n uint64) vip.Position
	// indexOf is the number of a row.
	indexOf(vip.Position) uint64
	// next is the finer axis for rows that are all at one place, first being the first of them; nil if there
	// is none. count counts within the piece.
	next(first vip.Position, count counter, rows int64) (axis, error)
}

type counter func(vip.Range) (int64, error)

// keyAxis is the axis of the sort key.
func keyAxis(d *dataset.Dataset, q vip.Query) axis {
	var a axis
	switch d.Sort.Type {
	case dataset.Time:
		t := timeAxis{newest: lastTime, oldest: firstTime}
		if d.Window != nil {
			t = timeAxis{newest: q.To.UnixMicro() - 1, oldest: q.From.UnixMicro()}
		}
		a = t
	case dataset.Number:
		a = doubleAxis{}
	default:
		return textKeys{q.Ascending}
	}
	if q.Ascending {
		return ascending{a}
	}
	return a
}

// firstTime and lastTime are the times that Firestore stores, in microseconds since 1970: of the years 1 to
// 9999.
var (
	firstTime = time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()
	lastTime  = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro() - 1
)

// ascending turns an axis of single keys, which descend, around. What is in the order of the ids behind it
// stays.
type ascending struct{ axis }

func (a ascending) flip(n uint64) uint64 {
	lo, hi := a.axis.bounds()
	return hi - 1 - (n - lo)
}

func (a ascending) position(n uint64) vip.Position { return a.axis.position(a.flip(n)) }
func (a ascending) indexOf(p vip.Position) uint64  { return a.flip(a.axis.indexOf(p)) }

// timeAxis numbers the microseconds of the window from the newest down.
type timeAxis struct{ newest, oldest int64 }

func (a timeAxis) bounds() (lo, hi uint64) { return 0, uint64(a.newest-a.oldest) + 1 }

func (a timeAxis) position(n uint64) vip.Position {
	return vip.Position{Key: vip.TimeKey(time.UnixMicro(a.newest - int64(n)))}
}

func (a timeAxis) indexOf(p vip.Position) uint64 {
	t, ok := vip.KeyTime(p.Key)
	if !ok {
		return 0
	}
	return uint64(a.newest - min(max(t.UnixMicro(), a.oldest), a.newest))
}

func (timeAxis) next(first vip.Position, count counter, rows int64) (axis, error) {
	return idAxisFrom(first, count, rows)
}

// doubleAxis numbers the doubles from +Inf down to -Inf: the bits of a double, read as an integer, are in the
// order of its value, so cuts are even over magnitudes, as exponential keys need. Keys of other types lie
// before and after all numbers.
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

func (a doubleAxis) indexOf(p vip.Position) uint64 {
	lo, hi := a.bounds()
	f, ok := vip.KeyDouble(p.Key)
	if !ok || math.IsNaN(f) {
		return lo
	}
	return min(max(a.number(f), lo), hi-1)
}

func (doubleAxis) next(first vip.Position, count counter, rows int64) (axis, error) {
	return idAxisFrom(first, count, rows)
}
