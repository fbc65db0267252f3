package worker

import (
	"container/list"
	"sync"

	"exportd/internal/webhook"
	"exportd/jobs"
)

const (
	// maxParked bounds the deliveries that a worker remembers to wait for a place, at
	// most 16 MiB. One that is not remembered is rung by its wakeAt, which is only later.
	maxParked = 20_000
	// maxParkedOfOrg bounds those of one org. Of the upper half of maxParked, each org that
	// has none waiting gets one, so that the first callback of an org is always remembered
	// beside five that have thousands.
	maxParkedOfOrg = 2_000
)

// parking gives deliveries places, and holds those for which there is none. Places that
// become free go in turn: to one origin after the other, and at each to one org after the
// other. Within an org at an origin, to whoever came first.
type parking struct {
	limiter *webhook.Limiter

	mu      sync.Mutex
	parked  map[string]*orgQueue // by webhook-id
	orgs    map[string]int       // how many of each wait
	origins map[string]*list.Element
	turns   list.List // of *originQueue
}

// originQueue is who waits for a place at an origin.
type originQueue struct {
	origin string
	orgs   map[string]*list.Element
	turns  list.List // of *orgQueue
}

// orgQueue is what waits of one org at one origin.
type orgQueue struct {
	org        string
	line       []jobs.Message
	at, origin *list.Element // where it has its turn, and where its origin has
}

func newParking(l *webhook.Limiter) *parking {
	return &parking{limiter: l, parked: map[string]*orgQueue{}, orgs: map[string]int{}, origins: map[string]*list.Element{}}
}

// enter gives a delivery a place, or parks it and gives nil.
func (k *parking) enter(origin, org string, m jobs.Message) *webhook.Place {
	k.mu.Lock()
	defer k.mu.Unlock()
	if place := k.limiter.TryAcquire(origin, org); place != nil {
		return place
	}
	k.park(origin, org, m)
	return nil
}

func (k *parking) park(origin, org string, m jobs.Message) {
	n := k.orgs[org]
	if k.parked[m.CallbackID] != nil || n >= maxParkedOfOrg || len(k.parked) >= maxParked || n > 0 && len(k.parked) >= maxParked/2 {
		return
	}
	k.orgs[org]++
	at, ok := k.origins[origin]
	if !ok {
		at = k.turns.PushBack(&originQueue{origin: origin, orgs: map[string]*list.Element{}})
		k.origins[origin] = at
	}
	o := at.Value.(*originQueue)
	own, ok := o.orgs[org]
	if !ok {
		q := &orgQueue{org: org, origin: at}
		own = o.turns.PushBack(q)
		q.at, o.orgs[org] = own, own
	}
	q := own.Value.(*orgQueue)
	q.line = append(q.line, m)
	k.parked[m.CallbackID] = q
}

// again is for a delivery that is rung: waits says that it is parked. Should there be a place for
// it all the same, the first of its line takes that.
func (k *parking) again(id string) (waits bool, first jobs.Message, place *webhook.Place) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.turn(id)
}

func (k *parking) turn(id string) (waits bool, first jobs.Message, place *webhook.Place) {
	q, waits := k.parked[id]
	if !waits {
		return false, first, nil
	}
	if place = k.limiter.TryAcquire(q.origin.Value.(*originQueue).origin, q.org); place != nil {
		first = k.take(q.origin, q.at)
	}
	return true, first, place
}

// tryEnter is enter for a delivery that is not parked without a place; if it is already, it is as again.
func (k *parking) tryEnter(origin, org string, m jobs.Message) (first jobs.Message, place *webhook.Place) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if waits, first, place := k.turn(m.CallbackID); waits {
		return first, place
	}
	return m, k.limiter.TryAcquire(origin, org)
}

// next takes out whose turn it is and gives it its place, which is nil if nobody who waits
// can have one. It is to be asked again until then whenever a place was left: one that is
// left may be one at its origin and one of its org.
//
// What it passes over are the origins that are full, the orgs that have their share, and those of
// whom a receiver is known to be slow, 4,096 at most, while slow ones have no place.
func (k *parking) next() (jobs.Message, *webhook.Place) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for at := k.turns.Front(); at != nil; at = at.Next() {
		o := at.Value.(*originQueue)
		if k.limiter.Full(o.origin) {
			continue
		}
		for own := o.turns.Front(); own != nil; own = own.Next() {
			q := own.Value.(*orgQueue)
			if place := k.limiter.TryAcquire(o.origin, q.org); place != nil {
				return k.take(at, own), place
			}
		}
	}
	return jobs.Message{}, nil
}

// take takes the first of a line out, and puts its org and its origin behind the others.
func (k *parking) take(at, own *list.Element) jobs.Message {
	o, q := at.Value.(*originQueue), own.Value.(*orgQueue)
	m := q.line[0]
	q.line[0] = jobs.Message{} // not to be kept by the slice
	q.line = q.line[1:]
	delete(k.parked, m.CallbackID)
	if k.orgs[q.org]--; k.orgs[q.org] == 0 {
		delete(k.orgs, q.org)
	}
	o.turns.MoveToBack(own)
	k.turns.MoveToBack(at)
	if len(q.line) == 0 {
		o.turns.Remove(own)
		delete(o.orgs, q.org)
	}
	if len(o.orgs) == 0 {
		k.turns.Remove(at)
		delete(k.origins, o.origin)
	}
	return m
}
