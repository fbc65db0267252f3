package simulate

import (
	"math"
	"slices"
	"time"
)

// Scaling is what decides how many workers there are: the numbers of KEDA's ScaledObject in
// deployments/kubernetes/components/keda, as the cluster's horizontal autoscaler applies them
// (kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale, "Algorithm details").
type Scaling struct {
	Min, Max int
	// Jobs that wait and parts under way for each worker, and the age of the oldest job against which workers
	// are multiplied. While FreeSlots or more slots for jobs are free, what waits does so for other reasons,
	// and does not count.
	QueuedEach, PartsEach float64
	Oldest                time.Duration
	FreeSlots             int
	// In UpEvery workers become so much more at most, whichever is more; in DownEvery so much fewer, and no
	// sooner than nothing more was wanted for DownAfter.
	UpPercent, UpPods, DownPercent int
	UpEvery, DownEvery, DownAfter  time.Duration
}

// KEDA is the scaling of the manifests; deployments/tools/manifests holds it to them.
func KEDA() Scaling {
	return Scaling{
		Min: 2, Max: 32, QueuedEach: 4, PartsEach: 6, Oldest: 20 * time.Second, FreeSlots: 4,
		UpPercent: 100, UpPods: 4, UpEvery: 30 * time.Second, DownPercent: 25, DownEvery: time.Minute, DownAfter: 5 * time.Minute,
	}
}

const (
	// tolerance is by how much what is wanted may differ before something is done: the controller's default.
	tolerance = 0.1
	// syncEvery is how often the controller decides, its default; scrapeEvery how often Prometheus asks
	// processes (deployments/monitoring/podmonitoring.yaml), backlogEvery how old what they say of the queue
	// may be.
	syncEvery    = 15 * time.Second
	scrapeEvery  = 30 * time.Second
	backlogEvery = time.Minute
	// podStarts is assumed: a node with room, an image that is there.
	podStarts = 10 * time.Second
	// shrinkFor is how long a fleet is watched while it shrinks.
	shrinkFor = 5 * time.Minute
)

// observation is what the three queries of the ScaledObject give.
type observation struct {
	queued, parts float64
	oldest        time.Duration
	freeSlots     int
}

// wanted is how many workers each query asks for, by itself.
func (s Scaling) wanted(now int, o observation) (queued, parts, oldest int) {
	if o.freeSlots >= s.FreeSlots {
		o.queued, o.oldest = 0, 0
	}
	each := func(value, target float64) int { // AverageValue
		if ratio := value / (target * float64(now)); math.Abs(1-ratio) <= tolerance {
			return now
		}
		return int(math.Ceil(value / target))
	}
	oldest = now
	if ratio := float64(o.oldest) / float64(s.Oldest); math.Abs(1-ratio) > tolerance { // Value
		oldest = int(math.Ceil(ratio * float64(now)))
	}
	return each(o.queued, s.QueuedEach), each(o.parts, s.PartsEach), oldest
}

// controller applies a Scaling over time.
type controller struct {
	Scaling
	asked   []change // what was wanted, within DownAfter
	changed []change // by how many workers there were more or fewer, within the longest period
}

type change struct {
	at time.Time
	n  int
}

// decide says how many workers there are to be, where there are now so many and so many are wanted.
func (c *controller) decide(now time.Time, workers, wanted int) int {
	c.asked = append(recent(c.asked, now, c.DownAfter), change{now, wanted})
	c.changed = recent(c.changed, now, max(c.UpEvery, c.DownEvery))
	next := min(max(wanted, c.Min), c.Max)
	switch {
	case next > workers:
		began := workers - sum(recent(c.changed, now, c.UpEvery))
		limit := max(began+c.UpPods, int(math.Ceil(float64(began)*(1+float64(c.UpPercent)/100))))
		next = min(next, max(limit, workers))
	case next < workers:
		for _, a := range c.asked { // the most that was wanted of late
			next = max(next, min(a.n, workers))
		}
		began := workers - sum(recent(c.changed, now, c.DownEvery))
		limit := int(float64(began) * (1 - float64(c.DownPercent)/100))
		next = max(next, min(limit, workers), c.Min)
	}
	if next != workers {
		c.changed = append(c.changed, change{now, next - workers})
	}
	return next
}

func recent(changes []change, now time.Time, within time.Duration) []change {
	return slices.DeleteFunc(slices.Clone(changes), func(c change) bool { return now.Sub(c.at) >= within })
}

func sum(changes []change) (n int) {
	for _, c := range changes {
		n += c.n
	}
	return n
}

// Sample is what there was at a moment of a scenario whose workers are scaled.
type Sample struct {
	At                     time.Duration // since the first request
	PerMinute              float64
	Queued, Parts, Free    int
	Oldest                 time.Duration
	ByQueued, ByParts, Old int // what each query asks for
	Workers                int // that are to be there from now on
}

// scale decides every 15 s how many workers the fleet has, until the load has been over for a while. It sees
// what Prometheus sees: slots as of the last scrape, and the queue as of the last look at it.
func (r *Run) scale(s Scaling, steps []Step) {
	c, began := &controller{Scaling: s}, time.Now()
	var seen observation
	var scraped, looked time.Time
	length := s.DownAfter + shrinkFor
	for _, step := range steps {
		length += step.For
	}
	for at := time.Duration(0); at < length; at += syncEvery {
		time.Sleep(time.Until(began.Add(at)))
		now := time.Now()
		if now.Sub(scraped) >= scrapeEvery {
			scraped = now
			queued, oldest := r.traffic.waiting(now)
			jobs, parts := r.count.used()
			seen.parts, seen.freeSlots = float64(parts), max(0, len(r.fleet.members)*r.fleet.cfg.JobSlots-jobs)
			if now.Sub(looked) >= backlogEvery {
				looked = now
				seen.queued, seen.oldest = float64(queued), oldest
			}
		}
		workers := len(r.fleet.members)
		byQueued, byParts, byOldest := s.wanted(workers, seen)
		next := c.decide(now, workers, max(byQueued, byParts, byOldest))
		r.samples = append(r.samples, Sample{
			At: at, PerMinute: perMinute(steps, at), Queued: int(seen.queued), Parts: int(seen.parts), Free: seen.freeSlots, Oldest: seen.oldest,
			ByQueued: byQueued, ByParts: byParts, Old: byOldest, Workers: next,
		})
		r.must(r.fleet.resize(next))
	}
}

// resize starts workers, which take a while until they are there, or tells the newest to end.
func (f *fleet) resize(n int) error {
	for len(f.members) < n {
		if err := f.startAfter(podStarts); err != nil {
			return err
		}
	}
	for _, m := range f.members[n:] {
		m.term()
	}
	f.members = f.members[:n:n]
	return nil
}

func perMinute(steps []Step, at time.Duration) float64 {
	for _, s := range steps {
		if at < s.For {
			return s.PerMinute
		}
		at -= s.For
	}
	return 0
}

// used is how many slots for jobs and for parts are in use.
func (c *counts) used() (jobs, parts int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.jobs.n, c.parts.n
}

// waiting is how many jobs nobody has claimed, and the age of the oldest.
func (t *traffic) waiting(now time.Time) (n int, oldest time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, j := range t.accepted {
		if j.claimed.IsZero() && !j.state.Ended() && !j.created.IsZero() {
			n++
			oldest = max(oldest, now.Sub(j.created))
		}
	}
	return n, oldest
}

// byStep is how long jobs waited that were asked for in each step.
func (t *traffic) byStep(began time.Time, steps []Step) (out []Quantiles) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range steps {
		var waits []time.Duration
		for _, j := range t.accepted {
			if !j.claimed.IsZero() && !j.created.Before(began) && j.created.Before(began.Add(s.For)) {
				waits = append(waits, j.claimed.Sub(j.created))
			}
		}
		out, began = append(out, quantiles(waits)), began.Add(s.For)
	}
	return out
}
