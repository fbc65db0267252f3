package api

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"exportd/internal/export"
	"exportd/jobs"
)

// fakeQuoter quotes what it is told.
type fakeQuoter struct {
	quote export.Quote
	job   *jobs.Job
	err   error
	costs atomic.Int64 // counts that are for budgets, or of jobs ahead
}

func (f *fakeQuoter) Cost(context.Context, *jobs.Job) (export.Quote, error) {
	f.costs.Add(1)
	return f.quote, f.err
}

func (f *fakeQuoter) Quote(_ context.Context, j *jobs.Job) (export.Quote, error) {
	f.job = j
	return f.quote, nil
}

func (f *fakeQuoter) WithoutSortField(context.Context, *jobs.Job) (int64, error) {
	return f.quote.WithoutSortField, f.err
}

// TestDryRun: a quote makes no job, notifies nobody and says what the request would be refused for, wait for
// and attach to. What is wrong with the request it is refused for like an export.
func TestDryRun(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		rows, bytes int64
		without     int64
		limits      jobs.Limits
		workers     []jobs.Worker // of a build that tells no slots, if nil
		idle        bool          // there is none
		attach      bool
		header      []string
		ahead       float64
		refusals    string
		excel       bool
		query       string
	}{
		"plain":                  {without: 3, rows: 1<<20 - 1, bytes: 5, excel: true, refusals: "[]"},
		"too long for Excel":     {rows: 1 << 20, bytes: 5, refusals: "[]"},
		"sheets for Excel":       {rows: 1 << 20, bytes: 5, query: "&profile=excel", refusals: "[]"},
		"no file for Excel":      {rows: 1 << 20, bytes: 5, query: "&profile=excel&compression=gzip", refusals: "[TOO_MANY_ROWS]"},
		"a sheet without header": {rows: 1 << 20, bytes: 5, query: "&profile=excel&header=off", refusals: "[]"},
		"attaches":               {without: -1, rows: 7, attach: true, excel: true, limits: jobs.Limits{Rows: 1}, refusals: "[]"},
		"older than asked":       {rows: 7, attach: true, excel: true, header: []string{"Cache-Control", "max-age=1"}, refusals: "[]"},
		"waits":                  {rows: 7, excel: true, limits: jobs.Limits{RunningJobs: 3, QueuedJobs: 6}, ahead: 5, refusals: "[]"}, // 2 run, 5 wait
		"as there are slots":     {rows: 7, excel: true, workers: fleetOf(1, 2), limits: jobs.Limits{RunningJobs: 5}, ahead: 5, refusals: "[]"},
		"places are fewer":       {rows: 7, excel: true, workers: fleetOf(4, 4), limits: jobs.Limits{RunningJobs: 3}, ahead: 5, refusals: "[]"},
		"slots for all":          {rows: 7, excel: true, workers: fleetOf(4, 4), limits: jobs.Limits{RunningJobs: 9}, ahead: 0, refusals: "[]"},
		"any number of places":   {rows: 7, excel: true, workers: fleetOf(4), ahead: 4, refusals: "[]"},
		"some slots are unknown": {rows: 7, excel: true, workers: fleetOf(1, 0), limits: jobs.Limits{RunningJobs: 6}, ahead: 2, refusals: "[]"},
		"no worker":              {rows: 7, excel: true, workers: fleetOf(), idle: true, limits: jobs.Limits{RunningJobs: 3}, ahead: 5, refusals: "[]"},
		"begins":                 {rows: 7, excel: true, limits: jobs.Limits{RunningJobs: 8}, refusals: "[]"},
		"refused": {rows: 700, bytes: 900, excel: true, limits: jobs.Limits{Rows: 699, Bytes: 899, QueuedJobs: 5},
			refusals: "[QUEUE_FULL TOO_MANY_ROWS TOO_MANY_BYTES]"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fake := &fakeQuoter{quote: export.Quote{At: noon, Rows: tc.rows, Bytes: tc.bytes, Parts: 1, Reads: tc.rows, WithoutSortField: tc.without}}
			b := newBench(t, func(c *Config) { c.Quotes, c.Quotas = fake, tc.limits })
			if tc.workers != nil {
				b.jobs.workers = tc.workers
			}
			if tc.attach {
				b.jobs.attach = b.jobs.set(withFile())
			}
			w := b.get(t, usersExport+"&dryRun=true&birthdayMonth=4"+tc.query, tc.header...)
			wantStatus(t, w, http.StatusOK)
			body := decode(t, w)
			if want := any(float64(tc.without)); body["withoutSortField"] != want && (tc.without >= 0 || body["withoutSortField"] != nil) {
				t.Errorf("without sort field: %v, want %v", body["withoutSortField"], want)
			}
			codes := []any{}
			for _, r := range body["refusals"].([]any) {
				codes = append(codes, r.(map[string]any)["code"])
			}
			if body["rows"] != float64(tc.rows) || body["estimatedBytes"] != float64(tc.bytes) || body["jobsAhead"] != tc.ahead || body["opensInExcel"] != tc.excel || body["waitsForWorker"] != tc.idle ||
				fmt.Sprint(codes) != tc.refusals || (body["attachesTo"] != nil) != (tc.attach && tc.header == nil) {
				t.Errorf("quote = %v", body)
			}
			if fake.job.OrgID != "org1" || fake.job.Params["birthdayMonth"] != int64(4) || fake.job.Params["hasBirthday"] != true {
				t.Errorf("quoted %+v", fake.job)
			}
			if len(b.jobs.submitted) > 0 || len(b.queue.notified) > 0 {
				t.Errorf("a quote has submitted %v and notified %v", b.jobs.submitted, b.queue.notified)
			}
			wantStatus(t, b.get(t, usersExport+"&dryRun=yes&birthdayMonth=13"), http.StatusUnprocessableEntity)
			wantStatus(t, b.do(request(t, "key_read", http.MethodGet, usersExport+"&dryRun=true")), http.StatusForbidden)
		})
	}
}

// fleetOf is a fleet of workers with so many slots for jobs each, and twice as many for parts.
func fleetOf(slots ...int) []jobs.Worker {
	out := []jobs.Worker{}
	for i, n := range slots {
		out = append(out, jobs.Worker{ID: fmt.Sprint("w", i), Slots: jobs.Slots{Jobs: n, Parts: 2 * n}})
	}
	return out
}

// TestFleetIsAskedOnce: quotes ask for the workers once in fleetSeen, and see those of then.
func TestFleetIsAskedOnce(t *testing.T) {
	t.Parallel()
	clock := noon
	b := newBench(t, func(c *Config) {
		c.Quotes, c.Quotas = &fakeQuoter{quote: export.Quote{At: noon, Parts: 1}}, jobs.Limits{RunningJobs: 8}
		c.Now = func() time.Time { return clock }
	})
	for i, step := range []struct {
		passes  time.Duration
		workers []jobs.Worker
		reads   int
		ahead   float64
	}{
		{0, fleetOf(2), 1, 6},
		{fleetSeen - time.Second, fleetOf(4), 1, 6},
		{time.Second, fleetOf(4), 2, 4},
		{fleetSeen, fleetOf(4, 4), 3, 0},
	} {
		clock, b.jobs.workers = clock.Add(step.passes), step.workers
		body := decode(t, b.get(t, usersExport+"&dryRun=true"))
		if body["jobsAhead"] != step.ahead || b.jobs.aliveReads != step.reads {
			t.Errorf("step %d: %v are ahead, workers were asked for %d times; want %v and %d", i, body["jobsAhead"], b.jobs.aliveReads, step.ahead, step.reads)
		}
	}
	if f, err := b.fleetFor(t.Context(), jobs.SandboxOf("org1")); err != nil || f != (fleet{workers: 2}) {
		t.Errorf("at work for a sandbox: %+v, %v", f, err)
	}
	b.jobs.aliveErr = jobs.ErrUnavailable
	clock = clock.Add(fleetSeen)
	wantStatus(t, b.get(t, usersExport+"&dryRun=true"), http.StatusServiceUnavailable)
	b.jobs.aliveErr = nil
	wantStatus(t, b.get(t, usersExport+"&dryRun=true"), http.StatusOK)
}

// TestFleetInFirestore: a quote counts the slots of workers that live, and does not where one has none that
// can be: of a build before, or damaged. Signs of life that have lapsed count for nothing.
func TestFleetInFirestore(t *testing.T) {
	t.Parallel()
	b := newDamageBench(t, func(c *Config) {
		c.Quotes, c.Quotas = &fakeQuoter{quote: export.Quote{At: noon, Parts: 1}}, jobs.Limits{RunningJobs: 5}
	})
	for range 6 {
		b.job(jobs.Queued)
	}
	var err error
	if b.fleets, err = newMemo[fleet](1, 0); err != nil { // asked for each time
		t.Fatal(err)
	}
	leases := b.cloud.Firestore.Collection("ExportLeases")
	set := func(id string, fields map[string]any) {
		_, err := leases.Doc("worker-"+id).Set(t.Context(), fields)
		b.must(err)
	}
	later := noon.Add(time.Minute)
	for _, step := range []struct {
		name  string
		do    func()
		ahead float64
		waits bool
	}{
		{"none has come", func() {}, 2, true},
		{"one is gone", func() {
			set("gone", map[string]any{"kind": "worker", "owner": "gone", "until": noon.Add(-time.Second), "jobSlots": 9, "partSlots": 9})
		}, 2, true},
		{"one with a slot", func() { b.must(b.store.ShowAlive(t.Context(), fleetOf(1)[0], time.Minute)) }, 6, false},
		{"with three", func() { b.must(b.store.ShowAlive(t.Context(), fleetOf(3)[0], time.Minute)) }, 4, false},
		{"another", func() { b.must(b.store.ShowAlive(t.Context(), fleetOf(0, 1)[1], time.Minute)) }, 3, false},
		{"of the build before", func() { set("old", map[string]any{"kind": "worker", "owner": "old", "until": later}) }, 2, false},
		{"with one more", func() {
			set("old", map[string]any{"kind": "worker", "owner": "old", "until": later, "jobSlots": -1, "partSlots": 4})
		}, 2, false},
		{"with many", func() {
			set("old", map[string]any{"kind": "worker", "owner": "old", "until": later, "jobSlots": "many", "partSlots": 4})
		}, 2, false},
		{"which has gone", func() { b.must(b.store.ShowGone(t.Context(), "old")) }, 3, false},
	} {
		step.do()
		w := b.get(t, usersExport+"&dryRun=true")
		wantStatus(t, w, http.StatusOK)
		if body := decode(t, w); body["jobsAhead"] != step.ahead || body["waitsForWorker"] != step.waits {
			t.Errorf("%s: %v are ahead, it waits for a worker: %v; want %v and %t", step.name, body["jobsAhead"], body["waitsForWorker"], step.ahead, step.waits)
		}
	}
}

// TestAtOnce: how many exports are made at a time is told by the slots that those of lately took, of jobs or
// of parts, and by places.
func TestAtOnce(t *testing.T) {
	t.Parallel()
	f := fleet{2, jobs.AllSlots(fleetOf(2, 4))} // 6 and 12
	for name, tc := range map[string]struct {
		parts        []int
		f            fleet
		places, want int
	}{
		"of one part":             {[]int{1, 1, 0}, f, 9, 6},
		"of some parts":           {[]int{3, 3}, f, 9, 4},
		"of as many as slots":     {[]int{12}, f, 9, 1},
		"of more":                 {[]int{500}, f, 9, 1},
		"of both":                 {[]int{1, 4}, f, 9, 4},
		"fewer places":            {[]int{1}, f, 2, 2},
		"any number of places":    {[]int{1}, f, 0, 6},
		"slots unknown":           {[]int{3}, fleet{workers: 2}, 9, 9},
		"neither known":           {[]int{3}, fleet{}, 0, 0},
		"one slot":                {[]int{1, 1}, fleet{1, jobs.Slots{Jobs: 1, Parts: 1}}, 9, 1},
		"a third each, in floats": {slices.Repeat([]int{1}, 10), fleet{1, jobs.Slots{Jobs: 3, Parts: 3}}, 9, 3},
		"a 49th each, in floats":  {slices.Repeat([]int{1}, 10), fleet{1, jobs.Slots{Jobs: 49, Parts: 3}}, 90, 49},
	} {
		var last []finished
		for _, parts := range tc.parts {
			last = append(last, finished{rows: 1, took: 1, share: tc.f.shareOf(parts)})
		}
		if got := paceFrom(last).atOnce(tc.places); got != tc.want {
			t.Errorf("%s: %d at a time, want %d", name, got, tc.want)
		}
	}
}

// TestPace: what exports took is found again, to a factor of 2 over four orders of magnitude in 19 of 20
// orgs, also where some exports were slow, where all had about the same rows, and where there are few or
// none. Rows far beyond any before are told worse where some were slow.
func TestPace(t *testing.T) {
	t.Parallel()
	const orgs = 40
	for name, tc := range map[string]struct {
		jobs, least, most int // and their rows
		base, perSecond   float64
		slow              int // each so many
		upTo              int // rows that are told right
	}{
		"of all sizes":     {paceJobs, 10, 200_000, 0.4, 8000, 5, 1_000_000},
		"quick":            {paceJobs, 10, 20_000, 0.005, 200_000, 0, 1_000_000},
		"a slow beginning": {paceJobs, 10, 20_000, 10, 2000, 6, 10_000},
		"alike":            {paceJobs, 1000, 1100, 0.8, 4000, 5, 1_000_000},
		"few":              {2, 500, 20_000, 0.8, 4000, 0, 1_000_000},
		"one":              {1, 5000, 5000, 0.2, 16_000, 0, 1_000_000},
		"none":             {0, 1, 1, 0.4, 8000, 0, 1_000_000},
	} {
		want := func(rows float64) float64 { return tc.base + rows/tc.perSecond }
		wrong := map[float64]int{}
		for org := range orgs {
			random := rand.New(rand.NewPCG(uint64(org), 17))
			var last []finished
			for i := range tc.jobs {
				rows := float64(tc.least) * math.Pow(float64(tc.most)/float64(tc.least), random.Float64())
				f := finished{rows: rows, took: want(rows) * (0.8 + 0.4*random.Float64()), waited: 0.1}
				if tc.slow > 0 && i%tc.slow == 0 {
					f.took, f.waited = f.took*8, 30
				}
				last = append(last, f)
			}
			p := paceFrom(last)
			for rows := 1.0; rows <= float64(tc.upTo); rows *= 10 {
				if got := p.of(rows); math.Max(want(rows)/got, got/want(rows)) > 2 {
					wrong[rows]++
				}
			}
			if tc.jobs > 0 && p.wait != 0.1 {
				t.Errorf("%s: it begins after %v s", name, p.wait)
			}
		}
		for rows, n := range wrong {
			if n > orgs/20 {
				t.Errorf("%s: what %.0f rows take is off by more than 2 in %d of %d orgs", name, rows, n, orgs)
			}
		}
	}
	if p := paceFrom(slices.Repeat([]finished{{took: 1}}, 5)); math.Abs(p.run(size{}, 0)-1) > 0.3 || p.run(size{80_000, 8}, 0) != p.of(10_000) || p.run(size{80_000, 8}, 2) != p.of(40_000) {
		t.Errorf("of empty exports: %+v", p)
	}
	for from, want := range map[float64]float64{0: 0, 0.01234: 0.012, 0.996: 1, 3.14: 3.1, 86_400: 86_000, math.NaN(): 0} {
		if got := twoDigits(from); got != want {
			t.Errorf("twoDigits(%v) = %v, want %v", from, got, want)
		}
	}
}
