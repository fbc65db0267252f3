package simulate

import (
	"cmp"
	"math"
	"slices"
	"time"

	"exportd/internal/localcloud/firestoreserver/fsvalue"
	"exportd/jobs"
)

// Scenario is one line of the table.
type Scenario struct {
	Name      string
	Workers   int
	Orgs      int
	PerMinute float64       // exports asked for
	For       time.Duration // how long they are asked for
	// Happens, if set, runs beside the traffic.
	Happens func(r *Run) `json:"-"`
	// Near, if set, multiplies all latencies, the time of rows included.
	Near float64
	// Policy, if set, changes the numbers of the protocol.
	Policy func(*jobs.Policy) `json:"-"`
	// Steps, if set, are the load by time, in the place of PerMinute and For, and Scaling what decides
	// meanwhile, and for a while after, how many workers there are.
	Steps   []Step
	Scaling *Scaling
	// Settings are environment variables that differ from their defaults.
	Settings map[string]string
}

// Step is a load that lasts for a while.
type Step struct {
	PerMinute float64
	For       time.Duration
}

// settleWithin is how long after the last request every job must have ended: more than a lease, a backoff of
// five minutes and the longest export one after the other.
const settleWithin = 20 * time.Minute

// Run is a scenario under way, for what happens in it.
type Run struct {
	*world
	fleet   *fleet
	traffic *traffic
	samples []Sample
}

// Export asks for one export of so many rows, of the smallest org.
func (r *Run) Export(rows int64) { r.traffic.submit(r.traffic.orgs-1, rows, true) }

// KillZone has a third of the workers vanish.
func (r *Run) KillZone() { r.fleet.killZone(0) }

// Deploy replaces every worker, a tenth at a time.
func (r *Run) Deploy() error { return r.fleet.deploy(max(1, len(r.fleet.members)/10)) }

// BrownOut has Firestore answer ten times slower and fail a third of all calls for a while.
func (r *Run) BrownOut(length time.Duration) { r.breakDown(0, length, 10, 0.3) }

// must ends the simulation: what happens in it is not to go wrong.
func (r *Run) must(err error) {
	if err != nil {
		panic(err)
	}
}

// Simulate runs a scenario to its end. It must be called in a bubble of testing/synctest, whose time is the
// simulation's.
func Simulate(s Scenario, seed uint64, indexes []byte) (*Result, error) {
	// A bubble begins with the year 2000, before which a job believes no time.
	time.Sleep(time.Until(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)))
	w, err := newWorld(seed, indexes)
	if err != nil {
		return nil, err
	}
	cfg, err := settings(s.Settings)
	if err != nil {
		return nil, err
	}
	w.near, w.policy = cmp.Or(s.Near, 1), s.Policy
	t, err := newTraffic(w, cfg, s.Orgs)
	if err != nil {
		return nil, err
	}
	f := &fleet{world: w, cfg: cfg}
	for range s.Workers {
		if err := f.start(); err != nil {
			return nil, err
		}
	}
	time.Sleep(5 * time.Second) // all are up
	r := &Run{world: w, fleet: f, traffic: t}
	loaded := time.Now()
	if s.Happens != nil {
		t.pending.Go(func() { s.Happens(r) })
	}
	if s.Scaling != nil {
		t.pending.Go(func() { r.scale(*s.Scaling, s.Steps) })
	}
	for _, step := range s.Steps {
		t.offer(step.PerMinute, step.For)
	}
	if s.PerMinute > 0 {
		t.offer(s.PerMinute, s.For)
	} else {
		time.Sleep(s.For)
	}
	t.settle(settleWithin)
	res := result(s, r)
	res.Samples, res.Steps = r.samples, t.byStep(loaded, s.Steps)
	close(w.over)
	f.stop()
	t.close()
	return res, nil
}

// Load is how much of a limit is used at the busiest time.
type Load struct {
	Resource    string
	Peak, Limit float64
	Unit        string
	Of          string // which document or index
}

// Share is the load as a part of the limit.
func (l Load) Share() float64 { return l.Peak / l.Limit }

// Quantiles of a time.
type Quantiles struct {
	N        int
	P50, P99 time.Duration
}

// Result is what a scenario came to.
type Result struct {
	Scenario Scenario
	Took     time.Duration // virtual
	Jobs     int
	Rows     int64
	Lost     int // accepted, and no document is left
	Stuck    int // not ended
	Failed   int
	Short    int // succeeded with other rows than were asked for
	Refused  map[string]int
	Queue    map[string]Quantiles // by class of org: from accepted to claimed
	Total    Quantiles            // from accepted to ended
	Retried  Quantiles            // by how much retries came late
	Retired  Quantiles            // by how much the leftovers of ended jobs were swept late
	Loads    []Load               // the fullest first
	Totals   map[string]int64
	// Operations is the busiest ten seconds' reads and writes a second, without those of rows.
	Operations float64
	Cost       Cost
	// Samples and Steps are of a scenario whose workers are scaled: what was seen and decided, and how long
	// jobs of each step waited.
	Samples []Sample    `json:",omitempty"`
	Steps   []Quantiles `json:",omitempty"`
}

func result(s Scenario, r *Run) *Result {
	res := &Result{Scenario: s, Took: time.Since(r.began), Refused: map[string]int{}, Queue: map[string]Quantiles{}, Totals: r.count.totals()}
	t := r.traffic
	t.mu.Lock()
	waits := map[class][]time.Duration{}
	var totals []time.Duration
	for id, j := range t.accepted {
		c := classOf(j.rank, t.orgs)
		res.Jobs++
		switch {
		case j.created.IsZero():
			res.Lost++
			continue
		case !j.state.Ended():
			res.Stuck++
		case j.state == jobs.Failed:
			res.Failed++
		default:
			res.Rows += j.rows
			totals = append(totals, j.ended.Sub(j.created))
			if j.rows != r.asked(id) {
				res.Short++
			}
		}
		if !j.claimed.IsZero() {
			waits[c] = append(waits[c], j.claimed.Sub(j.created))
		}
	}
	for c := range classes {
		res.Queue[c.String()] = quantiles(waits[c])
		res.Refused[c.String()] = t.refused[c]
	}
	res.Total, res.Retried, res.Retired = quantiles(totals), quantiles(t.retried), quantiles(t.retired)
	t.mu.Unlock()
	res.Loads = loads(s, r)
	res.Operations = r.count.operations()
	res.Cost = costOf(res)
	return res
}

// asked is how many rows a job's document asks for.
func (r *Run) asked(id string) int64 {
	p, _ := fsvalue.ParseDocument("projects/" + project + "/databases/(default)/documents/ExportJobs/" + id)
	doc := r.db.get(p)
	if doc == nil {
		return -1
	}
	medium := doc.fields["params"].GetMapValue().GetFields()["mediumId"].GetStringValue()
	return rowsOf(&jobs.Job{Params: jobs.Params{"mediumId": medium}})
}

func quantiles(d []time.Duration) Quantiles {
	if len(d) == 0 {
		return Quantiles{}
	}
	slices.Sort(d)
	at := func(q float64) time.Duration { return d[int(math.Ceil(q*float64(len(d))))-1] }
	return Quantiles{N: len(d), P50: at(0.5), P99: at(0.99)}
}

// loads compares what was counted with the limits.
func loads(s Scenario, r *Run) []Load {
	c := r.count
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	c.jobs.add(now, 0)
	c.parts.add(now, 0)
	cfg, workers := r.fleet.cfg, s.Workers
	for _, sample := range r.samples {
		workers = max(workers, sample.Workers)
	}
	doc, writes := hottest(c.docs, fsvalue.Path.Compare)
	rng, entries := hottest(c.ranges, func(a, b string) int {
		if a < b {
			return -1
		}
		return 1
	})
	storageWrites := c.peak("Storage objects written") + c.peak("Storage objects composed") + c.peak("Storage objects deleted")
	out := []Load{
		{"writes of one document", writes.perSecond(documentWindow), limitDocument.Value, limitDocument.Unit, doc.Rel()},
		{"writes to one range of an index", entries.perSecond(rateWindow), limitRange.Value, limitRange.Unit, rangeName(rng)},
		{"streams of one connection", float64(c.most["streams"]), limitStreams.Value, limitStreams.Unit, ""},
		{"size of a request", float64(c.most["request bytes"]), limitRequest.Value, limitRequest.Unit, ""},
		{"slots for jobs", c.jobs.peak, float64(workers * cfg.JobSlots), "slots", ""},
		{"slots for parts", c.parts.peak, float64(workers * cfg.PartSlots), "slots", ""},
		{"object writes and deletes", storageWrites, limitObjectWrites.Value, limitObjectWrites.Unit, ""},
		{"object reads and lists", c.peak("Storage objects looked at") + c.peak("Storage lists"), limitObjectReads.Value, limitObjectReads.Unit, ""},
		{"bytes published", c.peak("Pub/Sub messages published") * messageBytes, limitPublish.Value, limitPublish.Unit, ""},
		{"bytes pulled", c.peak("Pub/Sub messages delivered") * messageBytes, limitPull.Value, limitPull.Unit, ""},
		{"signatures", c.peak("IAM signBlob") * 60, limitSign.Value, limitSign.Unit, ""},
	}
	slices.SortStableFunc(out, func(a, b Load) int {
		switch x, y := a.Share(), b.Share(); {
		case x > y:
			return -1
		case x < y:
			return 1
		}
		return 0
	})
	return out
}

// rangeName is an index without the values that fix the range.
func rangeName(rng string) string {
	for i := range len(rng) {
		if rng[i] == 0 {
			return rng[:i]
		}
	}
	return rng
}

// Scenarios are the lines of the table.
func Scenarios() []Scenario {
	base := func(name string, workers, orgs int, perMinute float64, length time.Duration) Scenario {
		return Scenario{Name: name, Workers: workers, Orgs: orgs, PerMinute: perMinute, For: length}
	}
	with := func(s Scenario, happens func(r *Run)) Scenario {
		s.Happens = happens
		return s
	}
	const m = time.Minute
	keda := KEDA()
	return []Scenario{
		base("idle", 4, 1, 0, 5*m), base("idle", 32, 1, 0, 5*m), base("idle", 256, 1, 0, 2*m), base("idle", 1024, 1, 0, m),
		base("steady", 4, 100, 10, 20*m), base("steady", 4, 100, 100, 5*m), base("steady", 4, 100, 1_000, m),
		base("steady", 32, 1_000, 100, 5*m), base("steady", 32, 1_000, 1_000, 2*m),
		base("steady", 256, 10_000, 1_000, 2*m), base("steady", 256, 10_000, 10_000, m),
		base("steady", 1024, 10_000, 10_000, m),
		with(base("10,000 jobs have ended, 1,000 are retried", 256, 1_000, 0, 4*m), func(r *Run) { r.must(r.EndAndRetry(10_000, 1_000)) }),
		with(base("one export of 100,000,000 rows", 256, 10_000, 100, 5*m), func(r *Run) { r.Export(100_000_000) }),
		with(base("a zone dies", 256, 10_000, 1_000, 2*m), func(r *Run) { time.Sleep(m); r.KillZone() }),
		with(base("everything is deployed", 256, 10_000, 1_000, 2*m), func(r *Run) { time.Sleep(m); r.must(r.Deploy()) }),
		{Name: "workers are scaled", Workers: keda.Min, Orgs: 1_000, Scaling: &keda, Steps: []Step{{100, 4 * m}, {1_000, 8 * m}, {10, 5 * m}}},
		with(base("Firestore brown-out of 5 minutes", 256, 10_000, 300, 8*m), func(r *Run) { time.Sleep(m); r.BrownOut(5 * m) }),
	}
}
