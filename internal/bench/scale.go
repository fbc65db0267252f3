package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"exportd/internal/localcloud/fault"
)

// roundTripMS is what a request to a Firestore in the same continent takes.
const roundTripMS = 20

// scaleLines is line e: one export with every Firestore stream shaped to a round trip and a rate, by ever
// more streams; and small ones with the round trip alone. The embedded cloud and all workers share this
// machine's cores, which bound what most streams can show.
func (s *suite) scaleLines(ctx context.Context) (_ []line, err error) {
	b, err := s.cloud(ctx)
	if err != nil {
		return nil, err
	}
	if err := b.control.shape(ctx, fault.Rule{LatencyMS: roundTripMS, RowsPerSecond: s.sizes.scaleRate}); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.control.shape(context.WithoutCancel(ctx), fault.Rule{})) }()
	one, err := s.scaled(ctx, b, 1, 1)
	if err != nil {
		return nil, err
	}
	raw := func(t time.Duration) string {
		return fmt.Sprintf("%.1f s, %s rows/s", t.Seconds(), number(float64(s.sizes.scale)/t.Seconds()))
	}
	var lines []line
	for _, c := range []struct {
		workers, parts int
		target         float64
	}{{1, 8, 6.5}, {4, 8, 20}} {
		took, err := s.scaled(ctx, b, c.workers, c.parts)
		if err != nil {
			return lines, err
		}
		lines = append(lines, line{
			what: fmt.Sprintf("%d × %d parts in flight / 1 × 1, %.0f rows/s a stream", c.workers, c.parts, s.sizes.scaleRate),
			ours: raw(took), against: raw(one), value: one.Seconds() / took.Seconds(), format: "%.1f×", target: atLeast(c.target),
		})
	}
	trips, err := s.tripsLine(ctx, b)
	if err != nil {
		return lines, err
	}
	return append(lines, trips), nil
}

// tripsLine is what a small export takes in round trips to Firestore: how many of its calls wait for the one
// before.
func (s *suite) tripsLine(ctx context.Context, b *bed) (_ line, err error) {
	if err := b.control.shape(ctx, fault.Rule{LatencyMS: roundTripMS}); err != nil {
		return line{}, err
	}
	f, err := b.startFleet(ctx, 1)
	if err != nil {
		return line{}, err
	}
	defer func() { err = errors.Join(err, f.stop()) }()
	if _, _, err := f.timed(ctx, smallRows); err != nil { // the first one pays for connections
		return line{}, err
	}
	times, err := s.smallExports(ctx, f)
	if err != nil {
		return line{}, err
	}
	p50 := quantile(times, 0.5)
	return line{
		what: fmt.Sprintf("p50 of %d exports of %d rows / a round trip", len(times), smallRows),
		ours: fmt.Sprintf("%d ms", p50.Milliseconds()), against: fmt.Sprintf("%d ms", roundTripMS),
		value: p50.Seconds() / (roundTripMS * time.Millisecond).Seconds(), format: "%.1f×",
	}, nil
}

// scaled is how long an export takes with so many workers, each with so many parts in flight.
func (s *suite) scaled(ctx context.Context, b *bed, workers, parts int) (took time.Duration, err error) {
	f, err := b.startFleet(ctx, workers, "EXPORTD_PART_ROWS="+strconv.Itoa(s.sizes.scalePartRows),
		"EXPORTD_PART_SLOTS="+strconv.Itoa(parts), "EXPORTD_PART_WINDOW="+strconv.Itoa(workers*parts))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.stop()) }()
	j, took, err := f.timed(ctx, s.sizes.scale)
	if err != nil {
		return 0, err
	}
	s.note("scale: %d workers with %d parts in flight: %d parts in %s", workers, parts, j.PartsTotal, took.Round(time.Millisecond))
	return took, nil
}
