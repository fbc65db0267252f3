package export

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// TestCalmParts: a document bears a write a second, so no more than 20 parts of an export may end in a
// minute, at 8,000 rows a second and 32 parts under way; 26 where that is all of them.
func TestCalmParts(t *testing.T) {
	t.Parallel()
	cfg := Config{PartRows: 50_000, MaxParts: 1000, Window: 32}
	for _, rows := range []int64{1_000, 50_001, 1_000_000, 1_200_000, 5_000_000, 15_000_000, 16_000_000, 24_000_000, 25_000_000, 100_000_000, 3_000_000_000} {
		target := cfg.target(rows)
		parts := (rows + target - 1) / target
		perMinute := min(parts, int64(cfg.Window)*60*8_000/target)
		if target < cfg.PartRows || perMinute > 20 || parts > 26 && parts <= 32 || parts > int64(cfg.MaxParts) {
			t.Errorf("%d rows: %d parts of %d rows, of which %d end in a minute", rows, parts, target, perMinute)
		}
	}
	if got := cfg.target(1_000_000); got != 50_001 && got != 50_000 {
		t.Errorf("1,000,000 rows: parts of %d rows, though 20 parts of 50,000 are calm enough", got)
	}
	if small := (Config{PartRows: 100, MaxParts: 1000, Window: 32}); small.target(10_970) != 100 {
		t.Errorf("parts of %d rows where 100 were asked for", small.target(10_970))
	}
}

// TestEndsAreSpread: of an export with more parts than run at a time, no more end in any minute than a
// document bears, though the first of them begin in one instant.
func TestEndsAreSpread(t *testing.T) {
	t.Parallel()
	cfg := Config{PartRows: 50_000, MaxParts: 1000, Window: 32}
	random := rand.New(rand.NewPCG(1, 2))
	for _, rows := range []int64{30_000_000, 60_000_000, 100_000_000, 400_000_000} {
		target := cfg.target(rows)
		var leaves []piece
		for left := rows; left > 0; {
			n := min(left, target/leavesPerPart/2+random.Int64N(target/leavesPerPart/2))
			leaves, left = append(leaves, piece{rows: n}), left-n
		}
		ranges, sum := cfg.join(leaves, rows, target, rows)
		if sum != rows || len(ranges) > cfg.MaxParts {
			t.Fatalf("%d rows: %d parts with %d rows", rows, len(ranges), sum)
		}
		var ends []float64 // in seconds
		streams := make([]float64, cfg.Window)
		for _, r := range ranges {
			slices.Sort(streams)
			streams[0] += float64(r.Rows) / 8_000
			ends = append(ends, streams[0])
		}
		slices.Sort(ends)
		for i := range ends {
			n := 0
			for n = i; n < len(ends) && ends[n] < ends[i]+60; n++ {
				continue
			}
			if n -= i; n > 28 { // the rescuer's two looks make them half of what a document bears
				t.Errorf("%d rows in %d parts: %d end in the minute from %.0f s on", rows, len(ranges), n, ends[i])
				break
			}
		}
		even := float64(rows) / 8_000 / float64(cfg.Window)
		if last := ends[len(ends)-1]; last > even+float64(target)/8_000 {
			t.Errorf("%d rows: the last part ends after %.0f s, %.0f s is all streams at work all the time", rows, last, even)
		}
		t.Logf("%d rows: %d parts, the last ends after %.0f s, %.0f s at best", rows, len(ranges), ends[len(ends)-1], even)
	}
}
