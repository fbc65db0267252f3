package inmemory

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"exportd/jobs"
)

// AckDeadline is after how long a message comes again that was neither acknowledged nor given back.
const AckDeadline = 10 * time.Second

// Queue holds messages. Safe for concurrent use.
type Queue struct {
	// PullFor bounds a Pull that finds nothing; 60 s if 0.
	PullFor time.Duration

	mu      sync.Mutex
	changed chan struct{} // closed when a message comes
	queues  map[jobs.Queue][]message
	pulls   int64
}

// message waits, or is out until its deadline.
type message struct {
	data    []byte
	receipt string // of the last delivery
	from    time.Time
}

// NewQueue makes an empty Queue.
func NewQueue() *Queue {
	return &Queue{changed: make(chan struct{}), queues: map[jobs.Queue][]message{}}
}

// Publish sends a message.
func (q *Queue) Publish(ctx context.Context, queue jobs.Queue, m jobs.Message) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	q.add(queue, m.Encode())
	return nil
}

func (q *Queue) add(queue jobs.Queue, data []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.queues[queue] = append(q.queues[queue], message{data: data})
	q.tell()
}

func (q *Queue) tell() {
	close(q.changed)
	q.changed = make(chan struct{})
}

// Pull waits for messages of a queue and gives at most limit.
func (q *Queue) Pull(ctx context.Context, queue jobs.Queue, limit int) ([]jobs.PulledMessage, error) {
	pullFor := q.PullFor
	if pullFor == 0 {
		pullFor = time.Minute
	}
	until := time.NewTimer(pullFor)
	defer until.Stop()
	for {
		out, next, changed := q.take(queue, limit)
		if len(out) > 0 {
			return out, nil
		}
		again := time.NewTimer(next)
		select {
		case <-ctx.Done():
			again.Stop()
			return nil, context.Cause(ctx)
		case <-until.C:
			again.Stop()
			return nil, nil
		case <-changed:
		case <-again.C:
		}
		again.Stop()
	}
}

// take gives what there is, and else when the next message comes back.
func (q *Queue) take(queue jobs.Queue, limit int) (out []jobs.PulledMessage, next time.Duration, changed chan struct{}) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	next = AckDeadline
	for i := range q.queues[queue] {
		m := &q.queues[queue][i]
		if wait := m.from.Sub(now); wait > 0 {
			next = min(next, wait)
			continue
		}
		if len(out) == limit {
			break
		}
		q.pulls++
		m.receipt, m.from = strconv.FormatInt(q.pulls, 10), now.Add(AckDeadline)
		out = append(out, jobs.PulledMessage{Data: m.data, Receipt: m.receipt})
	}
	return out, next, q.changed
}

// change does something with the message of a delivery, if that is still its last one.
func (q *Queue) change(queue jobs.Queue, d jobs.PulledMessage, fn func(i int)) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i, m := range q.queues[queue] {
		if m.receipt == d.Receipt && d.Receipt != "" {
			fn(i)
			return
		}
	}
}

// Ack takes a message off the queue.
func (q *Queue) Ack(_ context.Context, queue jobs.Queue, d jobs.PulledMessage) error {
	q.change(queue, d, func(i int) { q.queues[queue] = append(q.queues[queue][:i:i], q.queues[queue][i+1:]...) })
	return nil
}

// Nack gives a message back, to be delivered again after a pause.
func (q *Queue) Nack(_ context.Context, queue jobs.Queue, d jobs.PulledMessage, after time.Duration) error {
	q.change(queue, d, func(i int) {
		m := &q.queues[queue][i]
		m.receipt, m.from = "", time.Now().Add(after)
		q.tell()
	})
	return nil
}

// Bury puts a message that no code can handle on the queue of the dead.
func (q *Queue) Bury(ctx context.Context, queue jobs.Queue, d jobs.PulledMessage, _ string) error {
	if queue == jobs.QueueDead {
		return fmt.Errorf("bury what is dead: %w", jobs.ErrInvalid)
	}
	q.add(jobs.QueueDead, d.Data)
	return q.Ack(ctx, queue, d)
}
