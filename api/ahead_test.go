package api

import (
	"context"
	"math"
	"testing"
	"time"

	"exportd/internal/export"
	"exportd/jobs"
)

// TestBegins: a job begins when a place is free and those that wait before it have begun, in their order.
func TestBegins(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		ahead
		atOnce int
		want   float64
	}{
		"nothing":                 {ahead{}, 2, 0},
		"a place is free":         {ahead{running: []float64{5}}, 2, 0},
		"the first that ends":     {ahead{running: []float64{5, 3}}, 2, 3},
		"one waits":               {ahead{running: []float64{5, 3}, queued: []float64{1}}, 2, 4},
		"one waits long":          {ahead{running: []float64{5, 3}, queued: []float64{9}}, 2, 5},
		"in their order":          {ahead{running: []float64{5, 3}, queued: []float64{9, 1, 1}}, 2, 7},
		"another order":           {ahead{running: []float64{5, 3}, queued: []float64{1, 1, 9}}, 2, 5},
		"places became fewer":     {ahead{running: []float64{1, 2, 8, 4}}, 2, 4},
		"others run":              {ahead{running: []float64{2, 4}, moreRunning: 3}, 3, 2},
		"others run long":         {ahead{running: []float64{8, 4}, moreRunning: 3}, 3, 4},
		"others wait":             {ahead{running: []float64{5, 3}, queued: []float64{2, 4}, moreQueued: 10}, 2, 5 + 10*3/2},
		"waits, and places free":  {ahead{queued: []float64{2, 4, 3}}, 2, 4},
		"places wait for workers": {ahead{queued: []float64{2}}, 1, 2},
	} {
		if got := tc.begins(tc.atOnce); math.Abs(got-tc.want) > 1e-9 {
			t.Errorf("%s: begins after %v s, want %v", name, got, tc.want)
		}
	}
}

// TestLeft: what a running job has yet to do is told by what it should take, and of one that is late by how
// far it is.
func TestLeft(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		gone  float64
		done  int64
		whole float64
		want  float64
	}{
		"begins":                      {0, 0, 10, 10},
		"half":                        {5, 10, 10, 5},
		"late, nothing is known":      {15, 0, 10, 0},
		"late, a quarter is done":     {15, 25, 10, 45},
		"late, all is done":           {15, 100, 10, 0},
		"late, more than all is done": {15, 300, 10, 0},
		"begins in the future":        {-7, 0, 10, 10},
	} {
		j := &jobs.Job{StartedAt: noon.Add(-time.Duration(tc.gone * float64(time.Second))), RowsTotal: 100, RowsDone: tc.done}
		if got := left(j, tc.whole, noon); math.Abs(got-tc.want) > 1e-9 {
			t.Errorf("%s: %v s are left, want %v", name, got, tc.want)
		}
	}
}

// sizer counts as many rows as the workspace of a job says, up to a number of counts.
type sizer struct {
	fakeQuoter
	counts chan struct{}
}

func (s *sizer) Cost(ctx context.Context, j *jobs.Job) (export.Quote, error) {
	select {
	case s.counts <- struct{}{}:
		rows, _ := j.Params["rows"].(int64)
		return export.Quote{Rows: rows, Parts: 1}, nil
	default:
		return export.Quote{}, jobs.ErrUnavailable
	}
}

// TestQuoteBehindOthers: each job ahead counts with its own rows: those that it has been counted to have, or
// that it is counted to have now; with the mean where it cannot be counted, or is one of too many.
func TestQuoteBehindOthers(t *testing.T) {
	t.Parallel()
	job := func(rows int64, counted bool) *jobs.Job {
		j := &jobs.Job{ID: jobs.NewID(), OrgID: "org1", Kind: "vip-users", StartedAt: noon, Params: jobs.Params{"rows": rows}}
		if j.Counted = counted; counted {
			j.RowsTotal, j.PartsTotal, j.Params = rows, 1, nil
		}
		return j
	}
	many := func(n int, j func() *jobs.Job) (out []*jobs.Job) {
		for range n {
			out = append(out, j())
		}
		return out
	}
	const rows = 8000 / newRow // as many as take 8,000 s
	uncounted := func() *jobs.Job { return job(rows, false) }
	for name, tc := range map[string]struct {
		running, queued []*jobs.Job
		counts          int
		want            float64
	}{
		"small ones":        {[]*jobs.Job{job(0, true), job(0, true)}, many(5, func() *jobs.Job { return job(0, false) }), 9, 0},
		"a large one waits": {[]*jobs.Job{job(0, true), job(rows, true)}, []*jobs.Job{job(0, true), job(0, true), uncounted(), job(0, true), job(0, true)}, 1, 1},
		"two large ones":    {[]*jobs.Job{job(0, true), job(rows, true)}, []*jobs.Job{job(0, true), uncounted(), uncounted(), uncounted(), job(0, true)}, 9, 2},
		"no count":          {[]*jobs.Job{job(2*rows, true), job(2*rows, true)}, many(5, uncounted), 0, 6},
		"one count":         {[]*jobs.Job{job(2*rows, true), job(2*rows, true)}, many(5, uncounted), 1, 5},
		"none is known":     {many(2, uncounted), many(5, uncounted), 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fake := &sizer{counts: make(chan struct{}, tc.counts)}
			fake.quote = export.Quote{At: noon, Parts: 1}
			b := newBench(t, func(c *Config) { c.Quotes, c.Quotas = fake, jobs.Limits{RunningJobs: 2} })
			b.jobs.running, b.jobs.queued = tc.running, tc.queued
			w := b.get(t, usersExport+"&dryRun=true")
			wantStatus(t, w, 200)
			if got := decode(t, w)["estimatedSeconds"].(float64) / (rows * newRow); math.Round(got) != tc.want {
				t.Errorf("is told to take %v times a large one, want %v", got, tc.want)
			}
		})
	}
	b := newBench(t, func(c *Config) { c.Quotes, c.Quotas = &fakeQuoter{}, jobs.Limits{RunningJobs: 2} })
	for _, n := range []int{aheadCounts, aheadCounts + 9} {
		fake := &sizer{counts: make(chan struct{}, 100)}
		b.quotes = fake
		b.sizesOf(t.Context(), many(n, uncounted))
		if len(fake.counts) != aheadCounts {
			t.Errorf("%d of %d jobs are counted, want %d", len(fake.counts), n, aheadCounts)
		}
	}
}

// TestQuoteBehindAnotherKind: a job ahead takes what those of its kind took, whatever those of the quoted one
// did.
func TestQuoteBehindAnotherKind(t *testing.T) {
	t.Parallel()
	fake := &sizer{}
	fake.quote = export.Quote{At: noon, Parts: 1}
	b := newBench(t, func(c *Config) { c.Quotes, c.Quotas = fake, jobs.Limits{RunningJobs: 1} })
	for i := range 10 {
		for kind, rows := range map[jobs.Kind]int64{"vip-users": 5, "vip-messages": int64(1000 << i)} {
			took := 0.1 + float64(rows)/2000
			b.jobs.page.Jobs = append(b.jobs.page.Jobs, &jobs.Job{ID: jobs.NewID(), OrgID: "org1", Kind: kind, State: jobs.Succeeded,
				Result: jobs.Result{Rows: rows}, RowsTotal: rows, PartsTotal: 1,
				StartedAt: noon.Add(-time.Hour), FinishedAt: noon.Add(-time.Hour + time.Duration(took*1e9))})
		}
	}
	b.jobs.running = []*jobs.Job{{ID: jobs.NewID(), OrgID: "org1", Kind: "vip-messages", StartedAt: noon, Counted: true, RowsTotal: 200_000, PartsTotal: 1}}
	w := b.get(t, usersExport+"&dryRun=true")
	wantStatus(t, w, 200)
	if got := decode(t, w)["estimatedSeconds"].(float64); got < 90 || got > 110 {
		t.Errorf("is told to take %v s behind 200,000 messages, of which 2,000 take a second", got)
	}
}
