package export

import "testing"

// TestCalmParts: a document bears a write a second, so no more than 20 parts of an export may end in
// a minute, at 8,000 rows a second and 32 parts under way.
func TestCalmParts(t *testing.T) {
	t.Parallel()
	cfg := Config{PartRows: 50_000, MaxParts: 1000, Window: 32}
	for _, rows := range []int64{1_000, 50_001, 1_000_000, 1_200_000, 5_000_000, 15_000_000, 16_000_000, 100_000_000, 3_000_000_000} {
		target := cfg.target(rows)
		parts := (rows + target - 1) / target
		perMinute := min(parts, int64(cfg.Window)*60*8_000/target)
		if target < cfg.PartRows || perMinute > 20 || parts > int64(cfg.MaxParts) {
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
