// Package fault makes the embedded cloud misbehave on purpose and counts what it is asked for.
//
// An Injector sits in front of the embedded servers as gRPC interceptors and HTTP middleware. It counts every
// call and the documents read and written (what Firestore would bill), and, when a Config says so, refuses
// calls, loses answers, breaks streams and bodies, drops and doubles messages, and slows streams down to the
// latency and speed of a real network. Without rules it only counts.
package fault

import (
	"context"
	"hash/fnv"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/status"
)

// Injector injects faults and counts. All methods are safe for concurrent use; a new Config holds for calls
// that start after it was set.
type Injector struct {
	rules    atomic.Pointer[rules]
	counters counters
}

// New returns an Injector that follows c.
func New(c Config) (*Injector, error) {
	in := &Injector{}
	if err := in.Set(c); err != nil {
		return nil, err
	}
	return in, nil
}

// Set replaces the configuration; on an error the old one stays. The count of calls, and so the place in the
// seed's sequence, starts again only with ResetCounters.
func (in *Injector) Set(c Config) error {
	rs, err := compile(c)
	if err != nil {
		return err
	}
	in.rules.Store(rs)
	return nil
}

// Config returns the configuration in force. The caller must not change its map.
func (in *Injector) Config() Config { return in.rules.Load().config }

// call is one call with its fate. A nil rule is a call without faults.
type call struct {
	*rule
	name    string
	counter *counter
	dice    *rand.Rand // nil without a rule; used by one goroutine at a time
}

func (in *Injector) begin(name string) *call {
	rs := in.rules.Load()
	c := &call{name: name, counter: in.counters.of(name), rule: rs.find(name)}
	n := c.counter.calls.Add(1)
	if c.rule != nil {
		h := fnv.New64a()
		_, _ = h.Write([]byte(name))
		c.dice = rand.New(rand.NewPCG(rs.config.Seed^h.Sum64(), uint64(n)))
	}
	return c
}

// roll says whether something of the given probability happens. It draws in any case, so that changing one
// rate does not change the fate of everything after it.
func (c *call) roll(rate float64) bool {
	hit := c.dice.Float64() < rate
	if hit {
		c.counter.faults.Add(1)
	}
	return hit
}

func (c *call) err(what string) error {
	return status.Errorf(c.status, "injected fault: %s", what)
}

func (c *call) delay() time.Duration { return time.Duration(c.DelayMS) * time.Millisecond }

func (c *call) latency() time.Duration { return time.Duration(c.LatencyMS) * time.Millisecond }

// pause waits for d or until ctx ends, whose error it returns as a status.
func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return status.FromContextError(ctx.Err()).Err()
	}
}

// shortName turns "/google.firestore.v1.Firestore/Commit" into "Firestore/Commit".
func shortName(full string) string {
	service, method, _ := strings.Cut(strings.TrimPrefix(full, "/"), "/")
	return service[strings.LastIndexByte(service, '.')+1:] + "/" + method
}
