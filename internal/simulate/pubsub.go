package simulate

import (
	"context"
	"slices"
	"strconv"
	"sync"
	"time"

	"exportd/jobs"
)

const (
	// ackDeadline is what exportd sets for its subscriptions.
	ackDeadline = 20 * time.Second
	// pullFor is how long a pull waits for a message.
	pullFor = 60 * time.Second
)

// pubsub is the queues with their messages.
type pubsub struct {
	*world
	mu     sync.Mutex
	queues map[jobs.Queue]*subscription
}

// subscription is a subscription: messages that can be taken, pulls that wait, and what is out.
type subscription struct {
	ready   []*message
	waiting []*pull
	out     map[*byte]*message // by the delivery's bytes
}

type message struct {
	data  []byte
	id    string
	timer *time.Timer // until it comes again
}

type pull struct {
	process string
	limit   int
	got     chan []jobs.PulledMessage
}

func newPubsub(w *world) *pubsub {
	q := &pubsub{world: w, queues: map[jobs.Queue]*subscription{}}
	for _, name := range append([]jobs.Queue{jobs.QueueDead}, jobs.Queues...) {
		q.queues[name] = &subscription{out: map[*byte]*message{}}
	}
	return q
}

// arrive makes a message available, to a pull that waits or to the next.
func (q *pubsub) arrive(name jobs.Queue, m *message) {
	q.mu.Lock()
	defer q.mu.Unlock()
	l := q.queues[name]
	if len(l.waiting) == 0 {
		l.ready = append(l.ready, m)
		return
	}
	i := int(q.chance("pull", m.id) * float64(len(l.waiting))) // Pub/Sub promises no order
	p := l.waiting[i]
	l.waiting = slices.Delete(l.waiting, i, i+1)
	p.got <- []jobs.PulledMessage{q.hand(name, m)}
}

// hand marks a message as out until its deadline.
func (q *pubsub) hand(name jobs.Queue, m *message) jobs.PulledMessage {
	data := slices.Clone(m.data)
	again := &message{data: m.data, id: m.id}
	q.queues[name].out[&data[0]] = again
	again.timer = time.AfterFunc(ackDeadline, func() { q.back(name, &data[0]) })
	q.count.add("Pub/Sub messages delivered", 1)
	return jobs.PulledMessage{Data: data}
}

// back makes a message that is out available again.
func (q *pubsub) back(name jobs.Queue, key *byte) {
	q.mu.Lock()
	m := q.queues[name].out[key]
	delete(q.queues[name].out, key)
	q.mu.Unlock()
	if m != nil {
		q.arrive(name, &message{data: m.data, id: m.id})
	}
}

// line is the queues as a process reaches them.
type line struct{ *process }

// Publish sends a message.
func (p line) Publish(ctx context.Context, name jobs.Queue, m jobs.Message) error {
	if err := p.alive(); err != nil {
		return err
	}
	id := m.JobID + strconv.Itoa(m.Part) + m.CallbackID
	return p.take(ctx, pubsubPublish, 0, func() error {
		p.count.add("Pub/Sub messages published", 1)
		way := p.scaled(pubsubDeliver.at(p.chance("deliver", string(name), id)))
		msg := &message{data: m.Encode(), id: id}
		time.AfterFunc(way, func() { p.queue.arrive(name, msg) })
		return nil
	}, "publish", string(name), id)
}

// Pull waits for messages.
func (p line) Pull(ctx context.Context, name jobs.Queue, limit int) ([]jobs.PulledMessage, error) {
	if err := p.alive(); err != nil {
		return nil, err
	}
	var w *pull
	var got []jobs.PulledMessage
	err := p.take(ctx, pubsubCall, 0, func() error {
		p.count.add("Pub/Sub pulls", 1)
		q := p.queue
		q.mu.Lock()
		defer q.mu.Unlock()
		l := q.queues[name]
		for len(got) < limit && len(l.ready) > 0 {
			got = append(got, q.hand(name, l.ready[0]))
			l.ready = l.ready[1:]
		}
		if len(got) == 0 {
			w = &pull{process: p.name, limit: limit, got: make(chan []jobs.PulledMessage, 1)}
			l.waiting = append(l.waiting, w)
		}
		return nil
	}, "pull", string(name))
	if w == nil {
		return got, err
	}
	t := time.NewTimer(pullFor)
	defer t.Stop()
	select {
	case got := <-w.got:
		return got, p.alive()
	case <-ctx.Done():
	case <-t.C:
	case <-p.dead:
	}
	p.queue.mu.Lock()
	l := p.queue.queues[name]
	l.waiting = slices.DeleteFunc(l.waiting, func(o *pull) bool { return o == w })
	p.queue.mu.Unlock()
	if err := p.alive(); err != nil {
		return nil, err
	}
	select {
	case got := <-w.got: // came in this very instant
		return got, nil
	default:
		return nil, context.Cause(ctx)
	}
}

// Ack takes a message off its queue.
func (p line) Ack(ctx context.Context, name jobs.Queue, d jobs.PulledMessage) error {
	return p.settle(ctx, name, d, "Pub/Sub acknowledgements", func(m *message) {})
}

// Nack has a message come again.
func (p line) Nack(ctx context.Context, name jobs.Queue, d jobs.PulledMessage, after time.Duration) error {
	return p.settle(ctx, name, d, "Pub/Sub deadlines changed", func(m *message) {
		time.AfterFunc(after, func() { p.queue.arrive(name, &message{data: m.data, id: m.id}) })
	})
}

// Bury puts a message aside.
func (p line) Bury(ctx context.Context, name jobs.Queue, d jobs.PulledMessage, _ string) error {
	p.count.add("Pub/Sub dead letters", 1)
	return p.Ack(ctx, name, d)
}

func (p line) settle(ctx context.Context, name jobs.Queue, d jobs.PulledMessage, what string, then func(*message)) error {
	if err := p.alive(); err != nil {
		return err
	}
	return p.take(ctx, pubsubCall, 0, func() error {
		p.count.add(what, 1)
		q := p.queue
		q.mu.Lock()
		m := q.queues[name].out[&d.Data[0]]
		delete(q.queues[name].out, &d.Data[0])
		q.mu.Unlock()
		if m != nil && m.timer.Stop() {
			then(m)
		}
		return nil
	}, what, string(name), string(d.Data))
}
