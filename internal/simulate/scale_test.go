package simulate

import (
	"slices"
	"testing"
	"time"
)

// TestWanted holds the arithmetic of the autoscaler: what each query asks for by itself.
func TestWanted(t *testing.T) {
	t.Parallel()
	s := KEDA()
	for _, tc := range []struct {
		name    string
		workers int
		o       observation
		want    [3]int
	}{
		{"nothing to do", 2, observation{freeSlots: 8}, [3]int{0, 0, 0}},
		{"130 wait, the oldest for 37 s", 4, observation{queued: 130, parts: 32, oldest: 37 * time.Second}, [3]int{33, 6, 8}},
		{"an org's own limit holds its jobs back", 4, observation{queued: 95, oldest: time.Hour, freeSlots: 11}, [3]int{0, 0, 0}},
		{"within a tenth", 10, observation{queued: 43, parts: 57, oldest: 19 * time.Second}, [3]int{10, 10, 10}},
		{"large exports", 2, observation{parts: 90, freeSlots: 8}, [3]int{0, 15, 0}},
	} {
		queued, parts, oldest := s.wanted(tc.workers, tc.o)
		if got := [3]int{queued, parts, oldest}; got != tc.want {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
}

// TestController: up by double or four in half a minute, down by a quarter a minute once five minutes have
// wanted less, and never out of bounds.
func TestController(t *testing.T) {
	t.Parallel()
	c := &controller{Scaling: KEDA()}
	now, workers := time.Unix(0, 0), 2
	run := func(wanted, times int) (seen []int) {
		for range times {
			workers = c.decide(now, workers, wanted)
			seen = append(seen, workers)
			now = now.Add(syncEvery)
		}
		return seen
	}
	if got, want := run(100, 10), []int{6, 6, 12, 12, 24, 24, 32, 32, 32, 32}; !slices.Equal(got, want) {
		t.Errorf("up: %v, want %v", got, want)
	}
	if got := run(0, 19); slices.Min(got) != 32 {
		t.Errorf("down within five minutes: %v", got)
	}
	got := run(0, 60)
	if want := []int{24, 24, 24, 24, 18, 18, 18, 18, 13, 13, 13, 13, 9}; !slices.Equal(got[:len(want)], want) || workers != 2 {
		t.Errorf("down: %v, in the end %d", got, workers)
	}
}

// TestScaled: by the manifests' numbers a fleet of two grows with the load until nothing waits for long, and
// shrinks again; no job is lost on the way. The wait before it shrinks is a fifth, as workers that idle take
// the test's time.
func TestScaled(t *testing.T) {
	keda := KEDA()
	keda.DownAfter /= 5
	r := simulate(t, Scenario{Name: "scaled", Workers: keda.Min, Orgs: 50, Scaling: &keda, Steps: []Step{{400, 75 * time.Second}, {60, 45 * time.Second}}}, 1)
	whole(t, r)
	most, waited := 0, time.Duration(0)
	for _, s := range r.Samples {
		most = max(most, s.Workers)
		waited = max(waited, s.Oldest)
	}
	last := r.Samples[len(r.Samples)-1]
	t.Logf("%d jobs, %d workers at most, %d in the end; the oldest seen had waited for %v; by step %v", r.Jobs, most, last.Workers, waited, r.Steps)
	if most < 5 || last.Workers != keda.Min || last.Queued > 0 {
		t.Errorf("%d workers at most, %d in the end, %d wait", most, last.Workers, last.Queued)
	}
	if r.Steps[1].P99 > 5*time.Second {
		t.Errorf("once the fleet has grown jobs wait for %v", r.Steps[1])
	}
}
