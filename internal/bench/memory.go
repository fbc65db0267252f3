package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
)

// memoryParts is into how many parts the smallest export of line d is cut: all slots of a worker are then in
// use at every size, so that what is left to grow is what should not.
const memoryParts = 16

// memoryLines is line d: the peak memory of a worker process that did one export.
func (s *suite) memoryLines(ctx context.Context) ([]line, error) {
	b, err := s.cloud(ctx)
	if err != nil {
		return nil, err
	}
	const mib = 1 << 20
	var lines []line
	var first float64
	partRows := max(100, s.sizes.memory[0]/memoryParts)
	for i, rows := range s.sizes.memory {
		peak, took, err := b.peakOf(ctx, rows, partRows)
		if err != nil {
			return lines, err
		}
		s.note("memory: %s rows in %.1f s, peak %.1f MiB", number(rows), took, float64(peak)/mib)
		used := float64(peak) / mib
		lines = append(lines, line{what: "peak RSS of a worker, export of " + number(rows) + " rows", ours: fmt.Sprintf("%.1f s", took), value: used, format: "%.1f MiB", target: atMost(120)})
		if i == 0 {
			first = used
			continue
		}
		if i == len(s.sizes.memory)-1 {
			lines = append(lines, line{what: "peak RSS, largest export / smallest", ours: fmt.Sprintf("%.1f MiB", used), against: fmt.Sprintf("%.1f MiB", first),
				value: used / first, format: "%.2f×", target: atMost(1.10)})
		}
	}
	return lines, nil
}

// peakOf exports rows with a fresh worker and returns its peak in bytes and the time in seconds.
func (b *bed) peakOf(ctx context.Context, rows, partRows int) (peak int64, seconds float64, err error) {
	f, err := b.startFleet(ctx, 1, "EXPORTD_PART_ROWS="+strconv.Itoa(partRows))
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, f.stop()) }()
	_, took, err := f.timed(ctx, rows)
	if err != nil {
		return 0, 0, err
	}
	peak, err = f.workers[0].peak()
	return peak, took.Seconds(), err
}
