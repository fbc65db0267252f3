package jobstore

import (
	"context"
	"fmt"
	"strconv"

	"cloud.google.com/go/firestore"

	"exportd/jobs"
)

func partitionRole(index int) string { return "rescuer-" + strconv.Itoa(index) }

func (s *Store) division() *firestore.DocumentRef { return s.leases().Doc("rescuers") }

// Partitions gives the division and who holds its first n partitions. A document that cannot be read is as
// one that nobody has.
func (s *Store) Partitions(ctx context.Context, n int) (jobs.Division, []jobs.Partition, error) {
	refs := []*firestore.DocumentRef{s.division()}
	for k := range min(n, jobs.MaxPartitions) {
		refs = append(refs, s.leases().Doc("role-"+partitionRole(k)))
	}
	docs, err := s.client.GetAll(ctx, refs)
	if err != nil {
		return jobs.Division{}, nil, fmt.Errorf("ask who rescues: %w", classify(err))
	}
	now := s.cfg.Now().UTC()
	held := make([]jobs.Partition, len(docs)-1)
	for i, doc := range docs[1:] {
		held[i].Index = i
		if l := s.readLease(doc); l.Owner != "" && jobs.Held(l.Until, now, jobs.RoleTTL, s.cfg.Policy.Skew) {
			held[i].Owner, held[i].Until, held[i].Earlier = l.Owner, l.Until, l.earlier()
		}
	}
	return s.readDivision(docs[0]), held, nil
}

func (s *Store) readDivision(doc *firestore.DocumentSnapshot) jobs.Division {
	l := s.readLease(doc)
	d := jobs.Division{Partitions: 1, Workers: int(max(l.Count, 1)), ChangedAt: l.At}
	for d.Partitions < min(l.Partitions, jobs.MaxPartitions) {
		d.Partitions *= 2
	}
	return d
}

// HoldPartition takes or renews a partition for owner; false when somebody else has it.
func (s *Store) HoldPartition(ctx context.Context, index int, owner string) (bool, error) {
	return s.Acquire(ctx, partitionRole(index), owner, jobs.RoleTTL)
}

// LeavePartition gives a partition up, and tells the others.
func (s *Store) LeavePartition(ctx context.Context, index int, owner string) error {
	if err := s.Release(ctx, partitionRole(index), owner); err != nil {
		return err
	}
	return s.Divide(ctx, func(*jobs.Division) {})
}

// Divide changes the division; every worker that watches the switches sees it at once.
func (s *Store) Divide(ctx context.Context, fn func(*jobs.Division)) error {
	return s.change(ctx, s.division(), func(l *lease) bool {
		d := jobs.Division{Partitions: max(l.Partitions, 1), Workers: int(l.Count)}
		fn(&d)
		l.Kind, l.Partitions, l.Count, l.At = "signal", d.Partitions, int64(d.Workers), s.cfg.Now().UTC()
		return true
	})
}

// Switches asks for them.
func (s *Store) Switches(ctx context.Context) (jobs.Switches, error) {
	docs, err := s.client.GetAll(ctx, append(s.pauses(), s.division()))
	if err != nil {
		return jobs.Switches{}, fmt.Errorf("ask for switches: %w", classify(err))
	}
	return s.readSwitches(docs), nil
}

// WatchSwitches calls fn with the switches as they are and again after each change, until ctx ends or the
// stream breaks, which is its error. It costs a read for each change.
func (s *Store) WatchSwitches(ctx context.Context, fn func(jobs.Switches)) error {
	it := s.leases().Where("kind", "in", []string{"queue", "signal"}).Snapshots(ctx)
	defer it.Stop()
	for {
		snap, err := it.Next()
		if err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return fmt.Errorf("watch switches: %w", classify(err))
		}
		docs, err := snap.Documents.GetAll()
		if err != nil {
			return fmt.Errorf("watch switches: %w", classify(err))
		}
		fn(s.readSwitches(docs))
	}
}

func (s *Store) readSwitches(docs []*firestore.DocumentSnapshot) jobs.Switches {
	out := jobs.Switches{Paused: map[jobs.Queue]jobs.Pause{}, Division: jobs.Division{Partitions: 1, Workers: 1}}
	for _, doc := range docs {
		switch {
		case doc.Ref.ID == "rescuers":
			out.Division = s.readDivision(doc)
		case doc.Exists():
			for _, q := range jobs.Queues {
				if doc.Ref.ID == "queue-"+string(q) {
					l := s.readLease(doc)
					out.Paused[q] = jobs.Pause{Paused: l.Paused, Actor: l.Actor, Reason: l.Reason, At: l.At}
				}
			}
		}
	}
	return out
}
