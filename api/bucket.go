package api

import (
	"fmt"
	"math"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"
	"golang.org/x/time/rate"
)

// Rate is a token bucket: PerSecond requests in the long run, Burst at once.
type Rate struct {
	// PerSecond is how fast the bucket fills; 0 means no limit.
	PerSecond float64
	// Burst is what the bucket holds; two seconds' worth if 0, at least one.
	Burst int
}

func (r Rate) withDefaults() Rate {
	if r.PerSecond == 0 {
		return Rate{}
	}
	if r.Burst == 0 {
		r.Burst = max(1, int(math.Ceil(2*r.PerSecond)))
	}
	return r
}

// maxBuckets bounds the memory of a set of buckets to a few megabytes. Buckets that are used keep their place
// against a stream of new ones (W-TinyLFU); one that is forgotten begins full again, which only helps whoever
// had been quiet.
const maxBuckets = 20_000

// buckets are a bucket for each of many callers. They belong to one process: over n processes a caller has up
// to n times the rate. The rate may change meanwhile.
type buckets struct{ now atomic.Pointer[bucketSet] }

// bucketSet is the buckets of one rate; nil limits nothing.
type bucketSet struct {
	rate  Rate
	cache *otter.Cache[string, *rate.Limiter]
}

func newBuckets(r Rate) (*buckets, error) {
	b := &buckets{}
	return b, b.change(r)
}

// change has another rate hold from now on, with full buckets; 0 is no limit. The same rate changes nothing.
func (b *buckets) change(r Rate) error {
	if b.rate() == r.withDefaults() {
		return nil
	}
	if r.PerSecond == 0 {
		b.now.Store(nil)
		return nil
	}
	// No expiry, so the cache has no goroutine that would have to be ended.
	cache, err := otter.New(&otter.Options[string, *rate.Limiter]{MaximumSize: maxBuckets})
	if err != nil {
		return fmt.Errorf("make rate limiter: %w", err)
	}
	b.now.Store(&bucketSet{r.withDefaults(), cache})
	return nil
}

// rate is the one that holds; the zero value where there is no limit.
func (b *buckets) rate() Rate {
	if set := b.now.Load(); set != nil {
		return set.rate
	}
	return Rate{}
}

// level is the state of a bucket after a request has asked for a token. Where there is no limit it is ok, and
// its rate is zero.
type level struct {
	Rate
	ok   bool
	left int           // whole tokens
	wait time.Duration // until there is a token, where there was none; else until it is full
}

// take asks for a token of the caller's bucket.
func (b *buckets) take(caller string, now time.Time) level { return b.ask(caller, now, 1) }

// look shows the caller's bucket and takes nothing.
func (b *buckets) look(caller string, now time.Time) level { return b.ask(caller, now, 0) }

func (b *buckets) ask(caller string, now time.Time, tokens int) level {
	set := b.now.Load()
	if set == nil {
		return level{ok: true}
	}
	l, ok := set.cache.GetIfPresent(caller)
	if !ok {
		l, _ = set.cache.SetIfAbsent(caller, rate.NewLimiter(rate.Limit(set.rate.PerSecond), set.rate.Burst))
	}
	allowed := l.AllowN(now, tokens)
	left := max(0, l.TokensAt(now))
	missing := float64(set.rate.Burst) - left
	if !allowed {
		missing = float64(tokens) - left
	}
	return level{set.rate, allowed, int(left), time.Duration(math.Ceil(missing / set.rate.PerSecond * float64(time.Second)))}
}

// seconds rounds up: whoever comes back then finds a token.
func seconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }

// policy and state are the values of the headers RateLimit-Policy and RateLimit
// (draft-ietf-httpapi-ratelimit-headers): what the bucket holds and how long an empty one takes to fill; what
// is left and when there is more.
func (l level) policy() string {
	return fmt.Sprintf(`"key";q=%d;w=%d`, l.Burst, max(1, int(math.Ceil(float64(l.Burst)/l.PerSecond))))
}

func (l level) state() string {
	return fmt.Sprintf(`"key";r=%d;t=%d`, l.left, seconds(l.wait))
}

// leaveAtMost leaves a caller no more tokens than come in d.
func (b *buckets) leaveAtMost(caller string, now time.Time, d time.Duration) {
	set := b.now.Load()
	if set == nil {
		return
	}
	if l, ok := set.cache.GetIfPresent(caller); ok {
		l.AllowN(now, max(0, int(l.TokensAt(now)-set.rate.PerSecond*d.Seconds())))
	}
}

// networkOf is what one IP limit is for: an IPv4 address, or an IPv6 /64, of which a single caller has all
// addresses.
func networkOf(addr netip.Addr) netip.Prefix {
	addr = addr.Unmap().WithZone("")
	bits := addr.BitLen()
	if addr.Is6() {
		bits = 64
	}
	p, _ := addr.Prefix(bits) // in range
	return p
}

// network is the name of an address's network.
func network(addr netip.Addr) string { return networkName(networkOf(addr)) }

func networkName(p netip.Prefix) string {
	if p.Addr().Is6() {
		return p.String()
	}
	return p.Addr().String()
}
