package e2etest

import (
	"fmt"
	"regexp"
	"time"
)

// LapseFactor is by how much Lapse shortens time: a minute of the rules is a second of the test.
const LapseFactor = 60

// lapsed finds the durations of Prometheus's rules: what follows for:, interval: and keep_firing_for:, and
// the windows in brackets. Thresholds, as the seconds that something may take, are none.
var lapsed = regexp.MustCompile(`(?m)(^ *-? *(?:for|interval|keep_firing_for): |\[)(\d+)(ms|s|m|h|d|w)(\s*$|\])`)

// Lapse gives rules of Prometheus in which every duration is a LapseFactor-th, and nothing else has changed.
func Lapse(rules string) string {
	units := map[string]time.Duration{
		"ms": time.Millisecond, "s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour, "w": 7 * 24 * time.Hour,
	}
	return lapsed.ReplaceAllStringFunc(rules, func(s string) string {
		m := lapsed.FindStringSubmatch(s)
		var n int64
		_, _ = fmt.Sscan(m[2], &n) // digits
		return fmt.Sprintf("%s%dms%s", m[1], time.Duration(n)*units[m[3]]/LapseFactor/time.Millisecond, m[4])
	})
}
