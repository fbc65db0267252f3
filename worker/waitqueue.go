package worker

import (
	"container/list"
	"sync"

	"exportd/internal/webhook"
	"exportd/jobs"
)

const (
	// maxQueued bounds the deliveries that a worker remembers to wait for a permit, at most 16 MiB. One that
	// is not remembered is notified by its wakeAt, which is only later.
	maxQueued = 20_000
	// maxQueuedOfOrg bounds those of one org. Of the upper half of maxQueued, each org that has none waiting
	// gets one, so that the first callback of an org is always remembered beside five that have thousands.
	maxQueuedOfOrg = 2_000
)

// waitQueue gives deliveries permits, and holds those for which there is none. Permits that become free go in
// turn: to one origin after the other, and at each to one org after the other. Within an org at an origin, to
// whoever came first.
type waitQueue struct {
	limiter *webhook.Limiter

	mu       sync.Mutex
	queued   map[string]*orgQueue // by webhook-id
	orgs     map[string]int       // how many of each wait
	origins  map[string]*list.Element
	rotation list.List // of *originQueue
}

// originQueue is who waits for a permit at an origin.
type originQueue struct {
	origin   string
	orgs     map[string]*list.Element
	rotation list.List // of *orgQueue
}

// orgQueue is what waits of one org at one origin.
type orgQueue struct {
	org                 string
	messages            []jobs.Message
	orgElem, originElem *list.Element // where it has its turn, and where its origin has
}

func newWaitQueue(l *webhook.Limiter) *waitQueue {
	return &waitQueue{limiter: l, queued: map[string]*orgQueue{}, orgs: map[string]int{}, origins: map[string]*list.Element{}}
}

// acquire gives a delivery a permit, or queues it and gives nil.
func (k *waitQueue) acquire(origin, org string, m jobs.Message) *webhook.Permit {
	k.mu.Lock()
	defer k.mu.Unlock()
	if permit := k.limiter.TryAcquire(origin, org); permit != nil {
		return permit
	}
	k.push(origin, org, m)
	return nil
}

func (k *waitQueue) push(origin, org string, m jobs.Message) {
	n := k.orgs[org]
	if k.queued[m.CallbackID] != nil || n >= maxQueuedOfOrg || len(k.queued) >= maxQueued || n > 0 && len(k.queued) >= maxQueued/2 {
		return
	}
	k.orgs[org]++
	at, ok := k.origins[origin]
	if !ok {
		at = k.rotation.PushBack(&originQueue{origin: origin, orgs: map[string]*list.Element{}})
		k.origins[origin] = at
	}
	o := at.Value.(*originQueue)
	orgElem, ok := o.orgs[org]
	if !ok {
		q := &orgQueue{org: org, originElem: at}
		orgElem = o.rotation.PushBack(q)
		q.orgElem, o.orgs[org] = orgElem, orgElem
	}
	q := orgElem.Value.(*orgQueue)
	q.messages = append(q.messages, m)
	k.queued[m.CallbackID] = q
}

// acquireQueued is for a delivery that is notified: waits says that it is queued. Should there be a permit
// for it all the same, the first of its line takes that.
func (k *waitQueue) acquireQueued(id string) (waits bool, first jobs.Message, permit *webhook.Permit) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.acquireQueuedLocked(id)
}

func (k *waitQueue) acquireQueuedLocked(id string) (waits bool, first jobs.Message, permit *webhook.Permit) {
	q, waits := k.queued[id]
	if !waits {
		return false, first, nil
	}
	if permit = k.limiter.TryAcquire(q.originElem.Value.(*originQueue).origin, q.org); permit != nil {
		first = k.pop(q.originElem, q.orgElem)
	}
	return true, first, permit
}

// tryAcquire is acquire for a delivery that is not queued without a permit; if it is already, it is as
// acquireQueued.
func (k *waitQueue) tryAcquire(origin, org string, m jobs.Message) (first jobs.Message, permit *webhook.Permit) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if waits, first, permit := k.acquireQueuedLocked(m.CallbackID); waits {
		return first, permit
	}
	return m, k.limiter.TryAcquire(origin, org)
}

// next takes out whose turn it is and gives it its permit, which is nil if nobody who waits can have one. It
// is to be asked again until then whenever a permit was given back: one that is left may be one at its origin
// and one of its org.
//
// What it passes over are the origins that are full, the orgs that have their share, and those of whom a
// receiver is known to be slow, 4,096 at most, while slow ones have no permit.
func (k *waitQueue) next() (jobs.Message, *webhook.Permit) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for at := k.rotation.Front(); at != nil; at = at.Next() {
		o := at.Value.(*originQueue)
		if k.limiter.Full(o.origin) {
			continue
		}
		for orgElem := o.rotation.Front(); orgElem != nil; orgElem = orgElem.Next() {
			q := orgElem.Value.(*orgQueue)
			if permit := k.limiter.TryAcquire(o.origin, q.org); permit != nil {
				return k.pop(at, orgElem), permit
			}
		}
	}
	return jobs.Message{}, nil
}

// pop takes the first of an org out, and puts its org and its origin behind the others.
func (k *waitQueue) pop(at, orgElem *list.Element) jobs.Message {
	o, q := at.Value.(*originQueue), orgElem.Value.(*orgQueue)
	m := q.messages[0]
	q.messages[0] = jobs.Message{} // not to be kept by the slice
	q.messages = q.messages[1:]
	delete(k.queued, m.CallbackID)
	if k.orgs[q.org]--; k.orgs[q.org] == 0 {
		delete(k.orgs, q.org)
	}
	o.rotation.MoveToBack(orgElem)
	k.rotation.MoveToBack(at)
	if len(q.messages) == 0 {
		o.rotation.Remove(orgElem)
		delete(o.orgs, q.org)
	}
	if len(o.orgs) == 0 {
		k.rotation.Remove(at)
		delete(k.origins, o.origin)
	}
	return m
}
