package webhook

import "sync"

// Concurrency bounds attempts in flight in one process. Zero fields get the defaults.
type Concurrency struct {
	// PerReceiver are those of one tenant at one origin; default 4. What is slow there holds up nothing but
	// itself.
	PerReceiver int
	// PerTenant are those of one tenant; default 8.
	PerTenant int
	// PerOrigin are those of all tenants at one origin; default 32. It keeps callbacks from being a weapon,
	// and is several times PerReceiver because customers share gateways.
	PerOrigin int
	// Total are all; default 128. An attempt takes about 100 KiB.
	Total int
	// SlowPerOrigin and SlowTotal are those of attempts that were set aside because they take long, beside
	// PerOrigin and Total; default 192 and 3 times Total. They do nothing but wait.
	SlowPerOrigin, SlowTotal int
}

func (p Concurrency) withDefaults() Concurrency {
	for field, value := range map[*int]int{&p.PerReceiver: 4, &p.PerTenant: 8, &p.PerOrigin: 32, &p.Total: 128, &p.SlowPerOrigin: 192} {
		if *field < 1 {
			*field = value
		}
	}
	if p.SlowTotal < 1 {
		p.SlowTotal = 3 * p.Total
	}
	return p
}

// maxKnownSlow bounds the receivers that are remembered as slow, about 500 KiB. One that is forgotten is
// found to be slow again.
const maxKnownSlow = 4096

// receiverOf is a tenant at an origin.
type receiverOf struct{ origin, tenant string }

// usage counts the attempts that share a bound.
type usage struct {
	total   int
	origins map[string]int
}

func (l *usage) add(origin string) {
	l.total++
	l.origins[origin]++
}

func (l *usage) drop(origin string) {
	l.total--
	drop(l.origins, origin)
}

// Limiter counts attempts in flight. Make it with NewLimiter; it is safe for concurrent use. Its memory is
// bounded by Concurrency: a count that falls to zero is forgotten.
//
// The upper half of an origin's permits, and of all permits, is for tenants that have none there. So no
// tenant can use them up.
//
// Attempts that take long are demoted, and give their permits to others: from then on their receiver has only
// the lower half of the slow permits, until it is quick once. The upper half is for those that are found to
// be slow. So receivers that hang hold others up only while they are new, for as long as it takes to set them
// aside. Where more are new at once than the upper half has room for, some 120 tenants within an attempt's 10
// s at one origin, the last are in a crowd: their attempts are to be broken off, and made again with a permit
// for slow ones.
type Limiter struct {
	bounds Concurrency

	mu            sync.Mutex
	quick, slow   usage
	receivers     map[receiverOf]int
	tenants       map[string]int
	slowReceivers map[receiverOf]struct{} // slow when last tried
	slowAt        map[string]int          // how many of them, by origin
}

// NewLimiter makes a Limiter.
func NewLimiter(p Concurrency) *Limiter {
	return &Limiter{
		bounds: p.withDefaults(), quick: usage{origins: map[string]int{}}, slow: usage{origins: map[string]int{}},
		receivers: map[receiverOf]int{}, tenants: map[string]int{}, slowReceivers: map[receiverOf]struct{}{}, slowAt: map[string]int{},
	}
}

// Permit is that of one attempt in flight.
type Permit struct {
	l        *Limiter
	receiver receiverOf
	usage    *usage // guarded by l.mu; nil when it was released
}

// TryAcquire takes a permit for one attempt, or gives nil at once when there is none for this tenant at this
// origin: the caller then puts the callback back instead of waiting, so that slow receivers never fill the
// pool. A permit must be released.
func (l *Limiter) TryAcquire(origin, tenant string) *Permit {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := receiverOf{origin, tenant}
	here, own := l.receivers[r], l.tenants[tenant]
	if here >= l.bounds.PerReceiver || own >= l.bounds.PerTenant {
		return nil
	}
	in, perOrigin, total := &l.quick, l.bounds.PerOrigin, l.bounds.Total
	if _, slow := l.slowReceivers[r]; slow {
		in, perOrigin, total = &l.slow, (l.bounds.SlowPerOrigin+1)/2, (l.bounds.SlowTotal+1)/2
	}
	if !hasRoom(in.origins[origin], perOrigin, here) || !hasRoom(in.total, total, own) {
		return nil
	}
	in.add(origin)
	l.receivers[r]++
	l.tenants[tenant]++
	return &Permit{l, r, in}
}

// Demote is to be called when the attempt has taken longer than one at a receiver that works. It reports
// whether that has freed a permit for others, or that the attempt is in a crowd: there is no permit for a
// slow one, and it holds one of the others.
func (p *Permit) Demote() (freed, crowd bool) {
	l := p.l
	l.mu.Lock()
	defer l.mu.Unlock()
	if p.usage != &l.quick {
		return false, false
	}
	l.remember(p.receiver)
	if l.slow.total >= l.bounds.SlowTotal || l.slow.origins[p.receiver.origin] >= l.bounds.SlowPerOrigin {
		return false, true
	}
	l.quick.drop(p.receiver.origin)
	l.slow.add(p.receiver.origin)
	p.usage = &l.slow
	return true, false
}

// Slow reports whether the permit is one of those that are for slow receivers.
func (p *Permit) Slow() bool {
	p.l.mu.Lock()
	defer p.l.mu.Unlock()
	return p.usage == &p.l.slow
}

// Release gives the permit back; calling it again does nothing. quick says that the attempt did not take
// long.
func (p *Permit) Release(quick bool) {
	l := p.l
	l.mu.Lock()
	defer l.mu.Unlock()
	if p.usage == nil {
		return
	}
	p.usage.drop(p.receiver.origin)
	p.usage = nil
	drop(l.receivers, p.receiver)
	drop(l.tenants, p.receiver.tenant)
	if quick {
		l.forget(p.receiver)
	}
}

func (l *Limiter) remember(r receiverOf) {
	if _, ok := l.slowReceivers[r]; ok {
		return
	}
	if len(l.slowReceivers) >= maxKnownSlow {
		for other := range l.slowReceivers {
			l.forget(other)
			break
		}
	}
	l.slowReceivers[r] = struct{}{}
	l.slowAt[r.origin]++
}

func (l *Limiter) forget(r receiverOf) {
	if _, ok := l.slowReceivers[r]; ok {
		delete(l.slowReceivers, r)
		drop(l.slowAt, r.origin)
	}
}

// Full reports whether an origin has no permit for anybody.
func (l *Limiter) Full(origin string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	quick := l.quick.total >= l.bounds.Total || l.quick.origins[origin] >= l.bounds.PerOrigin
	slow := l.slow.total >= (l.bounds.SlowTotal+1)/2 || l.slow.origins[origin] >= (l.bounds.SlowPerOrigin+1)/2
	return quick && (slow || l.slowAt[origin] == 0)
}

// hasRoom reports whether a tenant that has some of the taken permits may have another one.
func hasRoom(taken, limit, own int) bool {
	return taken < (limit+1)/2 || taken < limit && own == 0
}

func drop[K comparable](counts map[K]int, key K) {
	if counts[key]--; counts[key] <= 0 {
		delete(counts, key)
	}
}
