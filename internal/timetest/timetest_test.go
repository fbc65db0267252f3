package timetest

import (
	"testing"
	"time"
)

func TestCompare(t *testing.T) {
	t.Parallel()
	worst, text := Compare([]string{"a", "b", "c"}, [][]time.Duration{{3, 2, 900}, {6, 1, 7}, {1, 1, 1}})
	if want := "median 3ns of a; b 2.000, c 0.333 of that"; worst != 3 || text != want {
		t.Errorf("Compare = %v, %q, want 3, %q", worst, text, want)
	}
}
