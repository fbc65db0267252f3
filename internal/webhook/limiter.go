package webhook

import "sync"

// Places bounds attempts in flight in one process. Zero fields get the defaults.
type Places struct {
	// PerReceiver are those of one tenant at one origin; default 4. What is slow there
	// holds up nothing but itself.
	PerReceiver int
	// PerTenant are those of one tenant; default 8.
	PerTenant int
	// PerOrigin are those of all tenants at one origin; default 32. It keeps callbacks from
	// being a weapon, and is several times PerReceiver because customers share gateways.
	PerOrigin int
	// Total are all; default 128. An attempt takes about 100 KiB.
	Total int
}

func (p Places) withDefaults() Places {
	for field, value := range map[*int]int{&p.PerReceiver: 4, &p.PerTenant: 8, &p.PerOrigin: 32, &p.Total: 128} {
		if *field < 1 {
			*field = value
		}
	}
	return p
}

// receiverOf is a tenant at an origin.
type receiverOf struct{ origin, tenant string }

// Limiter counts attempts in flight. Make it with NewLimiter; it is safe for concurrent
// use. Its memory is bounded by Places.Total: a count that falls to zero is forgotten.
//
// The upper half of an origin's places, and of all places, is for tenants that have none
// there. So no tenant can use them up: while fewer than half as many tenants as there are
// places have slow receivers, every other one gets a place at once.
type Limiter struct {
	places Places

	mu        sync.Mutex
	total     int
	receivers map[receiverOf]int
	tenants   map[string]int
	origins   map[string]int
}

// NewLimiter makes a Limiter.
func NewLimiter(p Places) *Limiter {
	return &Limiter{places: p.withDefaults(), receivers: map[receiverOf]int{}, tenants: map[string]int{}, origins: map[string]int{}}
}

// TryAcquire takes a place for one attempt, or reports false at once when there is none for
// this tenant at this origin: the caller then puts the callback back instead of waiting, so
// that slow receivers never fill the pool. After true, release must be called; calling it
// again does nothing.
func (l *Limiter) TryAcquire(origin, tenant string) (release func(), ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := receiverOf{origin, tenant}
	here, own := l.receivers[r], l.tenants[tenant]
	if here >= l.places.PerReceiver || own >= l.places.PerTenant ||
		!hasRoom(l.origins[origin], l.places.PerOrigin, here) || !hasRoom(l.total, l.places.Total, own) {
		return nil, false
	}
	l.total++
	l.receivers[r]++
	l.tenants[tenant]++
	l.origins[origin]++
	return sync.OnceFunc(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.total--
		drop(l.receivers, r)
		drop(l.tenants, tenant)
		drop(l.origins, origin)
	}), true
}

// Full reports whether an origin has no place for anybody.
func (l *Limiter) Full(origin string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.total >= l.places.Total || l.origins[origin] >= l.places.PerOrigin
}

// hasRoom reports whether a tenant that has own of the taken places may have another one.
func hasRoom(taken, places, own int) bool {
	return taken < (places+1)/2 || taken < places && own == 0
}

func drop[K comparable](counts map[K]int, key K) {
	if counts[key]--; counts[key] <= 0 {
		delete(counts, key)
	}
}
