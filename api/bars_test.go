package api

import (
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"exportd/internal/synfilter"
)

// kernel is what the kernel would have been told.
type kernel struct {
	mu    sync.Mutex // timers tell it, too
	rules []synfilter.Rule
	sets  int
	err   error
}

func (k *kernel) set(rules []synfilter.Rule) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.rules, k.sets = rules, k.sets+1
	return k.err
}

// told is how many rules it has, and how often it was told some.
func (k *kernel) told() (rules, sets int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.rules), k.sets
}

// pass is how many of 256 attempts from an address get through.
func (k *kernel) pass(addr string) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, r := range k.rules {
		if r.From.Contains(netip.MustParseAddr(addr)) {
			return int(r.Pass)
		}
	}
	return 256
}

// barredBench is a bench with connections that are barred by a kernel, in a bubble.
func barredBench(t *testing.T, change ...func(*Config)) (*bench, *connections, *kernel) {
	t.Helper()
	b := newBench(t, append([]func(*Config){func(c *Config) {
		c.Now, c.MaxConnections, c.IPRate = time.Now, 7, Rate{PerSecond: 10, Burst: 1}
	}}, change...)...)
	cs, k := b.connections(newDialled()), &kernel{}
	cs.bars.set = k.set
	t.Cleanup(cs.bars.end)
	return b, cs, k
}

// tries makes attempts that the kernel lets through, and says how many were refused.
func tries(t *testing.T, cs *connections, addr string, n int) (refused int) {
	t.Helper()
	for range n {
		ours, theirs := net.Pipe()
		c, why := cs.admit(from{theirs, addr})
		if why == cutRate {
			refused++
		} else if why != "" {
			t.Fatalf("refused: %s", why)
		} else {
			_ = c.Close()
		}
		_, _ = ours.Close(), theirs.Close()
	}
	return refused
}

// A network that opens connections too fast is kept out for a while, longer each time, tighter where it goes
// on; its others are not refused, and nobody else is concerned.
func TestBars(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, cs, k := barredBench(t, func(c *Config) { c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")} })
		wait := func(d time.Duration) { time.Sleep(d); synctest.Wait() }
		check := func(when, addr string, want int) {
			t.Helper()
			if got := k.pass(addr); got != want {
				t.Errorf("%s: %d of 256 from %s pass, want %d", when, got, addr, want)
			}
		}
		if n := tries(t, cs, "192.0.2.1", 7) + tries(t, cs, "10.0.0.1", 100); n != 0 {
			t.Fatalf("%d refused within the burst", n)
		}
		if _, sets := k.told(); sets != 0 {
			t.Fatalf("rules are set within the burst")
		}
		tries(t, cs, "192.0.2.1", 100) // the backlog does not make it worse
		check("at first", "192.0.2.1", 128)
		check("at first", "192.0.2.2", 256)
		if _, sets := k.told(); sets != 1 {
			t.Errorf("set %d times, want once", sets)
		}
		wait(2 * barGrace)
		if tries(t, cs, "192.0.2.1", 7) != 0 { // what comes in time is taken, though barred
			t.Error("refused within the rate")
		}
		check("within the rate", "192.0.2.1", 128)
		tries(t, cs, "192.0.2.1", 100)
		check("too fast though barred", "192.0.2.1", 32)
		wait(2 * barGrace)
		tries(t, cs, "192.0.2.1", 100)
		check("too fast again", "192.0.2.1", 4)
		wait(2 * barGrace)
		tries(t, cs, "192.0.2.1", 100)
		check("never none", "192.0.2.1", 4)
		wait(barFor)
		check("afterwards", "192.0.2.1", 256)
		for _, length := range []time.Duration{2 * barFor, 4 * barFor, 8 * barFor, 16 * barFor, longestBar, longestBar} {
			if n := tries(t, cs, "192.0.2.1", 20); n < 9 || n > 13 { // it begins with what comes in a second, not with a burst
				t.Errorf("%d of 20 refused, want what is over the rate of a second", n)
			}
			wait(length - time.Second)
			check("a second before the end", "192.0.2.1", 128)
			wait(time.Second)
			check("at the end of "+length.String(), "192.0.2.1", 256)
			wait(time.Second)
		}
		wait(barForgotten + time.Second)
		tries(t, cs, "192.0.2.1", 8)
		wait(barFor)
		check("forgotten", "192.0.2.1", 256)
	})
}

// An IPv6 network is barred as one.
func TestBarOfNetwork(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, cs, k := barredBench(t)
		for i := range 8 {
			tries(t, cs, fmt.Sprintf("2001:db8:0:1::%d", i), 1)
		}
		if k.pass("2001:db8:0:1:ffff::") != 128 || k.pass("2001:db8:0:2::1") != 256 {
			t.Errorf("rules are %v", k.rules)
		}
	})
}

// From however many networks it comes, no more are barred than a filter holds, or remembered than a bound;
// and each is one line of log.
func TestBarsAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		core, lines := observer.New(zap.WarnLevel)
		_, cs, k := barredBench(t, func(c *Config) { c.Logger = zap.New(core) })
		for round := range 10 {
			for i := range 200 {
				tries(t, cs, fmt.Sprintf("192.0.%d.%d", round, i), 8)
			}
			if n, _ := k.told(); n != synfilter.MaxRules {
				t.Errorf("round %d: %d rules, want %d", round, n, synfilter.MaxRules)
			}
			cs.bars.mu.Lock()
			n := len(cs.bars.bars)
			cs.bars.mu.Unlock()
			if n > maxBarred {
				t.Errorf("round %d: %d networks are remembered, want at most %d", round, n, maxBarred)
			}
			time.Sleep(barFor)
			synctest.Wait()
			if n, _ := k.told(); n != 0 {
				t.Errorf("round %d: %d rules are left", round, n)
			}
		}
		if n := lines.Len(); n != 10*synfilter.MaxRules {
			t.Errorf("%d lines, want one for each bar", n)
		}
	})
}

// Where the kernel takes no filter, connections are reset, which is said once.
func TestNoBars(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		core, lines := observer.New(zap.WarnLevel)
		_, cs, k := barredBench(t, func(c *Config) { c.Logger = zap.New(core) })
		k.err = synfilter.ErrUnsupported
		for range 3 {
			if n := tries(t, cs, "192.0.2.1", 100); n == 0 {
				t.Error("none refused")
			}
			time.Sleep(time.Second)
		}
		said := lines.FilterMessageSnippet("reset, not dropped").All()
		if _, sets := k.told(); sets != 1 || len(said) != 1 {
			t.Errorf("tried %d times, said %d times", sets, len(said))
		}
	})
}

// A listener of Listen takes a filter, which sockets of Multipath TCP do not.
func TestListen(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("filters are Linux's")
	}
	l, err := Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cs := newBench(t).connections(l)
	if cs.bars.set == nil {
		t.Fatal("nobody would be barred")
	}
	if err := cs.bars.set([]synfilter.Rule{{From: netip.MustParsePrefix("192.0.2.1/32")}}); err != nil {
		t.Error(err)
	}
}
