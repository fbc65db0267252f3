package jobs

import (
	"fmt"
	"hash/fnv"
	"math"
	"slices"
	"time"
)

// Place is one of those that the running jobs of an org take, as many as may run at a time. It is taken in
// the commit of a claim and given back in the one by which the job stops running, so that the limit is exact
// and no crash keeps a place.
type Place struct {
	Schema int    `firestore:"schema"` // PlaceSchema
	Rev    string `firestore:"rev"`    // as Job.Rev
	OrgID  string `firestore:"orgId"`
	Number int    `firestore:"number"` // from 1
	// Turn counts how often the place was taken. Each taking writes another of the place's PlaceTurns
	// documents; the one of the highest turn holds.
	Turn int64 `firestore:"turn,omitempty"`
	// JobID is the job that has the place, "" if none has.
	JobID string `firestore:"jobId"`
	// Wanted: a job of the org has found no place free since a free one was last found by none. Then somebody
	// is due to look when the place is free.
	Wanted bool `firestore:"wanted"`
	// WakeAt is when the rescuer looks whether the place is free and who waits for it; zero unless Wanted.
	WakeAt time.Time `firestore:"wakeAt,omitempty"`
	Shard  int       `firestore:"shard"`
}

// PlaceSchema is that of all places. They have no versions: builds of any take and free the same ones at the
// same time, or an org would have its limit twice, or not at all. A field more is lost when an older build
// takes a place, as that writes another document. A change that older builds cannot do with takes another
// collection, and the places of both for as long as there are such builds.
const PlaceSchema = 1

// PlaceTurns is how many documents a place has, in turn. Firestore bears a write a second of a document; a
// place of an org that asks all the time for what takes a second or two is taken and given back 40 times a
// minute, by two writes, or three where others wait for it. Who looks at a place reads all of them.
const PlaceTurns = 6

const (
	// placeGrace is how long whoever has freed a place has to notify the next job, before the rescuer does,
	// and that one to take it before others may.
	placeGrace = 2 * time.Second
	// placeCheck is how often the rescuer looks whether the job that has a wanted place still runs. No crash
	// leaves a place with a job that does not; a hand or another version may.
	placeCheck = 5 * time.Minute
	// placeWait is how long a job without a place is left alone: freed places notify for it. It is for what
	// nobody has foreseen.
	placeWait = time.Hour
	// placeDoubt is how long until who looks through queued jobs has one of an org try again, which costs it
	// a read of all the org's places.
	placeDoubt = 2 * placeCheck
)

// NewPlace is a free place of an org.
func NewPlace(orgID string, number int) *Place {
	h := fnv.New32a()
	_, _ = fmt.Fprint(h, orgID, " ", number) // never fails
	return &Place{Schema: PlaceSchema, OrgID: orgID, Number: number, Shard: int(h.Sum32() % Shards)}
}

// DamagedPlace is what is believed of a place whose document makes no sense: who has the place, if that can
// be a job, as the commit by which that job stops running gives it back. Whether it was wanted is not known,
// so that who frees it has the rescuer look who waits.
func DamagedPlace(orgID string, number int, jobID string) *Place {
	p := NewPlace(orgID, number)
	if p.Wanted = true; ValidID(jobID) {
		p.JobID = jobID
	}
	return p
}

// TakeTurnAfter gives a damaged place the first turn after last that is in a slot: whose turn it was is not
// known, and so it counts as the last.
func (p *Place) TakeTurnAfter(last int64, slot int) {
	for last++; last%PlaceTurns != int64(slot); {
		last++
	}
	p.Turn = last
}

// WakeNow has a damaged place woken now, whatever its WakeAt says.
func (p *Place) WakeNow(now time.Time) { p.Wanted, p.WakeAt = true, now.Add(-time.Second) }

// promised reports whether a free place is to be left to the jobs that have waited longest: the rescuer looks
// within placeGrace whether one of them has it. By another's clock it may be none, and is taken by whoever
// comes.
func (p *Place) promised(now time.Time) bool {
	return p.Wanted && now.Before(p.WakeAt) && !p.WakeAt.After(now.Add(placeGrace))
}

// Slot is which of the place's documents its turn is in, from 0.
func (p *Place) Slot() int { return int(p.Turn % PlaceTurns) }

// Newest gives the document of a place that holds, nil if none is there.
func Newest(docs []*Place) (newest *Place) {
	for _, p := range docs {
		if p != nil && (newest == nil || p.Turn > newest.Turn) {
			newest = p
		}
	}
	return newest
}

// Places are the places of the job's org as a transaction has read them; ErrUnread where the store has to
// read some first.
type Places interface {
	// Any gives n of the places that the org has, or all, in whatever order, with those that it gave before;
	// nil if its jobs need none.
	Any(n int) ([]*Place, error)
	// Get gives one of them, also one that the org no longer has.
	Get(number int) (*Place, error)
	// Next gives the ids that WaitStore.Next gives.
	Next() ([]string, error)
}

// takePlace has the job take a free place, by a write to the document of its next turn: of several that take
// it at once all write that one, and a turn that is over is never free again to anybody, as its next has been
// written. It looks at one, and at the others only if that is taken: most orgs have few jobs at a time.
// Without a free place, the job waits: all that were looked at are wanted from then on, and whichever is
// freed first notifies the job that has waited longest.
//
// A place that is promised to those that have waited longest is left to them: else one that has just come
// would overtake them. A job that leaves it so looks again when the promise is over, whatever has come of it.
func (tx *Tx) takePlace() (ok bool, err error) {
	if tx.Places == nil {
		return true, nil
	}
	var places []*Place
	for _, n := range []int{1, math.MaxInt} {
		if places, err = tx.Places.Any(n); err != nil {
			return false, fmt.Errorf("places of org %s: %w", tx.Job.OrgID, err)
		}
		if len(places) == 0 {
			return true, nil
		}
		for _, p := range places {
			switch {
			case p.JobID == "" && p.promised(tx.Now):
				next, err := tx.Places.Next()
				if err != nil {
					return false, fmt.Errorf("who is next in org %s: %w", tx.Job.OrgID, err)
				}
				if !slices.Contains(next, tx.Job.ID) {
					tx.Job.WakeAt = tx.Now.Add(placeGrace)
					return false, nil
				}
				fallthrough
			case p.JobID == "", p.JobID == tx.Job.ID:
				tx.take(p)
				return true, nil
			}
		}
	}
	for _, p := range places {
		if !p.Wanted || p.WakeAt.IsZero() {
			p.Wanted, p.WakeAt = true, tx.Now.Add(placeCheck)
			tx.ChangedPlaces = append(tx.ChangedPlaces, p)
		}
	}
	tx.Job.WakeAt = tx.Now.Add(placeWait)
	return false, nil
}

func (tx *Tx) take(p *Place) {
	next := *p
	if p.JobID == "" {
		next.Turn++
		if !p.WakeAt.IsZero() { // nobody is to look at a turn that is over
			p.WakeAt = time.Time{}
			tx.ChangedPlaces = append(tx.ChangedPlaces, p)
		}
	}
	next.JobID, tx.Job.Place = tx.Job.ID, p.Number
	next.WakeAt = time.Time{}
	if p.Wanted {
		next.WakeAt = tx.Now.Add(placeCheck)
	}
	tx.ChangedPlaces = append(tx.ChangedPlaces, &next)
}

// leavePlace gives the job's place back.
func (tx *Tx) leavePlace() error {
	number := tx.Job.Place
	tx.Job.Place = 0
	if number <= 0 || tx.Places == nil {
		return nil
	}
	p, err := tx.Places.Get(number)
	if err != nil {
		return fmt.Errorf("place %d of org %s: %w", number, tx.Job.OrgID, err)
	}
	if p.JobID != tx.Job.ID {
		return nil
	}
	p.JobID, p.WakeAt = "", time.Time{}
	if p.Wanted {
		p.WakeAt = tx.Now.Add(placeGrace)
	}
	tx.ChangedPlaces = append(tx.ChangedPlaces, p)
	return nil
}

// Wake does what is due for a place (its newest document) whose WakeAt has passed: held says that its job
// still runs in it, waiting that jobs of the org are queued. It says whether to notify those that have waited
// longest. A place that is held stays wanted: whoever found it so counts on that.
func (p *Place) Wake(now time.Time, policy Policy, held, waiting bool) (notify bool) {
	switch {
	case p.WakeAt.IsZero() || now.Before(p.WakeAt):
		return false
	case held:
		p.WakeAt = now.Add(placeCheck)
		return false
	}
	p.JobID = ""
	if !waiting {
		p.Wanted, p.WakeAt = false, time.Time{}
		return false
	}
	p.WakeAt = now.Add(policy.NotifyAgain)
	return true
}
