package simulate

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"exportd/internal/localcloud/firestoreserver/fsvalue"
	"exportd/jobs"
)

const (
	// rateWindow is over what time rates are averaged that a service bounds per second: bursts of a second
	// are borne, those of ten are not.
	rateWindow = 10 * time.Second
	// documentWindow is the same for writes of one document, which may be a few at once but not for long.
	documentWindow = time.Minute
)

// rate counts events and remembers the busiest window.
type rate struct{ total, window, n, peak int64 }

func (r *rate) add(now time.Time, every time.Duration, n int64) {
	r.total += n
	if w := now.UnixNano() / int64(every); w != r.window {
		r.window, r.n = w, 0
	}
	r.n += n
	r.peak = max(r.peak, r.n)
}

// perSecond is the busiest window's rate.
func (r *rate) perSecond(every time.Duration) float64 { return float64(r.peak) / every.Seconds() }

// level follows how many of something there are and remembers the fullest window.
type level struct {
	n      int
	since  time.Time
	window int64
	area   time.Duration // n times time, in the window
	peak   float64
}

func (l *level) add(now time.Time, n int) {
	for !l.since.IsZero() {
		w := now.UnixNano() / int64(rateWindow)
		end := now
		if l.window != w {
			end = time.Unix(0, (l.window+1)*int64(rateWindow))
		}
		l.area += time.Duration(l.n) * end.Sub(l.since)
		l.since = end
		if l.window == w {
			break
		}
		l.peak = max(l.peak, l.area.Seconds()/rateWindow.Seconds())
		l.window, l.area = l.window+1, 0
	}
	if l.since.IsZero() {
		l.since, l.window = now, now.UnixNano()/int64(rateWindow)
	}
	l.n += n
}

// counts is everything that is counted in a scenario. Safe for concurrent use.
type counts struct {
	mu     sync.Mutex
	rates  map[string]*rate // by what is done
	docs   map[fsvalue.Path]*rate
	ranges map[string]*rate
	most   map[string]int
	jobs   level // leases of jobs: slots in use
	parts  level

	// changed is told of each write of a job.
	changed func(before, after *document)
}

func newCounts() *counts {
	return &counts{
		rates: map[string]*rate{}, docs: map[fsvalue.Path]*rate{}, ranges: map[string]*rate{}, most: map[string]int{},
		changed: func(_, _ *document) {},
	}
}

// add counts n events of a kind.
func (c *counts) add(what string, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.addLocked(what, n)
}

func (c *counts) addLocked(what string, n int) {
	r := c.rates[what]
	if r == nil {
		r = &rate{}
		c.rates[what] = r
	}
	r.add(time.Now(), rateWindow, int64(n))
}

// gauge remembers the most that something has been.
func (c *counts) gauge(what string, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.most[what] = max(c.most[what], n)
}

// read counts documents that were read, for a process.
func (c *counts) read(process string, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.addLocked("Firestore reads", n)
	kind, _, _ := strings.Cut(process, "-")
	c.addLocked("Firestore reads of "+kind+"s", n)
}

// wrote counts a write or delete, what it does to the document, and to ranges of indexes.
func (c *counts) wrote(before, after *document) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	doc := cmp.Or(after, before)
	if after == nil {
		c.addLocked("Firestore deletes", 1)
	} else {
		c.addLocked("Firestore writes", 1)
		c.addLocked("Firestore writes in "+doc.path.CollectionID(), 1)
		c.one(c.docs, doc.path).add(now, documentWindow, 1)
		for _, e := range after.entries {
			if e.rng != "" && (before == nil || !slices.ContainsFunc(before.entries, func(o entry) bool { return o.index == e.index && o.key == e.key })) {
				r := c.ranges[e.rng]
				if r == nil {
					r = &rate{}
					c.ranges[e.rng] = r
				}
				r.add(now, rateWindow, 1)
			}
		}
	}
	c.slots(now, before, -1)
	c.slots(now, after, 1)
	if doc.path.CollectionID() == "ExportJobs" {
		c.changed(before, after)
	}
}

func (c *counts) one(m map[fsvalue.Path]*rate, p fsvalue.Path) *rate {
	r := m[p]
	if r == nil {
		r = &rate{}
		m[p] = r
	}
	return r
}

// slots follows the leases of jobs and parts. Whoever finalizes a job still has the slot of its last part.
func (c *counts) slots(now time.Time, d *document, n int) {
	if d == nil || d.fields["lease"].GetMapValue().GetFields()["token"].GetStringValue() == "" {
		return
	}
	switch {
	case d.path.CollectionID() == "parts", d.path.CollectionID() == "ExportJobs" && d.fields["phase"].GetStringValue() == string(jobs.PhaseFinalize):
		c.parts.add(now, n)
	case d.path.CollectionID() == "ExportJobs":
		c.jobs.add(now, n)
	}
}

// totals are all kinds with their numbers.
func (c *counts) totals() map[string]int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := map[string]int64{}
	for what, r := range c.rates {
		out[what] = r.total
	}
	return out
}

func (c *counts) peak(what string) float64 {
	if r := c.rates[what]; r != nil {
		return r.perSecond(rateWindow)
	}
	return 0
}

// operations is the busiest window's reads and writes a second, without those of rows.
func (c *counts) operations() float64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	sum := 0.0
	for _, what := range []string{"Firestore reads of workers", "Firestore reads of apis", "Firestore reads of callers", "Firestore reads of keys", "Firestore writes", "Firestore deletes"} {
		sum += c.peak(what)
	}
	return sum
}

// hottest gives the key with the busiest window, of those with equal ones the first.
func hottest[K comparable](m map[K]*rate, less func(a, b K) int) (key K, r *rate) {
	r = &rate{}
	for _, k := range slices.SortedFunc(maps.Keys(m), less) {
		if m[k].peak > r.peak {
			key, r = k, m[k]
		}
	}
	return key, r
}
