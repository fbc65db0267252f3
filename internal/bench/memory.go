package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
)

const (
	// memoryParts is into how many parts the smallest export of line d is cut: all slots of a worker are then
	// in use at every size, so that what is left to grow is what should not.
	memoryParts = 16

	mib = 1 << 20
)

// memoryLines is line d: the peak memory of a worker process that did one export, of CSV in all sizes, and of
// the other forms in the first two; then that of each form in the second, with default settings.
func (s *suite) memoryLines(ctx context.Context) ([]line, error) {
	b, err := s.cloud(ctx)
	if err != nil {
		return nil, err
	}
	var lines []line
	all, sizes := append([]form{{name: "CSV"}}, forms...), s.sizes.memory
	for _, as := range all {
		more, err := s.growthOf(ctx, b, as, sizes)
		lines = append(lines, more...)
		if err != nil {
			return lines, err
		}
		sizes = sizes[:2]
	}
	rows, first := s.sizes.memory[1], 0.0
	for _, as := range all {
		used, took, err := s.peakOf(ctx, b, as, rows)
		if err != nil {
			return lines, err
		}
		// Parts are larger there, and each slot has a group of rows of its part in memory, of Parquet.
		lines = append(lines, line{
			what: "peak RSS of a worker with default settings, export of " + number(rows) + " rows as " + as.name, ours: fmt.Sprintf("%.1f s", took),
			value: used, format: "%.1f MiB", target: atMost(180),
		})
		if first == 0 {
			first = took
			continue
		}
		rate := func(seconds float64) string {
			return fmt.Sprintf("%.2f s, %s rows/s", seconds, number(float64(rows)/seconds))
		}
		lines = append(lines, line{what: "rows/s of that export as " + as.name + " / as CSV", ours: rate(took), against: rate(first), value: first / took, format: "%.2f×"})
	}
	return lines, nil
}

// growthOf measures exports of a form in some sizes, in parts of the same size.
func (s *suite) growthOf(ctx context.Context, b *bed, as form, sizes []int) (lines []line, err error) {
	var first, used, took float64
	partRows := max(100, s.sizes.memory[0]/memoryParts)
	for i, rows := range sizes {
		if used, took, err = s.peakOf(ctx, b, as, rows, "EXPORTD_PART_ROWS="+strconv.Itoa(partRows)); err != nil {
			return lines, err
		}
		lines = append(lines, line{
			what: "peak RSS of a worker, export of " + number(rows) + " rows as " + as.name, ours: fmt.Sprintf("%.1f s", took), value: used, format: "%.1f MiB",
			target: atMost(120),
		})
		if i == 0 {
			first = used
		}
	}
	return append(lines, line{
		what: "peak RSS as " + as.name + ", largest export / smallest", ours: fmt.Sprintf("%.1f MiB", used), against: fmt.Sprintf("%.1f MiB", first),
		value: used / first, format: "%.2f×", target: atMost(1.10),
	}), nil
}

// peakOf exports rows with a fresh worker and returns its peak in MiB and the time in seconds.
func (s *suite) peakOf(ctx context.Context, b *bed, as form, rows int, env ...string) (used, seconds float64, err error) {
	f, err := b.startFleet(ctx, 1, env...)
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, f.stop()) }()
	_, took, err := f.timedAs(ctx, as, rows)
	if err != nil {
		return 0, 0, err
	}
	peak, err := f.workers[0].peak()
	used = float64(peak) / mib
	s.note("memory: %s rows as %s in %.1f s, peak %.1f MiB", number(rows), as.name, took.Seconds(), used)
	return used, took.Seconds(), err
}
