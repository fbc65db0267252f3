package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"exportd/internal/localcloud/fault"
)

// cost is what an export made the services do, from its submission to its last call.
type cost struct {
	parts                           int
	reads, writes, pubsub, storages int64
}

// An export in one part may write 12 documents, and 4 for each part more.
const (
	oneWrites  = 12
	moreWrites = 4
)

// costLines is line f. Each figure is the least of several runs: what the worker does whether there is work
// or not (its sign of life, the rescuer's rounds) falls into some of them.
func (s *suite) costLines(ctx context.Context) ([]line, error) {
	b, err := s.cloud(ctx)
	if err != nil {
		return nil, err
	}
	var lines []line
	for _, parts := range s.sizes.costs {
		c, err := s.costOf(ctx, b, parts)
		if err != nil {
			return lines, err
		}
		lines = append(lines, line{
			what: fmt.Sprintf("Firestore writes of an export in %d part%s", c.parts, plural(c.parts)),
			ours: fmt.Sprintf("%s reads beyond the rows", number(c.reads)), against: fmt.Sprintf("%d Pub/Sub, %d Storage calls", c.pubsub, c.storages),
			value: float64(c.writes), format: "%.0f writes", target: atMost(float64(oneWrites + moreWrites*(c.parts-1))),
		})
	}
	return lines, nil
}

// costOf is the least cost of an export in about so many parts.
func (s *suite) costOf(ctx context.Context, b *bed, parts int) (least cost, err error) {
	rows := s.sizes.cost
	f, err := b.startFleet(ctx, 1, "EXPORTD_PART_ROWS="+strconv.Itoa(max(100, (rows+parts-1)/parts)))
	if err != nil {
		return cost{}, err
	}
	defer func() { err = errors.Join(err, f.stop()) }()
	for run := range s.sizes.costRuns {
		before, err := b.control.quiet(ctx)
		if err != nil {
			return cost{}, err
		}
		id, err := f.export(ctx, rows)
		if err != nil {
			return cost{}, err
		}
		after, err := b.control.quiet(ctx)
		if err != nil {
			return cost{}, err
		}
		j, err := b.result(ctx, id, rows)
		if err != nil {
			return cost{}, err
		}
		c := cost{
			parts: max(1, j.PartsTotal), reads: after.DocumentsRead - before.DocumentsRead - int64(rows), writes: after.DocumentsWritten - before.DocumentsWritten,
			pubsub:   calls(after, "Publisher/") + calls(after, "Subscriber/") - calls(before, "Publisher/") - calls(before, "Subscriber/"),
			storages: calls(after, "Storage/") - calls(before, "Storage/"),
		}
		if run == 0 {
			least = c
		}
		least.reads, least.writes = min(least.reads, c.reads), min(least.writes, c.writes)
		least.pubsub, least.storages = min(least.pubsub, c.pubsub), min(least.storages, c.storages)
	}
	s.note("cost: %d parts: %d writes, %d reads beyond the rows, %d Pub/Sub and %d Storage calls", least.parts, least.writes, least.reads, least.pubsub, least.storages)
	return least, nil
}

// calls adds up the calls of the methods of a service.
func calls(c fault.Counters, service string) (n int64) {
	for name, m := range c.Methods {
		if strings.HasPrefix(name, service) {
			n += m.Calls
		}
	}
	return n
}

func plural(n int) string {
	if n == 1 {
		return ""
	}
	return "s"
}
