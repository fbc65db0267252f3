package api

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
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
		"no file for Excel":      {rows: 1 << 20, bytes: 5, query: "&profile=excel", refusals: "[TOO_MANY_ROWS]"},
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

// TestPace: what exports took is found again among some that were slow, and too few of them tell nothing.
func TestPace(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 17))
	var rows, took []float64
	for i := range paceJobs {
		rows = append(rows, float64(100+random.IntN(200_000)))
		took = append(took, (0.4+rows[i]/8000)*(0.9+random.Float64()/5))
		if i%5 == 0 {
			took[i] *= 6
		}
	}
	p := paceFrom(rows, took)
	for _, n := range []int64{2_000, 50_000, 1_000_000} {
		want, got := 0.4+float64(n)/8000, p.of(export.Quote{Rows: n})
		if math.Max(want/got, got/want) > 2 {
			t.Errorf("%d rows: %.1f s, want about %.1f s", n, got, want)
		}
	}
	if got := paceFrom(rows[:2], took[:2]).of(export.Quote{Rows: 80_000, Parts: 2}); got != (&jobs.Job{RowsTotal: 80_000, PartsTotal: 2}).Expected().Seconds() {
		t.Errorf("of two jobs: %.1f s", got)
	}
	same := paceFrom([]float64{10, 10, 10, 10}, []float64{1, 1, 2, 1})
	if got := same.of(export.Quote{Rows: 10}); math.Abs(got-1) > 0.01 {
		t.Errorf("of jobs that are alike: %.2f s, want 1 s", got)
	}
	if none := paceFrom([]float64{0, 0, 0}, []float64{1, 1, 1}); none.of(export.Quote{Rows: 0}) != 1 || math.IsNaN(none.of(export.Quote{Rows: 5})) {
		t.Errorf("of empty exports: %+v", none)
	}
}
