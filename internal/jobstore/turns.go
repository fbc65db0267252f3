package jobstore

import (
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

const (
	// turnsPerMinute is how many ends a process adds to one of its rollups in a minute: 42 % of the write a
	// second that Firestore bears of a document for long.
	turnsPerMinute = 25
	// maxTurns bounds a process's rollups of an hour, and what is read of them: 1,600 ends a minute, some 20
	// times what a worker of the busiest simulated fleet has.
	maxTurns = 64
)

// turns says to which of its own rollups of all orgs a process adds next: to the one with the fewest, of as
// many as it needs for what it has ended in this minute or the last. So a small fleet has few, which are what
// a window reads, and a large one enough, without a number that all would have to know.
type turns struct {
	mu     sync.Mutex
	first  int // of the process's numbers: at random, so that no other process has them
	minute time.Time
	last   int           // ends of the minute before
	now    int           // of this one
	each   [maxTurns]int // of this one, by rollup
}

func newTurns() *turns { return &turns{first: rand.IntN(1<<31 - maxTurns)} }

// next is for an end at a time.
func (t *turns) next(at time.Time) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	if minute := at.Truncate(time.Minute); !minute.Equal(t.minute) {
		if t.last = 0; minute.Sub(t.minute) == time.Minute {
			t.last = t.now
		}
		t.minute, t.now, t.each = minute, 0, [maxTurns]int{}
	}
	t.now++
	each := t.each[:min(maxTurns, 1+(max(t.now, t.last)-1)/turnsPerMinute)]
	turn := slices.Index(each, slices.Min(each))
	t.each[turn]++
	return t.first + turn
}
