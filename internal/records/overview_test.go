package records

import (
	"testing"
	"time"
)

// TestFan: the pieces of a window lie end to end, none is empty, and each is whole microseconds.
func TestFan(t *testing.T) {
	t.Parallel()
	for _, wide := range []time.Duration{2 * time.Microsecond, 3 * time.Microsecond, 17 * time.Microsecond, time.Second + time.Microsecond, 31 * 24 * time.Hour} {
		for _, rows := range []int64{pieceRows + 1, 10 * pieceRows, OverviewRows} {
			whole := stretch{from: start, to: start.Add(wide), rows: rows}
			from := whole.from
			pieces := whole.fan()
			for _, p := range pieces {
				if !p.from.Equal(from) || !p.to.After(p.from) || p.to.Sub(p.from)%time.Microsecond != 0 {
					t.Fatalf("%d rows in %s: piece from %s to %s, want from %s", rows, wide, p.from, p.to, from)
				}
				from = p.to
			}
			if !from.Equal(whole.to) || len(pieces) < 2 || len(pieces) > overviewFan {
				t.Errorf("%d rows in %s: %d pieces to %s, want to %s", rows, wide, len(pieces), from, whole.to)
			}
		}
	}
}
