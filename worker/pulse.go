package worker

import (
	"fmt"
	"sync"
	"time"

	"exportd/jobs"
)

// stuckAfter is after how long without a sign a loop of the pool is taken to be stuck. Each goes round within
// a minute or two whatever the services do: what it waits for is bounded, as by roundWithin, but for the
// deletion of pointers, which has been seen to take seconds.
const stuckAfter = 5 * time.Minute

// rescuing is the name of the rescuer's loop beside those of the queues.
const rescuing = "rescue"

// pulse knows when the loops of a pool last went round, and what slots the queues have.
type pulse struct {
	now func() time.Time

	mu      sync.Mutex
	seen    map[string]time.Time
	waits   map[string]bool // for a slot or an open gate, as long as work or a pause may take
	free    map[jobs.Queue]func() (free, all int)
	stopped bool
}

func newPulse(now func() time.Time) *pulse {
	return &pulse{now: now, seen: map[string]time.Time{}, waits: map[string]bool{}, free: map[jobs.Queue]func() (int, int){}}
}

// beat notes that a loop goes round.
func (u *pulse) beat(loop string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.seen[loop], u.waits[loop] = u.now(), false
}

// wait notes that a queue waits for a slot, or for a queue that is paused.
func (u *pulse) wait(loop string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.waits[loop] = true
}

// stop notes that the loops end.
func (u *pulse) stop() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.stopped = true
}

func (u *pulse) slots(q jobs.Queue, count func() (free, all int)) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.free[q] = count
}

// Alive gives an error when a loop of the pool does not go round any more, which only another process mends.
// A queue that waits for a slot is alive: what has it has a lease, and an end.
func (p *Pool) Alive() error {
	u := p.pulse
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.stopped {
		return nil
	}
	for loop, at := range u.seen {
		if d := u.now().Sub(at); d > stuckAfter && !u.waits[loop] {
			return fmt.Errorf("the loop of %s has stood still for %s", loop, d.Round(time.Second))
		}
	}
	return nil
}

// Slots says how many slots a queue has and how many of them are free; none before Run.
func (p *Pool) Slots(q jobs.Queue) (free, all int) {
	p.pulse.mu.Lock()
	count := p.pulse.free[q]
	p.pulse.mu.Unlock()
	if count == nil {
		return 0, 0
	}
	return count()
}

// Partitions is how many partitions of the shards this pool looks after.
func (p *Pool) Partitions() int { return len(p.shares.mine()) }
