package console

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"exportd/api/client"
	"exportd/internal/panics"
)

// overviewEvery is how often an open overview is looked at: what the API tells of a window is 10 s old at
// most.
const overviewEvery = 10 * time.Second

// windows are what is offered; tonight is what an operator asks for in the morning.
var windows = []choice{{"1h", "1 hour"}, {"6h", "6 hours"}, {"12h", "tonight (12 h)"}, {"24h", "24 hours"}, {"7d", "7 days"}}

type choice struct{ Value, Name string }

// overviewPage is what the overview shows.
type overviewPage struct {
	Since, Org, Kind string
	Windows          []choice
	Stats            *client.Stats
	Window           *client.StatsWindow
	Charts           []chart
	Causes           []client.Cause
	Failures         []counted
	Callbacks        []counted
	Unattended       int // partitions that nobody looks after
}

// counted is a name with a number, and a bar beside the largest.
type counted struct {
	Name        string
	Count, Most int64
}

// largestFirst orders counts.
func largestFirst(counts map[string]int64) (all []counted) {
	for name, n := range counts {
		if n > 0 {
			all = append(all, counted{Name: name, Count: n})
		}
	}
	slices.SortFunc(all, func(a, b counted) int { return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Name, b.Name)) })
	for i := range all {
		all[i].Most = all[0].Count
	}
	return all
}

func (c *Console) overview(ctx context.Context, who *principal, r *http.Request) (view, error) {
	if !who.mayLook() { // an admin of keys alone
		return c.keysPage(ctx, who, r)
	}
	q := r.URL.Query()
	p := overviewPage{Since: cmp.Or(q.Get("since"), "12h"), Org: q.Get("orgId"), Kind: q.Get("kind"), Windows: windows}
	params := client.OpsStatsParams{Since: &p.Since}
	if p.Org != "" {
		params.OrgID = &p.Org
	}
	if p.Kind != "" {
		params.Kind = (*client.Kind)(&p.Kind)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(panics.Task(func() error {
		answer, err := c.api.OpsStatsWithResponse(ctx, &params)
		if err == nil {
			p.Stats, p.Window = answer.JSON200, answer.JSON200.Window
		}
		return err
	}))
	g.Go(panics.Task(func() (err error) {
		p.Causes, err = c.latestCauses(ctx, p.Since, p.Org, p.Kind)
		return err
	}))
	if err := g.Wait(); err != nil {
		return view{}, err
	}
	if p.Window != nil {
		p.Charts = chartsOf(p.Window)
		p.Failures, p.Callbacks = largestFirst(p.Window.ErrorCodes), largestFirst(p.Window.Callbacks)
	}
	for _, rescuer := range p.Stats.Rescuers {
		if rescuer.Owner == nil {
			p.Unattended++
		}
	}
	return view{name: "overview", title: "Overview", data: p, live: true, every: overviewEvery}, nil
}

func chartsOf(w *client.StatsWindow) []chart {
	times := make([]time.Time, len(w.Buckets))
	for i, b := range w.Buckets {
		times[i] = b.At
	}
	step := time.Duration(w.BucketSeconds) * time.Second
	ends := func(state string) func(int) float64 {
		return func(i int) float64 { return float64(w.Buckets[i].Ends[state]) }
	}
	quantile := func(of func(client.StatsBucket) *float32) func(int) float64 {
		return func(i int) float64 {
			if v := of(w.Buckets[i]); v != nil {
				return float64(*v)
			}
			return 0
		}
	}
	total := w.Ends["succeeded"] + w.Ends["failed"] + w.Ends["canceled"]
	seconds := func(v float64) string { return trimmed(v) + " s" }
	return []chart{
		drawn(chart{ID: "jobs", Title: "Jobs that ended", Sum: num(total), Series: []series{
			{"failed", "bad", ends("failed")}, {"canceled", "mid", ends("canceled")}, {"succeeded", "good", ends("succeeded")},
		}}, times, step, short),
		drawn(chart{ID: "rows", Title: "Rows in files", Sum: num(w.Rows), Series: []series{
			{"rows", "one", func(i int) float64 { return float64(w.Buckets[i].Rows) }},
		}}, times, step, short),
		drawn(chart{ID: "queued", Title: "Time in the queue, p95", Sum: secs(w.QueuedSeconds.P95), Series: []series{
			{"p95", "two", quantile(func(b client.StatsBucket) *float32 { return b.QueuedSeconds.P95 })},
		}}, times, step, seconds),
	}
}
