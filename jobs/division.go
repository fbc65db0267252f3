package jobs

import "time"

// MaxPartitions is into how many partitions the shards are divided at most: 16 rescuers do about 5,000 duties
// a second. A partition must have a shard.
const MaxPartitions = 16

// RoleTTL is how long a partition stays with a rescuer that shows no life.
const RoleTTL = 10 * time.Second

// Division says how the shards are shared out among the workers: partition k of n has the shards of which the
// remainder by n is k. n is a power of two, so that each partition of n is two of 2n.
type Division struct {
	Partitions int
	// Workers is about how many there are: the more, the less often each looks for a free partition.
	Workers int
	// ChangedAt moves with each change, and when somebody gives a partition up.
	ChangedAt time.Time
}

// Shards lists the shards of a partition.
func (d Division) Shards(partition int) (shards []int) {
	for shard := range Shards {
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
	// Earlier: the owner is of an earlier build, and gives the partition up to one of this.
	Earlier bool
}

// Switches are what workers are told of at once: paused queues and the division of the shards.
type Switches struct {
	Paused   map[Queue]Pause
	Division Division
}

// Pause is the state of a queue's pause switch.
type Pause struct {
	Paused        bool
	Actor, Reason string
	At            time.Time
}
