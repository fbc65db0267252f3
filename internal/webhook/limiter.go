package webhook

import "sync"

// Limits of attempts in flight in one process. They keep slow receivers from
// holding all senders: 4 dead hosts of one tenant cannot take more than 8.
const (
	DefaultPerHost   = 4
	DefaultPerTenant = 8
)

// Limiter counts attempts in flight per host and per tenant. Make it with
// NewLimiter; it is safe for concurrent use. Its memory is bounded by what is
// in flight: a count that falls to zero is forgotten.
type Limiter struct {
	perHost, perTenant int

	mu      sync.Mutex
	hosts   map[string]int
	tenants map[string]int
}

// NewLimiter makes a Limiter; numbers below 1 stand for the defaults.
func NewLimiter(perHost, perTenant int) *Limiter {
	if perHost < 1 {
		perHost = DefaultPerHost
	}
	if perTenant < 1 {
		perTenant = DefaultPerTenant
	}
	return &Limiter{perHost: perHost, perTenant: perTenant, hosts: map[string]int{}, tenants: map[string]int{}}
}

// TryAcquire takes a place for one attempt, or reports false at once when host
// or tenant has none left: the caller then puts the callback back instead of
// waiting, so that one slow host never fills the pool. After true, release
// must be called; calling it again does nothing.
func (l *Limiter) TryAcquire(host, tenant string) (release func(), ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.hosts[host] >= l.perHost || l.tenants[tenant] >= l.perTenant {
		return nil, false
	}
	l.hosts[host]++
	l.tenants[tenant]++
	return sync.OnceFunc(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		drop(l.hosts, host)
		drop(l.tenants, tenant)
	}), true
}

func drop(counts map[string]int, key string) {
	if counts[key]--; counts[key] <= 0 {
		delete(counts, key)
	}
}
