package jobstore

import (
	"testing"
	"time"
)

// TestTurns: as many rollups as the ends of a minute need, none with more than its part, few again when it is
// quiet, and other ones for each process.
func TestTurns(t *testing.T) {
	t.Parallel()
	turns, other := newTurns(), newTurns()
	at := time.Date(2026, 11, 26, 13, 0, 0, 0, time.UTC)
	for minute, tc := range []struct{ ends, rollups, most int }{
		{10, 1, 10}, {25, 1, 25}, {26, 2, 25}, {200, 8, 25}, {190, 8, 24}, {10, 8, 2}, {10, 1, 10}, {0, 0, 0}, {30, 2, 25}, {2 * maxTurns * turnsPerMinute, maxTurns, 2 * turnsPerMinute},
	} {
		used := map[int]int{}
		for i := range tc.ends {
			used[turns.next(at.Add(time.Duration(minute)*time.Minute+time.Duration(i)*time.Millisecond))]++
		}
		most := 0
		for n, ends := range used {
			most = max(most, ends)
			if n < turns.first || n >= turns.first+maxTurns || n >= other.first && n < other.first+maxTurns {
				t.Errorf("number %d is not of the process from %d on, or of that from %d on", n, turns.first, other.first)
			}
		}
		if len(used) != tc.rollups || most != tc.most {
			t.Errorf("minute %d: %d ends in %d rollups, %d in one, want %d and %d", minute, tc.ends, len(used), most, tc.rollups, tc.most)
		}
	}
	if n := turns.next(at.Add(-time.Hour)); n != turns.first { // a clock that was set back
		t.Errorf("%d, want the first, %d", n, turns.first)
	}
}
