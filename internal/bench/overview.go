package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"golang.org/x/sync/errgroup"

	"exportd/internal/localcloud/fault"
	"exportd/jobs"
)

const (
	// overviewWithin is what callers are promised, in seconds: a judge's own figure, which the route's bound
	// has to keep.
	overviewWithin = 35
	// overviewLists makes of line i's requests those beside overviews: 20 s at full size, which two overviews
	// fill.
	overviewLists = 3
)

// overviewLines is line j: the overview of labels of a large window, on Firestore streams shaped as
// production's, through the API; what it reads; and lists beside such overviews.
func (s *suite) overviewLines(ctx context.Context) ([]line, error) {
	return s.withLists(ctx, s.largeOverview)
}

func (s *suite) largeOverview(ctx context.Context, b *bed, caller *caller) (_ []line, err error) {
	mix, err := listMix(ctx, caller, s.sizes.listMessages)
	if err != nil {
		return nil, err
	}
	if err := b.control.shape(ctx, fault.Rule{LatencyMS: roundTripMS, RowsPerSecond: s.sizes.scaleRate}); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.control.shape(context.WithoutCancel(ctx), fault.Rule{})) }()
	before, err := b.control.counters(ctx)
	if err != nil {
		return nil, err
	}
	window := window(s.sizes.overview)
	overview := func() error {
		_, err := caller.get(ctx, "/vip-labels/overview", url.Values{
			"workspaceId": {workspaceID}, "mediumId": {mediumID}, "from": {window.Time(jobs.ParamFrom).Format(time.RFC3339Nano)}, "to": {window.Time(jobs.ParamTo).Format(time.RFC3339Nano)},
		})
		return err
	}
	begun := time.Now()
	if err := overview(); err != nil {
		return nil, err
	}
	took := time.Since(begun)
	after, err := b.control.counters(ctx)
	if err != nil {
		return nil, err
	}
	read := after.DocumentsRead - before.DocumentsRead
	one := time.Duration(float64(s.sizes.overview) / s.sizes.scaleRate * float64(time.Second))

	requests := max(1, s.sizes.listRequests/overviewLists)
	_, _ = sendLists(ctx, caller, mix, max(1, requests/10)) // connections and caches
	alone, failed := sendLists(ctx, caller, mix, requests)
	var beside errgroup.Group
	done := make(chan struct{})
	overviews := 0
	beside.Go(func() error {
		for ; ; overviews++ {
			select {
			case <-done:
				return nil
			default:
			}
			window = window.With(jobs.ParamTo, window.Time(jobs.ParamTo).Add(-time.Microsecond)) // a window that is not remembered
			if err := overview(); err != nil {
				return err
			}
		}
	})
	slowed, failedBeside := sendLists(ctx, caller, mix, requests)
	close(done)
	if err := beside.Wait(); err != nil {
		return nil, err
	}
	if failed = append(failed, failedBeside...); len(failed) > 0 {
		s.note("lists: first of %d failures: %v", len(failed), failed[0])
	}
	return []line{
		{
			what: fmt.Sprintf("labels of %s messages, %.0f rows/s a stream: one stream / the route", number(s.sizes.overview), s.sizes.scaleRate),
			ours: fmt.Sprintf("%.1f s", took.Seconds()), against: fmt.Sprintf("%.0f s", one.Seconds()), value: one.Seconds() / took.Seconds(), format: "%.1f×",
		},
		{what: "the same, of its bound", ours: fmt.Sprintf("%.1f s", took.Seconds()), against: fmt.Sprintf("%d s", overviewWithin), value: took.Seconds() / overviewWithin, format: "%.2f×", target: atMost(1)},
		{what: "documents read / messages", ours: number(read), against: number(s.sizes.overview), value: float64(read) / float64(s.sizes.overview), format: "%.3f×", target: atMost(1.05)},
		{
			what: fmt.Sprintf("p99 of %d lists a second beside %d such overviews / alone", listsPerSecond, overviews),
			ours: quantiles(slowed), against: quantiles(alone), value: float64(quantile(slowed, 0.99)) / float64(quantile(alone, 0.99)), format: "%.2f×",
		},
		{what: "lists that failed", ours: number(len(failedBeside)), against: number(len(failed) - len(failedBeside)), value: float64(len(failed)), format: "%.0f", target: atMost(0)},
	}, nil
}
