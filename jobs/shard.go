package jobs

import "hash/fnv"

// Shards is how many stretches the index of wakeAt is cut into. Firestore takes about 500 writes a second on
// a stretch in which values only grow, as times do: 30 take 15,000, against the 2,700 of 1,024 workers with
// all their slots busy. More than 30 would need a second query each time that one rescuer asks for all of
// them: `in` takes 30 values.
const Shards = 30

// ShardOf gives the shard of whatever belongs to a job, from a hash of its id.
func ShardOf(jobID string) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(jobID)) // never fails
	return int(h.Sum32() % Shards)
}

// PartShard gives the shard of a part. The parts of one job lie side by side in all of them, as a job may
// have thousands.
func PartShard(jobID string, index int) int { return (ShardOf(jobID) + max(index, 0)) % Shards }

// EndedShard gives the shard of a job that has ended, of which nobody waits: those are in shards of their
// own, above the others, so that what is due for them does not stand before a retry.
func EndedShard(shard int) int { return shard + Shards }

// reshard puts the job into the shard that it belongs in.
func (j *Job) reshard() {
	j.Shard = ShardOf(j.ID)
	if j.State.Ended() {
		j.Shard = EndedShard(j.Shard)
	}
}
