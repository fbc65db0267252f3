package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"exportd/internal/localcloud/fault"
)

// overviewWithin is what the route has, in seconds: its bound on a request.
const overviewWithin = 35

// overviewLines is line j: the overview of labels of a large window, on Firestore streams
// shaped as production's, through the API; and what it reads.
func (s *suite) overviewLines(ctx context.Context) (_ []line, err error) {
	b, err := s.cloud(ctx)
	if err != nil {
		return nil, err
	}
	caller, stop, err := s.startLists(ctx, b)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	if err := b.control.shape(ctx, fault.Rule{LatencyMS: roundTripMS, RowsPerSecond: s.sizes.scaleRate}); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.control.shape(context.WithoutCancel(ctx), fault.Rule{})) }()
	before, err := b.control.counters(ctx)
	if err != nil {
		return nil, err
	}
	window := window(s.sizes.overview)
	begun := time.Now()
	if _, err := caller.get(ctx, "/vip-labels/overview", url.Values{
		"workspaceId": {workspaceID}, "mediumId": {mediumID}, "from": {window.From.Format(time.RFC3339Nano)}, "to": {window.To.Format(time.RFC3339Nano)},
	}); err != nil {
		return nil, err
	}
	took := time.Since(begun)
	after, err := b.control.counters(ctx)
	if err != nil {
		return nil, err
	}
	read := after.DocumentsRead - before.DocumentsRead
	one := time.Duration(float64(s.sizes.overview) / s.sizes.scaleRate * float64(time.Second))
	return []line{
		{
			what: fmt.Sprintf("labels of %s messages, %.0f rows/s a stream: one stream / the route", number(s.sizes.overview), s.sizes.scaleRate),
			ours: fmt.Sprintf("%.1f s", took.Seconds()), against: fmt.Sprintf("%.0f s", one.Seconds()), value: one.Seconds() / took.Seconds(), format: "%.1f×",
		},
		{what: "the same, of its bound", ours: fmt.Sprintf("%.1f s", took.Seconds()), against: fmt.Sprintf("%d s", overviewWithin), value: took.Seconds() / overviewWithin, format: "%.2f×", target: atMost(1)},
		{what: "documents read / messages", ours: number(read), against: number(s.sizes.overview), value: float64(read) / float64(s.sizes.overview), format: "%.3f×", target: atMost(1.05)},
	}, nil
}
