package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"slices"
	"syscall"
	"time"
)

// way is one way of doing the thing that a line measures; run does it once.
type way struct {
	name string
	run  func(context.Context) error
}

// sample is what one run of a way took.
type sample struct {
	took   time.Duration
	cpu    time.Duration // of the whole process
	allocs uint64        // of the whole process
}

// samples are those of one way, by round.
type samples []sample

// interleave runs each way once to warm up and then rounds times, in turns: what else the machine does
// meanwhile hits all of them.
func (s *suite) interleave(ctx context.Context, title string, rounds int, ways ...way) ([]samples, error) {
	out := make([]samples, len(ways))
	for round := range rounds + 1 {
		for i, w := range ways {
			got, err := s.once(ctx, title, w, round)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", w.name, err)
			}
			if round > 0 {
				out[i] = append(out[i], got)
			}
		}
		if round > 0 {
			s.note("%s: round %d of %d", title, round, rounds)
		}
	}
	return out, nil
}

// once runs w, with a profile of its own in the last warm-up where one is wanted.
func (s *suite) once(ctx context.Context, title string, w way, round int) (sample, error) {
	runtime.GC() // one way's garbage is not the next one's work
	if s.profile != "" && round == 0 {
		f, err := os.Create(filepath.Join(s.profile, title+"-"+w.name+".prof"))
		if err != nil {
			return sample{}, fmt.Errorf("profile: %w", err)
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return sample{}, fmt.Errorf("profile: %w", err)
		}
		defer pprof.StopCPUProfile()
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	begun, busy := time.Now(), cpuTime()
	err := w.run(ctx)
	got := sample{took: time.Since(begun), cpu: cpuTime() - busy}
	runtime.ReadMemStats(&after)
	got.allocs = after.Mallocs - before.Mallocs
	return got, err
}

// cpuTime is the processor time that this process has had.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// byCPU takes the processor time for the time: for work that waits for nothing, it is what other processes on
// the machine disturb least.
func (s samples) byCPU() samples {
	out := slices.Clone(s)
	for i := range out {
		out[i].took = out[i].cpu
	}
	return out
}

// median is the middle time.
func (s samples) median() time.Duration {
	return time.Duration(median(s, func(v sample) float64 { return float64(v.took) }))
}

// rate is the median of units/s.
func (s samples) rate(units int) float64 { return float64(units) / s.median().Seconds() }

// faster is how many times as fast as other s is: the median over rounds, each of which compares its own two
// runs.
func (s samples) faster(other samples) float64 {
	ratios := make([]float64, len(s))
	for i := range s {
		ratios[i] = float64(other[i].took) / float64(s[i].took)
	}
	return median(ratios, func(v float64) float64 { return v })
}

// allocsPer is the median number of allocations per unit.
func (s samples) allocsPer(units int) float64 {
	return median(s, func(v sample) float64 { return float64(v.allocs) }) / float64(units)
}

func median[T any](values []T, of func(T) float64) float64 {
	sorted := make([]float64, len(values))
	for i, v := range values {
		sorted[i] = of(v)
	}
	slices.Sort(sorted)
	n := len(sorted)
	if n == 0 {
		return 0
	}
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}
