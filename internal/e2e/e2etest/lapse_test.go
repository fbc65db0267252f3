package e2etest

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestLapse: every duration of the project's rules becomes a sixtieth, and not a byte beside them changes.
func TestLapse(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("../../../deployments/monitoring/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	before, after := strings.Split(string(raw), "\n"), strings.Split(Lapse(string(raw)), "\n")
	if len(before) != len(after) {
		t.Fatalf("%d lines become %d", len(before), len(after))
	}
	// Written out, so as not to repeat what is tested.
	want := map[string]string{
		"0m": "0ms", "1m": "1000ms", "2m": "2000ms", "5m": "5000ms", "10m": "10000ms", "15m": "15000ms", "30m": "30000ms", "30s": "500ms",
		"1h": "60000ms", "4h": "240000ms", "6h": "360000ms", "3d": "4320000ms",
	}
	duration := regexp.MustCompile(`(for: |interval: |\[)(\d+[a-z]+)`)
	seen := 0
	for i, line := range before {
		expected := line
		if !strings.HasPrefix(strings.TrimSpace(line), "#") {
			expected = duration.ReplaceAllStringFunc(line, func(s string) string {
				m := duration.FindStringSubmatch(s)
				seen++
				if want[m[2]] == "" {
					t.Errorf("line %d: %s is not in the test's list", i+1, m[2])
				}
				return m[1] + want[m[2]]
			})
		}
		if after[i] != expected {
			t.Errorf("line %d becomes %q, want %q", i+1, after[i], expected)
		}
	}
	if seen < 50 || strings.Contains(Lapse("le=\"60\" > 600 bad_ratio5m [5m:1m] 5m"), "ms") {
		t.Errorf("%d durations were seen; or a threshold, a name or a subquery is changed", seen)
	}
}
