package api

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"exportd/internal/dataset"
	"exportd/internal/panics"
	"exportd/jobs"
)

const (
	// maxWindow bounds what is read for one answer: 168 hours, of a small fleet with some 10 documents each.
	maxWindow = 7 * 24 * time.Hour
	// hourClosed is when nothing more is added to an hour: commits end within seconds, and clocks are at most
	// seconds apart.
	hourClosed = 5 * time.Minute
	// openSeen is how old what is told of an hour may be that is not closed. So an open console, or a
	// hundred, cost a process at most 360 looks an hour at one or two hours: 92,000 reads at the 256
	// documents of as many workers (0.06 USD).
	openSeen = 10 * time.Second
	// topSeen is as openSeen of the largest orgs, of which each look reads up to 16 documents an org and
	// 1,200 in all: every 10 s they would be most of what an overview costs.
	topSeen = time.Minute
	// windowBytes bounds what is remembered of hours, of which one has some 10 KiB.
	windowBytes = 16 << 20
	// topOrgs is how many are listed.
	topOrgs = 10
)

// statsWindow is what statistics are asked for.
type statsWindow struct {
	since, until time.Time
	bucket       time.Duration
	orgID        string
	kind         jobs.Kind
}

// bucketSteps are what a window is divided by: the smallest that gives no more than maxStretches.
var bucketSteps = []time.Duration{jobs.RollupSlot, 15 * time.Minute, time.Hour, 6 * time.Hour}

const maxStretches = 50

// ago is a time given by how long ago it was: 90m, 12h, 7d.
var ago = regexp.MustCompile(`^(\d{1,4})(m|h|d)$`)

// parseAgo reads how long before now.
func parseAgo(v string, now time.Time) (time.Time, bool) {
	m := ago.FindStringSubmatch(v)
	if m == nil {
		return time.Time{}, false
	}
	n, _ := strconv.Atoi(m[1])
	unit := map[string]time.Duration{"m": time.Minute, "h": time.Hour, "d": 24 * time.Hour}[m[2]]
	return now.Add(-time.Duration(n) * unit).UTC(), true
}

// moment reads a date, a date-time, or how long ago.
func (p *params) moment(name string, now time.Time) (time.Time, bool) {
	if t, ok := parseAgo(p.values.Get(name), now); ok {
		_, _ = p.get(name, false)
		return t, true
	}
	t, _, ok := p.date(name, false)
	return t, ok
}

// statsWindow reads what statistics are asked for; nil for none, where no window is given.
func (p *params) statsWindow(datasets dataset.Set, now time.Time) *statsWindow {
	w := &statsWindow{orgID: p.text("orgId", false), kind: jobs.Kind(enum(p, "kind", datasets.Names()...))}
	if p.values.Get("since") == "" {
		_, _ = p.moment("until", now)
		if len(p.values) > 0 {
			p.fault("since", typeRequired, nil, "is required where a window, org or kind is asked for: how long ago, as 12h or 7d, or a date-time")
		}
		return nil
	}
	p.stretches(w, now, 0)
	return w
}

// stretches reads since and until, and what is between is divided by. Where since is not given, it is so long
// before until.
func (p *params) stretches(w *statsWindow, now time.Time, long time.Duration) {
	since, ok := p.moment("since", now)
	until, untilGiven := p.moment("until", now)
	if !untilGiven {
		until = now
	}
	if _, given := p.values["since"]; !given {
		since, ok = until.Add(-long), true
	}
	w.since, w.until = since.Truncate(jobs.RollupSlot), until.Add(jobs.RollupSlot-1).Truncate(jobs.RollupSlot)
	switch length := w.until.Sub(w.since); {
	case !ok || p.values.Get("until") != "" && !untilGiven:
	case length <= 0:
		p.fault("until", typeGreater, map[string]any{"value": p.values.Get("until"), "limit": "since"}, `must be greater than "since"`)
	case length > maxWindow+jobs.RollupSlot:
		p.fault("since", typeRange, map[string]any{"value": p.values.Get("since"), "limit": "P7D"}, `must be at most 7 days before "until"`)
	default:
		for _, w.bucket = range bucketSteps {
			if length <= maxStretches*w.bucket {
				break
			}
		}
	}
}

// timesView is how long something took, in seconds.
type timesView struct {
	Count int64    `json:"count"`
	P50   *float64 `json:"p50"`
	P95   *float64 `json:"p95"`
}

func timesOf(h jobs.Histogram) timesView {
	v := timesView{Count: h.Count()}
	if v.Count > 0 {
		p50, p95 := h.Quantile(0.5).Seconds(), h.Quantile(0.95).Seconds()
		v.P50, v.P95 = &p50, &p95
	}
	return v
}

// countsView is what ended in a time.
type countsView struct {
	Ends       map[jobs.State]int64         `json:"ends"`
	ErrorCodes map[jobs.Code]int64          `json:"errorCodes"`
	Rows       int64                        `json:"rows"`
	Bytes      int64                        `json:"bytes"`
	Slow       int64                        `json:"slow"`
	Queued     timesView                    `json:"queuedSeconds"`
	Ran        timesView                    `json:"ranSeconds"`
	Callbacks  map[jobs.CallbackState]int64 `json:"callbacks"`
}

func countsOf(c jobs.Counts) countsView {
	v := countsView{
		Ends: map[jobs.State]int64{}, ErrorCodes: c.Failures(), Rows: c[jobs.CountRows], Bytes: c[jobs.CountBytes], Slow: c[jobs.CountSlow],
		Queued: timesOf(c.Queued()), Ran: timesOf(c.Ran()), Callbacks: c.Callbacks(),
	}
	for _, s := range jobs.EndStates {
		v.Ends[s] = c[jobs.CountEnd(s)]
	}
	return v
}

type stretchView struct {
	At time.Time `json:"at"`
	countsView
}

type orgView struct {
	OrgID      string  `json:"orgId"`
	Rows       int64   `json:"rows"`
	RanSeconds float64 `json:"ranSeconds"`
	Ended      int64   `json:"ended"`
	Failed     int64   `json:"failed"`
}

// topView are the orgs with the most rows and those that ran longest. Where an hour has more orgs than are
// looked at, one that is large over the window and in no hour may be missing.
type topView struct {
	ByRows   []orgView `json:"byRows"`
	ByTime   []orgView `json:"byTime"`
	Complete bool      `json:"complete"`
}

type windowView struct {
	Since         time.Time `json:"since"`
	Until         time.Time `json:"until"`
	BucketSeconds int       `json:"bucketSeconds"`
	countsView
	Buckets []stretchView `json:"buckets"`
	TopOrgs *topView      `json:"topOrgs"` // null where one org is asked for
}

// window tells what happened in a window.
func (s *Server) window(ctx context.Context, w *statsWindow) (*windowView, error) {
	hours, err := s.hours(ctx, w)
	if err != nil {
		return nil, err
	}
	all, buckets := jobs.Counts{}, make([]jobs.Counts, (w.until.Sub(w.since)+w.bucket-1)/w.bucket)
	for i := range buckets {
		buckets[i] = jobs.Counts{}
	}
	for _, r := range hours {
		w.each(r, func(slot time.Time, c jobs.Counts) {
			all.Add(c)
			buckets[slot.Sub(w.since)/w.bucket].Add(c)
		})
	}
	v := &windowView{Since: w.since, Until: w.until, BucketSeconds: int(w.bucket / time.Second), countsView: countsOf(all), Buckets: make([]stretchView, len(buckets))}
	for i, c := range buckets {
		v.Buckets[i] = stretchView{w.since.Add(time.Duration(i) * w.bucket), countsOf(c)}
	}
	if w.orgID == "" {
		v.TopOrgs, err = s.topOrgs(ctx, w)
	}
	return v, err
}

// each calls fn with what of a rollup is asked for.
func (w *statsWindow) each(r *jobs.Rollup, fn func(slot time.Time, c jobs.Counts)) {
	for slot, kinds := range r.Slots {
		if slot.Before(w.since) || !slot.Before(w.until) {
			continue
		}
		for kind, c := range kinds {
			if w.kind == "" || w.kind == kind {
				fn(slot, c)
			}
		}
	}
}

// hourKey names what is remembered of an hour.
func hourKey(org string, hour time.Time) string { return hour.Format("2006010215") + org }

// hours gives the rollups of the window's hours: those that are closed are read once by a process.
func (s *Server) hours(ctx context.Context, w *statsWindow) (found []*jobs.Rollup, err error) {
	var from, to time.Time // what has to be read
	known := map[time.Time]bool{}
	for hour := w.since.Truncate(jobs.RollupHour); hour.Before(w.until); hour = hour.Add(jobs.RollupHour) {
		if seen, ok := s.hourKnown(hourKey(w.orgID, hour), hour, openSeen); ok {
			known[hour], found = true, append(found, seen.rollups...)
			continue
		}
		if from.IsZero() {
			from = hour
		}
		to = hour.Add(jobs.RollupHour)
	}
	if from.IsZero() {
		return found, nil
	}
	read, err, _ := s.rollups.flights.Do(fmt.Sprintf("%s %d %d", w.orgID, from.Unix(), to.Unix()), func() (any, error) {
		// Not the caller's context alone: others wait for the same answer.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), quick)
		defer cancel()
		return s.operations.Rollups(ctx, w.orgID, from, to)
	})
	if err != nil {
		return nil, err
	}
	fresh, _ := read.([]*jobs.Rollup)
	for hour := from; hour.Before(to); hour = hour.Add(jobs.RollupHour) {
		if known[hour] { // and not what others may have read meanwhile: that is not in found
			continue
		}
		one := slices.DeleteFunc(slices.Clone(fresh), func(r *jobs.Rollup) bool { return !r.Hour.Equal(hour) })
		s.rollups.set(hourKey(w.orgID, hour), hourRollups{one, true}, s.now())
		found = append(found, one...)
	}
	return found, nil
}

// hourRollups is what is remembered of an hour: one rollup of an org, or those of its largest orgs.
type hourRollups struct {
	rollups []*jobs.Rollup
	all     bool
}

// weight is about what it takes in memory.
func (h hourRollups) weight() (n int) {
	for _, r := range h.rollups {
		n += textEntry + len(r.OrgID)
		for _, kinds := range r.Slots {
			for _, c := range kinds {
				n += textEntry * (1 + 2*len(c))
			}
		}
	}
	return n
}

// hourKnown is what is remembered of an hour, if it cannot have changed since, or not for long.
func (s *Server) hourKnown(key string, hour time.Time, seen time.Duration) (hourRollups, bool) {
	d, ok := s.rollups.answers.GetIfPresent(key)
	closed := hour.Add(jobs.RollupHour + hourClosed)
	if !ok || d.at.Before(closed) && s.now().Sub(d.at) >= seen {
		return hourRollups{}, false
	}
	return d.value, true
}

// hoursAtOnce bounds the queries under way for one answer, of some 20 ms each: a week takes half a second.
const hoursAtOnce = 8

// topOfHour gives the largest orgs of an hour; of one that is closed, a process asks once.
func (s *Server) topOfHour(ctx context.Context, hour time.Time) (hourRollups, error) {
	key := "top " + hourKey("", hour)
	if top, ok := s.hourKnown(key, hour, topSeen); ok {
		return top, nil
	}
	found, err, _ := s.rollups.flights.Do(key, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), quick)
		defer cancel()
		orgs, all, err := s.operations.TopRollups(ctx, hour)
		return hourRollups{orgs, all}, err
	})
	if err != nil {
		return hourRollups{}, err
	}
	top, _ := found.(hourRollups)
	s.rollups.set(key, top, s.now())
	return top, nil
}

func (s *Server) topOrgs(ctx context.Context, w *statsWindow) (*topView, error) {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(hoursAtOnce)
	first := w.since.Truncate(jobs.RollupHour)
	hours := make([]hourRollups, (w.until.Sub(first)+jobs.RollupHour-1)/jobs.RollupHour)
	for i := range hours {
		g.Go(panics.Task(func() (err error) {
			hours[i], err = s.topOfHour(ctx, first.Add(time.Duration(i)*jobs.RollupHour))
			return err
		}))
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	sums, v := map[string]*orgView{}, &topView{Complete: true}
	for _, top := range hours {
		v.Complete = v.Complete && top.all
		for _, r := range top.rollups {
			w.each(r, func(_ time.Time, c jobs.Counts) {
				if sums[r.OrgID] == nil {
					sums[r.OrgID] = &orgView{OrgID: r.OrgID}
				}
				o := sums[r.OrgID]
				o.Rows, o.RanSeconds = o.Rows+c[jobs.CountRows], o.RanSeconds+float64(c[jobs.CountRunMs])/1000
				for _, state := range jobs.EndStates {
					o.Ended += c[jobs.CountEnd(state)]
				}
				o.Failed += c[jobs.CountEnd(jobs.Failed)]
			})
		}
	}
	v.ByRows, v.ByTime = []orgView{}, []orgView{}
	for _, o := range sums {
		v.ByRows = append(v.ByRows, *o)
	}
	v.ByTime = append(v.ByTime, v.ByRows...)
	slices.SortFunc(v.ByRows, func(a, b orgView) int { return cmp.Or(cmp.Compare(b.Rows, a.Rows), strings.Compare(a.OrgID, b.OrgID)) })
	slices.SortFunc(v.ByTime, func(a, b orgView) int {
		return cmp.Or(cmp.Compare(b.RanSeconds, a.RanSeconds), strings.Compare(a.OrgID, b.OrgID))
	})
	v.ByRows, v.ByTime = v.ByRows[:min(topOrgs, len(v.ByRows))], v.ByTime[:min(topOrgs, len(v.ByTime))]
	return v, nil
}
