package jobstest

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"exportd/jobs"
)

// Queue is all that a queue is to workers and servers.
type Queue interface {
	jobs.Publisher
	jobs.Subscriber
}

var queueCases = []struct {
	name string
	run  func(t *testing.T, q Queue)
}{
	{"what was published comes, as it was", comes},
	{"what was acknowledged comes no more", acknowledged},
	{"what is given back comes again", givenBack},
	{"what is given back for a while comes after it", givenBackFor},
	{"a pull gives no more than asked", noMoreThanAsked},
	{"those who pull side by side share what comes", shared},
	{"each queue has its own", ownLane},
	{"what is buried is on the queue of the dead", buried},
	{"a pull ends with its context", pullEnds},
}

// QueueSuite runs every case on an empty queue of its own, which open gives.
func QueueSuite(t *testing.T, open func(t *testing.T) Queue) {
	t.Helper()
	for _, c := range queueCases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.run(t, open(t))
		})
	}
	t.Logf("%d cases", len(queueCases))
}

func publish(t *testing.T, q Queue, queue jobs.Queue) jobs.Message {
	t.Helper()
	m := jobs.Message{JobID: jobs.NewID(), PlanEpoch: 3, Part: 7}
	if err := q.Publish(t.Context(), queue, m); err != nil {
		t.Fatalf("Publish = %v", err)
	}
	return m
}

// pull gives n deliveries at least, in as many pulls as that takes.
func pull(t *testing.T, q Queue, queue jobs.Queue, n int) (out []jobs.PulledMessage) {
	t.Helper()
	for len(out) < n {
		some, err := q.Pull(t.Context(), queue, n)
		if err != nil || len(some) > n {
			t.Fatalf("Pull = %d messages, %v, want at most %d", len(some), err, n)
		}
		out = append(out, some...)
	}
	return out
}

func parse(t *testing.T, d jobs.PulledMessage) jobs.Message {
	t.Helper()
	m, err := jobs.ParseMessage(d.Data)
	if err != nil {
		t.Errorf("ParseMessage = %v", err)
	}
	return m
}

// next publishes another message and tells that it is what comes next: nothing else is there.
func next(t *testing.T, q Queue, queue jobs.Queue) {
	t.Helper()
	want := publish(t, q, queue)
	if got := parse(t, pull(t, q, queue, 1)[0]); got != want {
		t.Errorf("%+v comes although nothing is left, want %+v", got, want)
	}
}

func comes(t *testing.T, q Queue) {
	var want, got []string
	for range 5 {
		want = append(want, publish(t, q, jobs.QueueParts).JobID)
	}
	for _, d := range pull(t, q, jobs.QueueParts, 5) {
		m := parse(t, d)
		if m.PlanEpoch != 3 || m.Part != 7 {
			t.Errorf("message = %+v", m)
		}
		got = append(got, m.JobID)
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("pulled %v, want %v in any order", got, want)
	}
}

func acknowledged(t *testing.T, q Queue) {
	publish(t, q, jobs.QueueParts)
	d := pull(t, q, jobs.QueueParts, 1)[0]
	for range 2 { // safe to repeat
		if err := q.Ack(t.Context(), jobs.QueueParts, d); err != nil {
			t.Errorf("Ack = %v", err)
		}
	}
	next(t, q, jobs.QueueParts)
}

func givenBack(t *testing.T, q Queue) {
	want := publish(t, q, jobs.QueueParts)
	for range 3 {
		d := pull(t, q, jobs.QueueParts, 1)[0]
		if got := parse(t, d); got != want {
			t.Errorf("pulled %+v, want %+v again", got, want)
		}
		if err := q.Nack(t.Context(), jobs.QueueParts, d, 0); err != nil {
			t.Errorf("Nack = %v", err)
		}
	}
	d := pull(t, q, jobs.QueueParts, 1)[0]
	if err := q.Ack(t.Context(), jobs.QueueParts, d); err != nil {
		t.Errorf("Ack = %v", err)
	}
	next(t, q, jobs.QueueParts)
}

func givenBackFor(t *testing.T, q Queue) {
	const pause = time.Second
	first := publish(t, q, jobs.QueueParts)
	d := pull(t, q, jobs.QueueParts, 1)[0]
	if err := q.Nack(t.Context(), jobs.QueueParts, d, pause); err != nil {
		t.Fatalf("Nack = %v", err)
	}
	from := time.Now() // after the pause has begun: what comes before its end comes too early whatever the load
	second := publish(t, q, jobs.QueueParts)
	d = pull(t, q, jobs.QueueParts, 1)[0]
	if got := parse(t, d); got != second {
		t.Errorf("pulled %+v within the pause, want the other message", got)
	}
	if got := parse(t, pull(t, q, jobs.QueueParts, 1)[0]); got != first {
		t.Errorf("pulled %+v, want %+v again", got, first)
	}
	if since := time.Since(from); since < pause-50*time.Millisecond { // the server's clock began a call earlier
		t.Errorf("it came %v after it was given back for %v", since, pause)
	}
}

func noMoreThanAsked(t *testing.T, q Queue) {
	for range 5 {
		publish(t, q, jobs.QueueParts)
	}
	seen := map[string]bool{}
	for range 5 {
		seen[parse(t, pull(t, q, jobs.QueueParts, 1)[0]).JobID] = true
	}
	if len(seen) != 5 {
		t.Errorf("%d of 5 messages came", len(seen))
	}
}

func shared(t *testing.T, q Queue) {
	const n = 12
	var mu sync.Mutex
	times := map[string]int{}
	for range n {
		times[publish(t, q, jobs.QueueParts).JobID] = 0
	}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range n / 4 {
				got, err := q.Pull(context.Background(), jobs.QueueParts, 1)
				if err != nil || len(got) != 1 {
					t.Errorf("Pull = %d, %v", len(got), err)
					return
				}
				m, err := jobs.ParseMessage(got[0].Data)
				if err == nil {
					err = q.Ack(context.Background(), jobs.QueueParts, got[0])
				}
				if err != nil {
					t.Errorf("Ack = %v", err)
				}
				mu.Lock()
				times[m.JobID]++
				mu.Unlock()
			}
		})
	}
	all.Wait()
	for id, k := range times {
		if k != 1 {
			t.Errorf("message %s came %d times to those who pull at once", id, k)
		}
	}
}

func ownLane(t *testing.T, q Queue) {
	for _, queue := range jobs.Queues {
		publish(t, q, queue)
	}
	for _, queue := range jobs.Queues {
		d := pull(t, q, queue, 1)[0]
		if err := q.Ack(t.Context(), queue, d); err != nil {
			t.Errorf("Ack = %v", err)
		}
		next(t, q, queue)
	}
}

func buried(t *testing.T, q Queue) {
	publish(t, q, jobs.QueueExports)
	d := pull(t, q, jobs.QueueExports, 1)[0]
	if err := q.Bury(t.Context(), jobs.QueueExports, d, "message names no document"); err != nil {
		t.Fatalf("Bury = %v", err)
	}
	if dead := pull(t, q, jobs.QueueDead, 1)[0]; string(dead.Data) != string(d.Data) {
		t.Errorf("dead letter = %q, want %q", dead.Data, d.Data)
	}
	if err := q.Nack(t.Context(), jobs.QueueExports, d, 0); err != nil { // it is off the queue: nothing comes back
		t.Errorf("Nack = %v", err)
	}
	next(t, q, jobs.QueueExports)
}

func pullEnds(t *testing.T, q Queue) {
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if got, err := q.Pull(ctx, jobs.QueueParts, 1); len(got) > 0 || err == nil {
		t.Errorf("Pull whose context ended = %d, %v, want an error", len(got), err)
	}
}
