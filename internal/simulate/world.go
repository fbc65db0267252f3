package simulate

import (
	"context"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"exportd/internal/backoff"
	"exportd/jobs"
)

// world is what all simulated processes share: the services, their weather, and what is counted.
type world struct {
	seed  uint64
	began time.Time
	db    *documents
	queue *pubsub
	files *bucket
	count *counts
	// near multiplies latencies; policy, if set, changes the protocol's numbers.
	near   float64
	policy func(*jobs.Policy)
	over   chan struct{} // closed when the scenario has ended: whoever is dead may go

	mu      sync.Mutex
	outages []outage
}

// outage is a time in which Firestore answers slowly or not at all.
type outage struct {
	from, to time.Time
	slower   float64 // factor on latencies
	errors   float64 // share of calls that fail, half of them after they were carried out
}

func newWorld(seed uint64, indexes []byte) (*world, error) {
	db, err := newDocuments(indexes)
	if err != nil {
		return nil, err
	}
	w := &world{seed: seed, began: time.Now(), db: db, over: make(chan struct{})}
	w.count = newCounts()
	w.queue, w.files = newPubsub(w), newBucket(w)
	db.wrote = w.count.wrote
	return w, nil
}

// breakDown has Firestore be slow and unreliable from now on for a while.
func (w *world) breakDown(after, length time.Duration, slower, errors float64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	from := time.Now().Add(after)
	w.outages = append(w.outages, outage{from, from.Add(length), slower, errors})
}

// weather gives the factor on Firestore's latencies and the share of its calls that fail.
func (w *world) weather() (slower, errors float64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	for _, o := range w.outages {
		if now.After(o.from) && now.Before(o.to) {
			return o.slower, o.errors
		}
	}
	return 1, 0
}

func (w *world) scaled(d time.Duration) time.Duration { return time.Duration(float64(d) * w.near) }

// process is a worker or API process as the services see it.
type process struct {
	*world
	name string
	dead chan struct{} // closed when it is killed: none of its calls ever returns

	mu      sync.Mutex
	streams int // calls to Firestore under way
}

func (w *world) process(name string) *process {
	return &process{world: w, name: name, dead: make(chan struct{})}
}

// kill ends the process between two instructions, as a power cut does.
func (p *process) kill() { close(p.dead) }

var errKilled = fmt.Errorf("the process is gone: %w", jobs.ErrUnavailable)

// alive holds whoever calls in a dead process until the scenario is over.
func (p *process) alive() error {
	select {
	case <-p.dead:
		<-p.over
		return errKilled
	default:
		return nil
	}
}

// take has a call take its time, in two halves around what it does: a caller that leaves in the second half
// does not learn what was done.
func (p *process) take(ctx context.Context, l latency, more time.Duration, do func() error, keys ...string) error {
	d := p.scaled(l.at(p.chance(append(keys, p.name)...)) + more)
	if err := backoff.Sleep(ctx, d/2); err != nil {
		return err
	}
	if err := p.alive(); err != nil {
		return err
	}
	err := do()
	if serr := backoff.Sleep(ctx, d-d/2); serr != nil {
		return serr
	}
	if aerr := p.alive(); aerr != nil {
		return aerr
	}
	return err
}

// ask is take for Firestore, with its weather and its streams.
func (p *process) ask(ctx context.Context, l latency, more time.Duration, do func() error, keys ...string) error {
	if err := p.alive(); err != nil {
		return err
	}
	p.mu.Lock()
	p.streams++
	p.count.gauge("streams", p.streams)
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		p.streams--
		p.mu.Unlock()
	}()
	slower, errors := p.weather()
	l.p50, l.p99 = time.Duration(float64(l.p50)*slower), time.Duration(float64(l.p99)*slower)
	fails := p.chance(append(keys, p.name, "fails")...) < errors
	before := fails && p.chance(append(keys, p.name, "before")...) < 0.5
	err := p.take(ctx, l, time.Duration(float64(more)*slower), func() error {
		if before {
			return nil
		}
		return do()
	}, keys...)
	if fails && err == nil {
		return status.Error(codes.Unavailable, "simulated: the service is unavailable")
	}
	if err != nil && ctx.Err() != nil {
		return status.FromContextError(ctx.Err()).Err()
	}
	return err
}
