package api

import (
	"cmp"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"exportd/internal/panics"
	"exportd/internal/synfilter"
)

const (
	// barFor is how long a network is barred that opens connections too fast, twice as long each time that it
	// does so again within barForgotten, at most longestBar: a flood gets a burst for each bar, and 80 ms of
	// one in 15 s, then 30, is not to be seen in a p99.
	barFor, longestBar, barForgotten = 15 * time.Second, 5 * time.Minute, 10 * time.Minute
	// barGrace is how long connections come in that were there before the filter was: the backlog's.
	barGrace = time.Second
	// maxBarred bounds the networks that are remembered, of which synfilter.MaxRules are barred at once: the
	// others' connections are reset, as before.
	maxBarred = 4 * synfilter.MaxRules
)

// barPasses is how many of 256 attempts get in, and from then on of a network that was too fast though
// barred. Half of them are enough where a few try without end: each stands still at its first drop for a
// second or three. Never none: callers and the platform's probes may share the network's address.
var barPasses = [...]uint8{128, 32, 4}

// bars keep networks out that open connections too fast. An attempt that the kernel drops costs next to
// nothing, where one that is accepted and reset costs a handshake, a file and as much again right after it.
// Whoever shares the address is a second late, not refused, and connections that are there go on.
type bars struct {
	set    func([]synfilter.Rule) error // nil: nobody is kept out
	opens  *buckets
	now    func() time.Time
	log    *zap.Logger
	panics *panics.Reporter
	number prometheus.Gauge

	mu    sync.Mutex
	bars  map[netip.Prefix]*bar
	timer *time.Timer // until the next one ends; nil if there is none
	ended bool
}

// bar is what is known of a network that was too fast.
type bar struct {
	since, until time.Time // since it is as tight as it is
	times        int       // it was barred
	tightness    int       // of barPasses
	over         bool      // it has ended
}

// strike says that a connection of a network was refused for coming too fast.
func (b *bars) strike(network netip.Prefix) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.set == nil || b.ended {
		return
	}
	now := b.now()
	one := b.bars[network]
	switch {
	case one == nil:
		if one = b.add(network, now); one == nil {
			return
		}
	case !one.over && (now.Sub(one.since) < barGrace || one.tightness == len(barPasses)-1):
		return
	case !one.over:
		one.since, one.tightness = now, one.tightness+1
		b.apply(now)
		return
	case b.active() >= synfilter.MaxRules:
		return
	}
	if now.Sub(one.until) > barForgotten {
		one.times = 0
	}
	length := min(barFor<<min(one.times, 8), longestBar)
	*one = bar{since: now, until: now.Add(length), times: one.times + 1}
	b.apply(now)
	b.log.Warn("a network opens connections too fast: most of what it tries is dropped for a while",
		zap.String("network", network.String()), zap.Duration("for", length), zap.Int("times", one.times))
}

// add makes room for a network; there may be none.
func (b *bars) add(network netip.Prefix, now time.Time) *bar {
	if b.active() >= synfilter.MaxRules {
		return nil
	}
	if len(b.bars) >= maxBarred { // the one that ended first is forgotten
		var oldest netip.Prefix
		for n, o := range b.bars {
			if was := b.bars[oldest]; o.over && (was == nil || o.until.Before(was.until)) {
				oldest = n
			}
		}
		delete(b.bars, oldest)
	}
	one := &bar{since: now, over: true}
	b.bars[network] = one
	return one
}

func (b *bars) active() (n int) {
	for _, one := range b.bars {
		if !one.over {
			n++
		}
	}
	return n
}

// apply ends what is over, tells the kernel, and comes again when there is more to end.
func (b *bars) apply(now time.Time) {
	var rules []synfilter.Rule
	var next time.Time
	for network, one := range b.bars {
		switch {
		case !one.over && one.until.After(now):
			rules = append(rules, synfilter.Rule{From: network, Pass: barPasses[one.tightness]})
			if next.IsZero() || one.until.Before(next) {
				next = one.until
			}
		case !one.over:
			one.over = true
			b.opens.leaveAtMost(networkName(network), now, time.Second)
		case now.Sub(one.until) > barForgotten:
			delete(b.bars, network)
		}
	}
	slices.SortFunc(rules, func(x, y synfilter.Rule) int { return cmp.Compare(x.Pass, y.Pass) })
	b.number.Set(float64(len(rules)))
	if err := b.set(rules); err != nil {
		b.log.Warn("connections that come too fast are reset, not dropped", zap.Error(err))
		b.set = nil
		b.number.Set(0)
		return
	}
	if b.timer != nil {
		b.timer.Stop()
		b.timer = nil
	}
	if !next.IsZero() {
		b.timer = time.AfterFunc(next.Sub(now), func() { b.panics.Run(panics.Listener, b.review) })
	}
}

// review ends the bars whose time is over.
func (b *bars) review() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.set != nil && !b.ended {
		b.apply(b.now())
	}
}

// end leaves the kernel's filter to go with its listener.
func (b *bars) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended = true
	if b.timer != nil {
		b.timer.Stop()
	}
}
