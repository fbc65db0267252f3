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

// memoryLines is line d: the peak memory of a worker process that did one export, of CSV in all sizes, and of
// the other forms in the first two.
func (s *suite) memoryLines(ctx context.Context) ([]line, error) {
	b, err := s.cloud(ctx)
	if err != nil {
		return nil, err
	}
	csv, took, err := s.memoryOf(ctx, b, form{name: "CSV"}, s.sizes.memory)
	if err != nil {
		return csv, err
	}
	lines := csv
	for _, as := range forms {
		sizes := s.sizes.memory[:2]
		more, other, err := s.memoryOf(ctx, b, as, sizes)
		lines = append(lines, more...)
		if err != nil {
			return lines, err
		}
		raw := func(seconds float64) string {
			return fmt.Sprintf("%.2f s, %s rows/s", seconds, number(float64(sizes[1])/seconds))
		}
		lines = append(lines, line{
			what: fmt.Sprintf("rows/s as %s / as CSV, export of %s rows by such a worker", as.name, number(sizes[1])),
			ours: raw(other[1]), against: raw(took[1]), value: took[1] / other[1], format: "%.2f×",
		})
	}
	return lines, nil
}

// memoryOf measures exports of a form, and gives the seconds that they took.
func (s *suite) memoryOf(ctx context.Context, b *bed, as form, sizes []int) (lines []line, seconds []float64, err error) {
	const mib = 1 << 20
	var first, used float64
	partRows := max(100, s.sizes.memory[0]/memoryParts)
	for i, rows := range sizes {
		peak, took, err := b.peakOf(ctx, as, rows, partRows)
		if err != nil {
			return lines, nil, err
		}
		used = float64(peak) / mib
		s.note("memory: %s rows as %s in %.1f s, peak %.1f MiB", number(rows), as.name, took, used)
		lines = append(lines, line{
			what: "peak RSS of a worker, export of " + number(rows) + " rows as " + as.name, ours: fmt.Sprintf("%.1f s", took), value: used, format: "%.1f MiB",
			target: atMost(120),
		})
		if seconds = append(seconds, took); i == 0 {
			first = used
		}
	}
	return append(lines, line{
		what: "peak RSS as " + as.name + ", largest export / smallest", ours: fmt.Sprintf("%.1f MiB", used), against: fmt.Sprintf("%.1f MiB", first),
		value: used / first, format: "%.2f×", target: atMost(1.10),
	}), seconds, nil
}

// peakOf exports rows with a fresh worker and returns its peak in bytes and the time in seconds.
func (b *bed) peakOf(ctx context.Context, as form, rows, partRows int) (peak int64, seconds float64, err error) {
	f, err := b.startFleet(ctx, 1, "EXPORTD_PART_ROWS="+strconv.Itoa(partRows))
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, f.stop()) }()
	_, took, err := f.timedAs(ctx, as, rows)
	if err != nil {
		return 0, 0, err
	}
	peak, err = f.workers[0].peak()
	return peak, took.Seconds(), err
}
