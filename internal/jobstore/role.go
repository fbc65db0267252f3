package jobstore

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"cloud.google.com/go/firestore"

	"exportd/jobs"
)

// MaxPartitions is into how many partitions the shards are divided at most: 16 rescuers do about
// 5,000 duties a second. A partition must have a shard.
const MaxPartitions = 16

// Division says how the shards are shared out among the workers: partition k of n has the shards
// of which the remainder by n is k. n is a power of two, so that each partition of n is two
// of 2n.
type Division struct {
	Partitions int
	// Workers is about how many there are: the more, the less often each looks for a free partition.
	Workers int
	// ChangedAt moves with each change, and when somebody gives a partition up.
	ChangedAt time.Time
}

// Shards lists the shards of a partition.
func (d Division) Shards(partition int) (shards []int) {
	for shard := range jobs.Shards {
		if shard%max(d.Partitions, 1) == partition {
			shards = append(shards, shard)
		}
	}
	return shards
}

// Partition is who does what is due in some of the shards.
type Partition struct {
	Index int
	Owner string // "" if nobody does
	Until time.Time
}

func partitionRole(index int) string { return "rescuer-" + strconv.Itoa(index) }

func (s *Store) division() *firestore.DocumentRef { return s.leases().Doc("rescuers") }

// Partitions gives the division and who holds its first n partitions. A document that cannot be
// read is as one that nobody has.
func (s *Store) Partitions(ctx context.Context, n int) (Division, []Partition, error) {
	refs := []*firestore.DocumentRef{s.division()}
	for k := range min(n, MaxPartitions) {
		refs = append(refs, s.leases().Doc("role-"+partitionRole(k)))
	}
	docs, err := s.client.GetAll(ctx, refs)
	if err != nil {
		return Division{}, nil, fmt.Errorf("ask who rescues: %w", classify(err))
	}
	now := s.cfg.Now().UTC()
	held := make([]Partition, len(docs)-1)
	for i, doc := range docs[1:] {
		held[i].Index = i
		if l := s.readLease(doc); l.Owner != "" && jobs.Held(l.Until, now, RoleTTL, s.cfg.Policy.Skew) {
			held[i].Owner, held[i].Until = l.Owner, l.Until
		}
	}
	return s.readDivision(docs[0]), held, nil
}

func (s *Store) readDivision(doc *firestore.DocumentSnapshot) Division {
	l := s.readLease(doc)
	d := Division{Partitions: 1, Workers: int(max(l.Count, 1)), ChangedAt: l.At}
	for d.Partitions < min(l.Partitions, MaxPartitions) {
		d.Partitions *= 2
	}
	return d
}

// RoleTTL is how long a partition stays with a rescuer that shows no life.
const RoleTTL = 10 * time.Second

// HoldPartition takes or renews a partition for owner; false when somebody else has it.
func (s *Store) HoldPartition(ctx context.Context, index int, owner string) (bool, error) {
	return s.Acquire(ctx, partitionRole(index), owner, RoleTTL)
}

// LeavePartition gives a partition up, and tells the others.
func (s *Store) LeavePartition(ctx context.Context, index int, owner string) error {
	if err := s.Release(ctx, partitionRole(index), owner); err != nil {
		return err
	}
	return s.Divide(ctx, func(*Division) {})
}

// Divide changes the division; every worker that watches the switches sees it at once.
func (s *Store) Divide(ctx context.Context, fn func(*Division)) error {
	return s.change(ctx, s.division(), func(l *lease) bool {
		d := Division{Partitions: max(l.Partitions, 1), Workers: int(l.Count)}
		fn(&d)
		l.Kind, l.Partitions, l.Count, l.At = "signal", d.Partitions, int64(d.Workers), s.cfg.Now().UTC()
		return true
	})
}

// Switches are what workers are told of at once: paused queues and the division of the shards.
type Switches struct {
	Paused   map[jobs.Queue]Pause
	Division Division
}

// Switches asks for them.
func (s *Store) Switches(ctx context.Context) (Switches, error) {
	docs, err := s.client.GetAll(ctx, append(s.pauses(), s.division()))
	if err != nil {
		return Switches{}, fmt.Errorf("ask for switches: %w", classify(err))
	}
	return s.readSwitches(docs), nil
}

// WatchSwitches calls fn with the switches as they are and again after each change, until ctx
// ends or the stream breaks, which is its error. It costs a read for each change.
func (s *Store) WatchSwitches(ctx context.Context, fn func(Switches)) error {
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

func (s *Store) readSwitches(docs []*firestore.DocumentSnapshot) Switches {
	out := Switches{Paused: map[jobs.Queue]Pause{}, Division: Division{Partitions: 1, Workers: 1}}
	for _, doc := range docs {
		switch {
		case doc.Ref.ID == "rescuers":
			out.Division = s.readDivision(doc)
		case doc.Exists():
			for _, q := range jobs.Queues {
				if doc.Ref.ID == "queue-"+string(q) {
					l := s.readLease(doc)
					out.Paused[q] = Pause{l.Paused, l.Actor, l.Reason, l.At}
				}
			}
		}
	}
	return out
}
