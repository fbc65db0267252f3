package timeline

import (
	"fmt"
	"strings"
	"testing"
)

// TestFold: a line about the job is a group by itself and parts the groups before it from those after it; a
// part that is met again is named once.
func TestFold(t *testing.T) {
	t.Parallel()
	type line struct {
		what string
		part *int
	}
	of := func(what string, part int) line { return line{what, &part} }
	lines := []line{
		{what: "planned"}, of("failed", 0), of("done", 2), of("failed", 1), of("failed", 0),
		{what: "canceled"}, {what: "canceled"}, of("failed", 1),
	}
	var got []string
	for _, g := range Fold(lines, func(l line) *int { return l.part }, func(a, b line) bool { return a.what == b.what }) {
		got = append(got, fmt.Sprintf("%s-%s %d (%s)", g.First().what, g.Last().what, g.Count(), Ranges(g.Parts, "-")))
	}
	if want := "planned-planned 1 (); failed-failed 3 (0-1); done-done 1 (2); canceled-canceled 1 (); canceled-canceled 1 (); failed-failed 1 (1)"; strings.Join(got, "; ") != want {
		t.Errorf("%s\nwant %s", strings.Join(got, "; "), want)
	}
}

func TestRanges(t *testing.T) {
	t.Parallel()
	for want, of := range map[string][]int{"": nil, "3": {3}, "0–2, 7, 9–10": {7, 0, 1, 2, 9, 10}} {
		if got := Ranges(of, "–"); got != want {
			t.Errorf("Ranges(%v) = %s, want %s", of, got, want)
		}
	}
}
