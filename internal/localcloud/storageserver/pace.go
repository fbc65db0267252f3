package storageserver

import (
	"fmt"
	"net/http"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Limits of wear: https://cloud.google.com/storage/quotas#objects and #buckets.
const (
	// objectRate is how often one name may be written or deleted, sustained. Production lets short bursts
	// pass; how long they may be is not documented.
	objectRate  = rate.Limit(1)
	objectBurst = 5
	// bucketRate is how often buckets may be made and deleted in a project. The burst is for tests that make
	// several.
	bucketRate  = rate.Limit(0.5)
	bucketBurst = 20
	// maxPaced bounds the names that are remembered; those that have not changed for a while go first.
	maxPaced = 10_000
	pacedFor = time.Duration(float64(objectBurst) / float64(objectRate) * float64(time.Second))
)

// pace counts changes by object name.
type pace struct {
	now     func() time.Time
	buckets *rate.Limiter

	mu    sync.Mutex
	names map[string]*paced
}

type paced struct {
	limiter *rate.Limiter
	last    time.Time
}

func newPace() *pace {
	return &pace{now: time.Now, buckets: rate.NewLimiter(bucketRate, bucketBurst), names: map[string]*paced{}}
}

// object takes one change of an object, or says why it comes too soon. A nil pace lets all pass.
func (p *pace) object(bucket, name string) error {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now, key := p.now(), bucket+"/"+name
	entry := p.names[key]
	if entry == nil {
		p.prune(now)
		entry = &paced{limiter: rate.NewLimiter(objectRate, objectBurst)}
		p.names[key] = entry
	}
	entry.last = now
	if !entry.limiter.AllowN(now, 1) {
		return &apiError{http.StatusTooManyRequests, "rateLimitExceeded", fmt.Sprintf("The object %s exceeded the rate limit for object mutation operations (create, update, and delete). Please reduce your request rate. See https://cloud.google.com/storage/docs/gcs429.", key)}
	}
	return nil
}

// prune forgets names whose burst is whole again: a fresh entry is the same.
func (p *pace) prune(now time.Time) {
	if len(p.names) < maxPaced {
		return
	}
	for key, entry := range p.names {
		if now.Sub(entry.last) > pacedFor {
			delete(p.names, key)
		}
	}
	if len(p.names) >= maxPaced { // so many changes in 5 s: forget them rather than grow
		clear(p.names)
	}
}

// bucket takes one making or deleting of a bucket.
func (p *pace) bucket() error {
	if p == nil || p.buckets.AllowN(p.now(), 1) {
		return nil
	}
	return &apiError{http.StatusTooManyRequests, "rateLimitExceeded", "The project exceeded the rate limit for creating and deleting buckets."}
}
