package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"exportd/jobs"
)

// smallRows is the size of the exports that must not wait for a large one.
const smallRows = 200

// fairnessLines is line g: small exports beside a large one, on one worker.
func (s *suite) fairnessLines(ctx context.Context) (_ []line, err error) {
	b, err := s.cloud(ctx)
	if err != nil {
		return nil, err
	}
	f, err := b.startFleet(ctx, 1)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.stop()) }()
	if _, _, err := f.timed(ctx, smallRows); err != nil { // the first one pays for connections
		return nil, err
	}
	alone, err := s.smallExports(ctx, f)
	if err != nil {
		return nil, err
	}
	large, err := b.submit(ctx, s.sizes.fairness)
	if err != nil {
		return nil, err
	}
	if err := b.underWay(ctx, large); err != nil {
		return nil, err
	}
	beside, err := s.smallExports(ctx, f)
	if err != nil {
		return nil, err
	}
	j, err := b.store.Update(ctx, large, "bench", func(tx *jobs.Tx) error {
		if tx.Job.State.Ended() {
			return nil
		}
		return tx.Cancel("measured")
	})
	if err != nil {
		return nil, err
	}
	what := fmt.Sprintf("p95 of %d exports of %d rows beside one of %s / alone", s.sizes.fairnessRuns, smallRows, number(s.sizes.fairness))
	if j.State != jobs.Canceled {
		what += ", which ended before them"
	}
	raw := func(times []time.Duration) string {
		return fmt.Sprintf("p50 %d ms, p95 %d ms", quantile(times, 0.5).Milliseconds(), quantile(times, 0.95).Milliseconds())
	}
	return []line{{
		what: what, ours: raw(beside), against: raw(alone), format: "%.2f×", target: atMost(2),
		value: float64(quantile(beside, 0.95)) / float64(quantile(alone, 0.95)),
	}}, nil
}

// underWay waits until the rows of a job are being read: counting them before that is the work of the
// database, and leaves the worker alone.
func (b *bed) underWay(ctx context.Context, id string) error {
	return b.store.Watch(ctx, id, func(j *jobs.Job) bool { return j.RowsDone > 0 || j.State.Ended() })
}

// smallExports is how long small exports take, one after the other, shortest first.
func (s *suite) smallExports(ctx context.Context, f *fleet) ([]time.Duration, error) {
	var times []time.Duration
	for range s.sizes.fairnessRuns {
		_, took, err := f.timed(ctx, smallRows)
		if err != nil {
			return nil, err
		}
		times = append(times, took)
	}
	slices.Sort(times)
	return times, nil
}

// quantile of sorted times.
func quantile(times []time.Duration, q float64) time.Duration {
	return times[min(len(times)-1, int(q*float64(len(times))))]
}
