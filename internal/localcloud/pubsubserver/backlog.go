package pubsubserver

import (
	"container/heap"
	"context"
	"net/http"
	"slices"
	"sync"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// confirmGrace is how long a delivered message stays leased after its stream ended if the client never
// confirmed it. The official client confirms every message it has read (a receipt modack every 100 ms) before
// it shuts down; what it has not confirmed was still in a network buffer and would otherwise be locked up for
// the whole ack deadline.
const confirmGrace = 2 * time.Second

// entry is one message in one subscription. Its fields belong to the backlog's lock once it is enqueued.
type entry struct {
	seq       uint64
	msg       *pubsubpb.PubsubMessage
	size      int64
	published time.Time

	attempts  int       // deliveries so far
	gen       uint64    // the delivery's own number, so that acks of an earlier one can be told from the current one
	at        time.Time // waiting: deliverable from; leased: the lease ends
	leased    bool
	sent      bool // the current delivery has left its puller's inbox
	confirmed bool // the client has extended the current lease at least once, so it has the message
	index     int  // place in its heap, -1 while it is being forwarded or taken off the disk
	held      bool // waits for an earlier message of its ordering key, in no heap
	to        *puller
}

// queue is a heap of entries by time, then by publish order.
type queue []*entry

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	if c := q[i].at.Compare(q[j].at); c != 0 {
		return c < 0
	}
	return q[i].seq < q[j].seq
}
func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

// Push implements heap.Interface.
func (q *queue) Push(x any) {
	e := x.(*entry)
	e.index = len(*q)
	*q = append(*q, e)
}

// Pop implements heap.Interface.
func (q *queue) Pop() any {
	last := len(*q) - 1
	e := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	e.index = -1
	return e
}

// backlog is a subscription at work: its undelivered and leased messages and the pullers that want them.
//
// Every message is in exactly one of waiting, leased and doomed, or held back for the order of its key, or in
// none while it is taken off the disk; all maps each to its entry. One timer, set only while something is due
// in the future, does leases and back-offs, so an idle subscription costs nothing.
type backlog struct {
	uid     uint64
	store   *store
	log     *zap.Logger
	limits  Limits
	forward func(*backlog, *entry, *pubsubpb.Subscription) error
	gone    chan struct{} // closed when the subscription is deleted or the server closes
	workers *sync.WaitGroup
	http    *http.Client

	mu         sync.Mutex
	sub        *pubsubpb.Subscription // replaced, never changed
	all        map[uint64]*entry
	waiting    queue
	leased     queue
	doomed     []*entry // out of attempts, to be forwarded to the dead-letter topic
	forwarding bool
	bytes      int64 // of all messages
	reserved   int   // messages being written to disk
	reservedB  int64
	pullers    []*puller
	turn       int    // whose turn it is in pullers
	gen        uint64 // last delivery number; starts from the clock, so that no number is used again after a restart
	timer      *time.Timer
	timerAt    time.Time // zero when no timer is set
	closed     error     // why, for the streams
	filter     filter
	keys       map[string][]*entry // with ordering: what there is of each key, in publish order; the first alone is not held
	tidied     int                 // acknowledged messages that were kept
	endpoint   string              // where messages are pushed, "" where they are pulled
	pusher     *puller             // nil where they are pulled
	stopPush   context.CancelFunc
	turned     chan struct{} // closed, for what pulls, when messages are pushed from now on
}

// subscription returns the settings in force. The caller must not change them.
func (b *backlog) subscription() *pubsubpb.Subscription {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.sub
}

// update puts new settings in force for everything not yet delivered.
func (b *backlog) update(sub *pubsubpb.Subscription) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sub = sub
	b.aim()
	b.dispatch(time.Now())
}

// reserve makes room for messages about to be written, or says RESOURCE_EXHAUSTED.
func (b *backlog) reserve(n int, size int64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.fits(n, size) {
		b.dropExpired(time.Now())
	}
	if !b.fits(n, size) {
		return status.Errorf(codes.ResourceExhausted, "backlog of %s is full: %d messages, %d bytes",
			b.sub.GetName(), len(b.all), b.bytes)
	}
	b.reserved += n
	b.reservedB += size
	return nil
}

func (b *backlog) fits(n int, size int64) bool {
	return len(b.all)+b.reserved+n <= b.limits.Messages && b.bytes+b.reservedB+size <= b.limits.Bytes
}

func (b *backlog) unreserve(n int, size int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reserved -= n
	b.reservedB -= size
}

// enqueue adds messages that are on disk.
func (b *backlog) enqueue(entries ...*entry) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed != nil {
		return
	}
	b.admit(entries, time.Now())
}

// admit is enqueue with b.mu held.
func (b *backlog) admit(entries []*entry, now time.Time) {
	for _, e := range entries {
		// A clock that was set back must not hide messages until it has caught up.
		if e.at.After(now) {
			e.at = now
		}
		b.all[e.seq] = e
		b.bytes += e.size
		if b.line(e) {
			heap.Push(&b.waiting, e)
		}
	}
	b.dispatch(now)
}

// dispatch hands out what is due to whoever has room, and sets the timer for the rest. Call it after every
// change.
func (b *backlog) dispatch(now time.Time) {
	if b.closed != nil {
		return
	}
	// One that is dropped may let the next of its key go.
	for expired := b.handOut(now); len(expired) > 0; expired = b.handOut(now) {
		b.discard(expired)
	}
	if len(b.doomed) > 0 && !b.forwarding {
		b.forwarding = true
		b.workers.Go(b.forwardDoomed)
	}
	b.schedule(now)
}

// handOut returns what has expired instead.
func (b *backlog) handOut(now time.Time) (expired []*entry) {
	for len(b.waiting) > 0 && !b.waiting[0].at.After(now) {
		e := b.waiting[0]
		switch {
		case b.expired(e, now):
			heap.Pop(&b.waiting)
			expired = append(expired, e)
			continue
		case b.dead(e):
			heap.Pop(&b.waiting)
			b.doomed = append(b.doomed, e)
			continue
		}
		p := b.nextPuller()
		if p == nil {
			break
		}
		heap.Pop(&b.waiting)
		b.lease(e, p, now)
	}
	return expired
}

func (b *backlog) expired(e *entry, now time.Time) bool {
	return now.Sub(e.published) > retentionOf(b.sub)
}

func (b *backlog) dead(e *entry) bool {
	p := b.sub.GetDeadLetterPolicy()
	return p != nil && e.attempts >= int(p.GetMaxDeliveryAttempts())
}

// nextPuller is the next in turn that has room, or nil.
func (b *backlog) nextPuller() *puller {
	for range b.pullers {
		b.turn = (b.turn + 1) % len(b.pullers)
		if p := b.pullers[b.turn]; p.hasRoom() {
			return p
		}
	}
	return nil
}

func (b *backlog) lease(e *entry, p *puller, now time.Time) {
	e.attempts++
	b.gen++
	e.gen = b.gen
	e.leased, e.sent, e.confirmed, e.to = true, false, false, p
	e.at = now.Add(p.leaseFor)
	heap.Push(&b.leased, e)
	p.add(e)
}

// unlease ends the current delivery without deciding what becomes of the message.
func (b *backlog) unlease(e *entry) {
	heap.Remove(&b.leased, e.index)
	e.to.release(e)
	if !e.sent {
		e.to.stuck = true // what it was given lay there for a whole lease; others should have the next
	}
	e.leased, e.to = false, nil
}

// requeue gives a leased message back after a nack or an expired lease: after the back-off of the retry
// policy, or at once.
func (b *backlog) requeue(e *entry, now time.Time) {
	b.unlease(e)
	e.at = now
	if !b.dead(e) {
		e.at = now.Add(backoff(b.retryPolicy(), e.attempts))
	}
	heap.Push(&b.waiting, e)
	if b.sub.GetDeadLetterPolicy() == nil {
		return
	}
	// The count decides about dead letters, so it should survive a restart; losing the last step of it is
	// harmless.
	c := b.store.newChange()
	c.put(b.uid, e)
	if err := c.post(); err != nil {
		b.log.Warn("keep delivery count", zap.String("subscription", b.sub.GetName()), zap.Error(err))
	}
}

func (b *backlog) retryPolicy() *pubsubpb.RetryPolicy {
	if p := b.sub.GetRetryPolicy(); p != nil || b.endpoint == "" {
		return p
	}
	return pushBackoff
}

// backoff is the exponential back-off of a retry policy after the given number of deliveries; zero without a
// policy.
func backoff(p *pubsubpb.RetryPolicy, attempts int) time.Duration {
	if p == nil {
		return 0
	}
	d, limit := p.GetMinimumBackoff().AsDuration(), p.GetMaximumBackoff().AsDuration()
	for i := 1; i < attempts && d < limit && d > 0; i++ {
		d *= 2
	}
	return min(d, limit)
}

// forget removes a message from memory. It must not be in a heap any more.
func (b *backlog) forget(e *entry) {
	delete(b.all, e.seq)
	b.bytes -= e.size
	b.leave(e)
}

// discard drops expired messages from memory and disk.
func (b *backlog) discard(entries []*entry) {
	if len(entries) == 0 {
		return
	}
	c := b.store.newChange()
	for _, e := range entries {
		b.forget(e)
		c.remove(b.uid, e.seq)
	}
	// Not waited for: a message that comes back after a crash is still past its retention and is dropped
	// again.
	if err := c.post(); err != nil {
		b.log.Warn("drop expired messages", zap.String("subscription", b.sub.GetName()), zap.Error(err))
	}
}

// dropExpired looks at everything that waits. It is linear, so it runs only when the backlog is full.
func (b *backlog) dropExpired(now time.Time) {
	var expired []*entry
	keep := b.waiting[:0]
	for _, e := range b.waiting {
		if b.expired(e, now) {
			expired = append(expired, e)
		} else {
			keep = append(keep, e)
		}
	}
	clear(b.waiting[len(keep):])
	b.waiting = keep
	for i, e := range b.waiting {
		e.index = i
	}
	heap.Init(&b.waiting)
	b.discard(expired)
}

// schedule sets the timer for the next lease that ends or back-off that is over.
func (b *backlog) schedule(now time.Time) {
	var next time.Time
	if len(b.leased) > 0 {
		next = b.leased[0].at
	}
	if len(b.waiting) > 0 {
		// What is due already waits for a puller, not for a time.
		if at := b.waiting[0].at; at.After(now) && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	// A timer that fires too early finds nothing to do and sets itself again: cheaper than resetting it with
	// each lease.
	if next.IsZero() || (!b.timerAt.IsZero() && !next.Before(b.timerAt)) {
		return
	}
	b.timerAt = next
	if b.timer == nil {
		b.timer = time.AfterFunc(next.Sub(now), b.wake)
		return
	}
	b.timer.Reset(next.Sub(now))
}

// wake runs when the timer fires.
func (b *backlog) wake() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.timerAt = time.Time{}
	if b.closed != nil {
		return
	}
	now := time.Now()
	for len(b.leased) > 0 && !b.leased[0].at.After(now) {
		b.requeue(b.leased[0], now)
	}
	b.dispatch(now)
}

// close ends all pulls with err.
func (b *backlog) close(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed != nil {
		return
	}
	b.closed = err
	if b.timer != nil {
		b.timer.Stop()
	}
	close(b.gone)
}

func (b *backlog) closeReason() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.closed
}

// take removes a message from its heap and from memory.
func (b *backlog) take(e *entry) {
	b.withdraw(e)
	b.forget(e)
}

// withdraw removes a message from its heap; nobody is given it.
func (b *backlog) withdraw(e *entry) {
	switch {
	case e.leased:
		b.unlease(e)
	case e.held:
	default:
		heap.Remove(&b.waiting, e.index)
	}
}

// attach registers a puller; messages flow to it from now on, until turned is closed at the latest.
func (b *backlog) attach(p *puller) (turned <-chan struct{}, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.endpoint != "" {
		return nil, errPushed
	}
	b.pullers = append(b.pullers, p)
	b.dispatch(time.Now())
	return b.turned, nil
}

// detach removes a puller and gives back what it did not send. What a stream sent and the client never
// confirmed follows after a grace; what the client confirmed stays leased, because a handler may be at work
// on it.
func (b *backlog) detach(p *puller) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if i := slices.Index(b.pullers, p); i >= 0 {
		b.pullers = slices.Delete(b.pullers, i, i+1)
	}
	now := time.Now()
	for _, d := range p.drain() {
		if d.current() {
			b.unlease(d.entry)
			d.entry.attempts-- // it never left the server
			d.entry.at = now
			heap.Push(&b.waiting, d.entry)
		}
	}
	if p.stream {
		for _, e := range slices.Clone(b.leased) {
			if end := now.Add(confirmGrace); e.to == p && !e.confirmed && e.at.After(end) {
				e.at = end
				heap.Fix(&b.leased, e.index)
			}
		}
	}
	b.dispatch(now)
}
