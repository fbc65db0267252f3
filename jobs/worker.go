package jobs

// Slots are how much a worker does at a time: jobs (planning, and exports of one part), and parts of others.
type Slots struct{ Jobs, Parts int }

// MaxSlots is more than a worker has of either.
const MaxSlots = 1 << 10

// Worker is one that lives.
type Worker struct {
	ID string
	// Slots are none where it is of a build that does not tell them.
	Slots Slots
}

// WorkerIDs are those of workers.
func WorkerIDs(workers []Worker) (ids []string) {
	for _, w := range workers {
		ids = append(ids, w.ID)
	}
	return ids
}

// AllSlots adds up what workers have; none where there are none, or one does not tell.
func AllSlots(workers []Worker) (all Slots) {
	for _, w := range workers {
		if w.Slots.Jobs <= 0 || w.Slots.Parts <= 0 {
			return Slots{}
		}
		all.Jobs += w.Slots.Jobs
		all.Parts += w.Slots.Parts
	}
	return all
}
