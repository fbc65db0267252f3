package main

import (
	"context"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"exportd/internal/localcloud/localcloudtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, localcloudtest.LeakOptions()...) }

// tiny sizes show that everything works; the figures mean nothing.
func tiny() sizes {
	return sizes{
		rounds: 1, scan: 2_000, encode: 500, export: 3_000, memory: []int{1_000, 2_000},
		scale: 2_000, scalePartRows: 200, scaleRate: 8_000,
		cost: 2_000, costs: []int{1, 4}, costRuns: 1,
		fairness: 3_000, fairnessRuns: 3,
		dev: 1 << 20, devRounds: 1,
		listUsers: 500, listMessages: 3_000, listRequests: 100,
		overview: 3_000,
		told:     1,
		alone:    300,
	}
}

// TestLines runs every line once with tiny sizes, so that none rots. Its figures mean nothing.
func TestLines(t *testing.T) {
	t.Parallel()
	s := &suite{sizes: tiny(), progress: t.Output()}
	t.Cleanup(func() {
		if err := s.close(); err != nil {
			t.Errorf("close() = %v", err)
		}
	})
	names := []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"}
	table, err := s.run(t.Context(), names)
	if err != nil {
		t.Fatal(err)
	}
	measured := map[string]int{}
	for _, l := range table {
		measured[l.name]++
		if l.what == "" || l.value <= 0 && !strings.Contains(l.what, "allocations") && !strings.Contains(l.what, "failed") && !strings.Contains(l.what, "CPU") {
			t.Errorf("line %s = %+v, want a description and a figure", l.name, l)
		}
	}
	for _, name := range names {
		if measured[name] == 0 {
			t.Errorf("line %s measured nothing", name)
		}
	}
	if _, err := s.run(t.Context(), []string{"z"}); err == nil {
		t.Error("run(z) = nil, want an error")
	}
}

func TestTable(t *testing.T) {
	t.Parallel()
	got := render([]line{
		{name: "a", what: "fast / slow", ours: "600 rows/s", against: "100 rows/s", value: 6, format: "%.1f×", target: atLeast(6)},
		{name: "a", what: "only to know", value: 2, format: "%.1f×"},
		{name: "d", what: "memory", value: 130, format: "%.0f MiB", target: atMost(120)},
	})
	for _, want := range []string{"6.0×", "≥ 6.0×", "ok", "130 MiB", "≤ 120 MiB", "short"} {
		if !strings.Contains(got, want) {
			t.Errorf("render() has no %q:\n%s", want, got)
		}
	}
	if reached([]line{{value: 5, target: atLeast(6)}}) || !reached([]line{{value: 6, target: atLeast(6)}, {value: 1}}) {
		t.Error("reached() does not tell short lines from others")
	}
}

func TestNumber(t *testing.T) {
	t.Parallel()
	for in, want := range map[float64]string{0: "0", 999: "999", 1000: "1,000", 1234567.4: "1,234,567", -1000: "-1,000", -999: "-999"} {
		if got := number(in); got != want {
			t.Errorf("number(%v) = %q, want %q", in, got, want)
		}
	}
}

func TestMedian(t *testing.T) {
	t.Parallel()
	same := func(v float64) float64 { return v }
	if got := median([]float64{5, 1, 3}, same); got != 3 {
		t.Errorf("median of three = %v, want 3", got)
	}
	if got := median([]float64{4, 1, 3, 2}, same); got != 2.5 {
		t.Errorf("median of four = %v, want 2.5", got)
	}
}

// TestInterrupt: an interrupted run ends soon, and leaves no process behind (goleak sees the goroutines that
// wait for them).
func TestInterrupt(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s := &suite{sizes: tiny(), progress: t.Output()}
	if _, err := s.run(ctx, []string{"c"}); err == nil {
		t.Error("run() after an interrupt = nil, want an error")
	}
	if err := s.close(); err != nil {
		t.Errorf("close() = %v", err)
	}
}
