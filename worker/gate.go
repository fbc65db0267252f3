package worker

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"

	"exportd/jobs"
)

const (
	// askSwitchesEvery is how often a worker asks for the switches while it cannot listen to them.
	askSwitchesEvery = 2 * time.Second
	// staleAfter is after how long without a word about the switches a worker asks before it claims: a stream
	// that died without a sign would leave a paused queue open.
	staleAfter = 30 * time.Second
)

// gate lets the work of a queue through unless it is paused. Until the switches are known for the first time
// it is closed.
type gate struct {
	mu      sync.Mutex
	open    bool
	changed chan struct{} // closed with the next change
}

func newGate() *gate { return &gate{changed: make(chan struct{})} }

func (g *gate) set(open bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if open == g.open {
		return
	}
	g.open = open
	close(g.changed)
	g.changed = make(chan struct{})
}

func (g *gate) state() (open bool, changed <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.open, g.changed
}

func (g *gate) isOpen() bool { open, _ := g.state(); return open }

// while gives a context that ends when the gate closes.
func (g *gate) while(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	open, changed := g.state()
	if !open {
		cancel()
		return ctx, cancel
	}
	go func() {
		select {
		case <-ctx.Done():
		case <-changed:
			cancel()
		}
	}()
	return ctx, cancel
}

// gates are those of the queues, and what else workers are told of.
type gates struct {
	queues  map[jobs.Queue]*gate
	mu      sync.Mutex
	heardAt time.Time
}

func newGates() *gates {
	g := &gates{queues: map[jobs.Queue]*gate{}}
	for _, q := range jobs.Queues {
		g.queues[q] = newGate()
	}
	return g
}

// learn takes up the switches as they are now.
func (p *Pool) learn(s jobs.Switches) {
	now := p.Now()
	p.gates.mu.Lock()
	p.gates.heardAt = now
	p.gates.mu.Unlock()
	exports := s.Paused[jobs.QueueExports].Paused
	p.gates.queues[jobs.QueueExports].set(!exports)
	p.gates.queues[jobs.QueueParts].set(!exports && !s.Paused[jobs.QueueParts].Paused)
	p.gates.queues[jobs.QueueCallbacks].set(!s.Paused[jobs.QueueCallbacks].Paused)
	p.shares.learn(s.Division, now)
}

// passGate waits until the gate is open; false when ctx ended. It asks by itself, as a stream that died
// without a sign would leave it closed.
func (p *Pool) passGate(ctx context.Context, g *gate) bool {
	for {
		open, changed := g.state()
		if open {
			return ctx.Err() == nil
		}
		t := time.NewTimer(staleAfter)
		select {
		case <-ctx.Done():
			t.Stop()
			return false
		case <-changed:
			t.Stop()
		case <-t.C:
			p.refresh(ctx)
		}
	}
}

// refresh asks for the switches if nothing was heard of them for a while.
func (p *Pool) refresh(ctx context.Context) {
	p.gates.mu.Lock()
	stale := p.Now().Sub(p.gates.heardAt) >= staleAfter
	p.gates.mu.Unlock()
	if stale {
		p.askSwitches(ctx)
	}
}

func (p *Pool) askSwitches(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	if s, err := p.Store.Switches(ctx); err == nil {
		p.learn(s)
	}
}

// switches listens to the switches until ctx ends, and asks for them while it cannot.
func (p *Pool) switches(ctx context.Context) {
	for ctx.Err() == nil {
		err := p.Store.WatchSwitches(ctx, p.learn)
		if ctx.Err() != nil {
			return
		}
		p.Log.Debug("cannot listen to the switches; asks for them", zap.Error(err))
		p.askSwitches(ctx)
		wait(ctx, askSwitchesEvery)
	}
}
