package api

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"testing"

	"exportd/internal/export"
	"exportd/jobs"
)

// fakeQuoter quotes what it is told.
type fakeQuoter struct {
	quote export.Quote
	job   *jobs.Job
	err   error
	costs int // how often it has counted for a budget
}

func (f *fakeQuoter) Cost(context.Context, *jobs.Job) (rows, reads int64, err error) {
	f.costs++
	return f.quote.Rows, f.quote.Reads, f.err
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
		"begins":                 {rows: 7, excel: true, limits: jobs.Limits{RunningJobs: 8}, refusals: "[]"},
		"refused": {rows: 700, bytes: 900, excel: true, limits: jobs.Limits{Rows: 699, Bytes: 899, QueuedJobs: 5},
			refusals: "[QUEUE_FULL TOO_MANY_ROWS TOO_MANY_BYTES]"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fake := &fakeQuoter{quote: export.Quote{At: noon, Rows: tc.rows, Bytes: tc.bytes, Parts: 1, Reads: tc.rows, WithoutSortField: tc.without}}
			b := newBench(t, func(c *Config) { c.Quotes, c.Quotas = fake, tc.limits })
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
			if body["rows"] != float64(tc.rows) || body["estimatedBytes"] != float64(tc.bytes) || body["jobsAhead"] != tc.ahead || body["opensInExcel"] != tc.excel ||
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
				f := finished{rows, want(rows) * (0.8 + 0.4*random.Float64()), 0.1}
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
	if mean := paceFrom([]finished{{10, 1, 0}, {10, 1, 0}, {10, 10, 0}}); math.Abs(mean.any-4) > 0.001 {
		t.Errorf("of all: %v", mean.any)
	}
	if p := paceFrom(slices.Repeat([]finished{{0, 1, 0}}, 5)); math.Abs(p.run(export.Quote{})-1) > 0.3 || p.run(export.Quote{Rows: 80_000, Parts: 8}) != p.of(10_000) {
		t.Errorf("of empty exports: %+v", p)
	}
	for from, want := range map[float64]float64{0: 0, 0.01234: 0.012, 0.996: 1, 3.14: 3.1, 86_400: 86_000, math.NaN(): 0} {
		if got := twoDigits(from); got != want {
			t.Errorf("twoDigits(%v) = %v, want %v", from, got, want)
		}
	}
}
