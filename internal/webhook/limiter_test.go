package webhook

import (
	"fmt"
	"runtime"
	"strconv"
	"sync"
	"testing"
)

// take takes places until there is none and says how many there were.
func take(l *Limiter, origin, tenant string, most int) (releases []func()) {
	for range most {
		place := l.TryAcquire(origin, tenant)
		if place == nil {
			break
		}
		releases = append(releases, func() { place.Release(true) })
	}
	return releases
}

func TestLimiter(t *testing.T) {
	t.Parallel()
	l := NewLimiter(Concurrency{})
	var all []func()
	want := func(origin, tenant string, n int) {
		t.Helper()
		got := take(l, origin, tenant, 100)
		if len(got) != n {
			t.Fatalf("%s has %d places at %s, want %d", tenant, len(got), origin, n)
		}
		all = append(all, got...)
	}
	want("https://dead.com", "a", 4)
	want("https://dead.com:8443", "a", 4)
	want("https://third.com", "a", 0) // its 8 are taken
	for n := range 3 {
		want("https://dead.com", "b"+strconv.Itoa(n), 4)
	}
	// 16 of the 32 at the origin are taken: from now on one each.
	for n := range 16 {
		want("https://dead.com", "c"+strconv.Itoa(n), 1)
	}
	if !l.Full("https://dead.com") || l.Full("https://dead.com:8443") {
		t.Error("the origin is not full, or another one is")
	}
	want("https://dead.com", "d", 0)
	want("https://other.com", "d", 4)
	all[0]()
	all[0]()                         // once only
	want("https://dead.com", "a", 0) // has others there
	want("https://dead.com", "e", 1)
	for _, release := range all {
		release()
	}
	if l.quick.total+l.slow.total+len(l.receivers)+len(l.tenants)+len(l.quick.origins)+len(l.slow.origins) != 0 {
		t.Errorf("left over: %d %v %v %v", l.quick.total, l.receivers, l.tenants, l.quick.origins)
	}
}

// TestLimiterShares: tenants that are greedy together leave half of all places to others.
func TestLimiterShares(t *testing.T) {
	t.Parallel()
	l := NewLimiter(Concurrency{})
	greedy := 0
	for n := range 20 {
		for m := range 10 {
			greedy += len(take(l, fmt.Sprintf("https://%d-%d.com", n, m), "greedy"+strconv.Itoa(n), 100))
		}
	}
	others := 0
	for n := range 1000 {
		others += len(take(l, "https://works.com:"+strconv.Itoa(n), "other"+strconv.Itoa(n), 100))
	}
	// 8 of 8 tenants, then one each of the 12 that came later: the rest is for others.
	if greedy != 64+12 || others != 128-greedy || !l.Full("https://x.com") {
		t.Errorf("greedy ones have %d places, others %d", greedy, others)
	}
}

// TestLimiterMemory: a million tenants at a million origins leave nothing behind, and those that hold places
// are bounded.
func TestLimiterMemory(t *testing.T) {
	l := NewLimiter(Concurrency{})
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for n := range 1_000_000 {
		place := l.TryAcquire("https://h"+strconv.Itoa(n)+".example.com", strconv.Itoa(n))
		if place != nil && n%10_000 != 0 {
			place.Release(n%2 == 0)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	kib := (int64(after.HeapAlloc) - int64(before.HeapAlloc)) >> 10
	t.Logf("1,000,000 tenants and origins, %d in flight: %d KiB", l.quick.total, kib)
	if l.quick.total != 100 || len(l.receivers) != 100 || len(l.tenants) != 100 || len(l.quick.origins) != 100 || kib > 1024 {
		t.Errorf("%d in flight, counts of %d, %d, %d, %d KiB", l.quick.total, len(l.receivers), len(l.tenants), len(l.quick.origins), kib)
	}
	runtime.KeepAlive(l)
}

func TestLimiterConcurrent(t *testing.T) {
	t.Parallel()
	l := NewLimiter(Concurrency{PerReceiver: 2, PerTenant: 3, PerOrigin: 4, Total: 6})
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			for j := range 100 {
				if place := l.TryAcquire(fmt.Sprint(j%5), fmt.Sprint(i%3)); place != nil {
					if i%2 == 0 {
						place.Demote()
					}
					place.Release(i%4 == 0)
				}
			}
		})
	}
	wg.Wait()
	if l.quick.total+l.slow.total+len(l.receivers)+len(l.tenants)+len(l.quick.origins)+len(l.slow.origins) != 0 {
		t.Errorf("left over: %d %v %v %v", l.quick.total, l.receivers, l.tenants, l.quick.origins)
	}
}

// TestLimiterSetsAside: what takes long gives its place to others, and its receiver has the lower half of the
// slow places until it is quick once.
func TestLimiterSetsAside(t *testing.T) {
	t.Parallel()
	const origin = "https://gateway.com"
	l := NewLimiter(Concurrency{PerOrigin: 4, SlowPerOrigin: 4})
	var hung []*Permit
	for n := range 4 {
		p := l.TryAcquire(origin, strconv.Itoa(n))
		if p == nil {
			t.Fatalf("tenant %d has no place", n)
		}
		hung = append(hung, p)
	}
	if !l.Full(origin) || l.TryAcquire(origin, "b") != nil {
		t.Error("a place at a full origin")
	}
	for n, p := range hung {
		first, _ := p.Demote()
		if again, crowd := p.Demote(); !first || again || crowd || !p.Slow() {
			t.Errorf("attempt %d was not set aside once", n)
		}
	}
	fifth := l.TryAcquire(origin, "b")
	if fifth == nil || fifth.Slow() {
		t.Fatal("no quick place, though all that is slow was set aside")
	}
	if freed, crowd := fifth.Demote(); freed || !crowd { // the slow places are taken
		t.Error("more was set aside than there is room for")
	}
	fifth.Release(true)
	if l.TryAcquire(origin, "0") != nil {
		t.Error("a slow tenant has the upper half of the slow places")
	}
	for _, p := range hung[:3] {
		p.Release(false)
	}
	again := l.TryAcquire(origin, "0")
	if again == nil || !again.Slow() {
		t.Fatal("a slow tenant has no place of those for slow ones")
	}
	again.Release(true)
	if p := l.TryAcquire(origin, "0"); p == nil || p.Slow() {
		t.Error("a tenant that was quick is still slow")
	}
	l = NewLimiter(Concurrency{})
	for n := range 2 * maxKnownSlow {
		p := l.TryAcquire(origin, strconv.Itoa(n))
		p.Demote()
		p.Release(false)
	}
	if len(l.slowReceivers) != maxKnownSlow || l.slowAt[origin] != maxKnownSlow {
		t.Errorf("%d slow receivers are known, %d at the origin, want %d", len(l.slowReceivers), l.slowAt[origin], maxKnownSlow)
	}
}
