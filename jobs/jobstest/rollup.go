package jobstest

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"exportd/jobs"
)

var rollupCases = []storeCase{
	{"rollups are what jobs and timelines say", jobs.Limits{}, rollupsAgree},
	{"ends at once are all counted, each once", jobs.Limits{}, rollupsRace},
	{"rollups lapse", jobs.Limits{}, rollupsLapse},
}

// counted adds up rollups of a window by org and kind.
func (b *bench) counted(t *testing.T, org string, from, to time.Time) map[jobs.Kind]jobs.Counts {
	t.Helper()
	rs, err := b.Rollups(t.Context(), org, from.Truncate(jobs.RollupHour), to)
	if err != nil {
		t.Fatal(err)
	}
	sum := map[jobs.Kind]jobs.Counts{}
	last := time.Time{}
	for _, r := range rs {
		if !r.Hour.After(last) || r.OrgID != org {
			t.Errorf("rollup of %q and %s behind %s, want those of %q in order", r.OrgID, r.Hour, last, org)
		}
		last = r.Hour
		for slot, kinds := range r.Slots {
			if slot.Before(from) || !slot.Before(to) {
				continue
			}
			for kind, c := range kinds {
				if sum[kind] == nil {
					sum[kind] = jobs.Counts{}
				}
				sum[kind].Add(c)
			}
		}
	}
	return sum
}

// recount is what the documents of an org's jobs say of ends in [from, to): their timelines, and the jobs
// themselves of rows and times.
func (b *bench) recount(t *testing.T, org string, from, to time.Time) (ends map[jobs.EventType]int64, failures map[jobs.Code]int64, rows int64, ran, queued []time.Duration) {
	t.Helper()
	ends, failures = map[jobs.EventType]int64{}, map[jobs.Code]int64{}
	for _, id := range b.pages(t, jobs.List{OrgID: org, PageSize: 100, IncludeDeleted: true}) {
		j, err := b.Get(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		events, err := b.Events(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		var claimed time.Time // by its first run
		for _, e := range events {
			if e.Type == jobs.EventClaimed && claimed.IsZero() {
				claimed = e.At
			}
			ended := e.Type == jobs.EventSucceeded || e.Type == jobs.EventFailed || e.Type == jobs.EventCanceled
			first := ended && !slices.ContainsFunc(events, func(o jobs.Event) bool { return o.Type == jobs.EventRerun && o.At.Before(e.At) })
			if e.At.Before(from) || !e.At.Before(to) {
				continue
			}
			if first && !claimed.IsZero() {
				ran, queued = append(ran, e.At.Sub(claimed)), append(queued, claimed.Sub(j.CreatedAt))
			}
			switch e.Type {
			case jobs.EventSucceeded:
				var n, size int64
				if _, err := fmt.Sscanf(e.Message, "%d rows, %d bytes", &n, &size); err != nil {
					t.Fatal(err)
				}
				rows += n
				ends[e.Type]++
			case jobs.EventFailed:
				failures[e.Code]++
				ends[e.Type]++
			case jobs.EventCanceled:
				ends[e.Type]++
			}
		}
	}
	return ends, failures, rows, ran, queued
}

func rollupsAgree(t *testing.T, b *bench) {
	begin := b.Now().Truncate(jobs.RollupHour).Add(jobs.RollupHour)
	b.Pass(begin.Sub(b.Now()) + 90*time.Second)
	random := rand.New(rand.NewPCG(1, 2))
	orgs := []string{"org", "other"}
	var again string
	for i := range 24 {
		id := b.job(t, orgs[i%2], i+1)
		b.Pass(time.Duration(random.IntN(90)) * time.Second)
		switch i % 4 {
		case 0:
			b.update(t, id, cancel)
		case 1:
			b.fail(t, id)
			again = id
		default:
			b.succeed(t, id)
		}
	}
	b.update(t, again, func(tx *jobs.Tx) error { _, err := tx.Rerun(jobs.RerunFresh, "test"); return err })
	b.succeed(t, again)
	end := b.Now().Add(time.Minute)
	middle := begin.Add(15 * time.Minute)
	for _, w := range [][2]time.Time{{begin, end}, {begin, middle}, {middle, end}, {end.Add(jobs.RollupSlot), end.Add(time.Hour)}} {
		all := jobs.Counts{}
		for _, org := range orgs {
			got := b.counted(t, org, w[0], w[1].Truncate(jobs.RollupSlot).Add(jobs.RollupSlot))["vip-users"]
			if w[1] != end {
				got = b.counted(t, org, w[0], w[1])["vip-users"]
			}
			all.Add(got)
			ends, failures, rows, ran, queued := b.recount(t, org, w[0], w[1])
			for event, state := range map[jobs.EventType]jobs.State{jobs.EventSucceeded: jobs.Succeeded, jobs.EventFailed: jobs.Failed, jobs.EventCanceled: jobs.Canceled} {
				if got[jobs.CountEnd(state)] != ends[event] {
					t.Errorf("%s from %s: %d %s, the timelines have %d", org, w[0], got[jobs.CountEnd(state)], state, ends[event])
				}
			}
			if !maps.Equal(got.Failures(), failures) || got[jobs.CountRows] != rows {
				t.Errorf("%s from %s: failures %v and %d rows, the timelines have %v and %d", org, w[0], got.Failures(), got[jobs.CountRows], failures, rows)
			}
			near(t, "ran", got.Ran(), ran)
			near(t, "queued", got.Queued(), queued)
		}
		if sum := b.counted(t, "", w[0], w[1].Add(jobs.RollupSlot).Truncate(jobs.RollupSlot))["vip-users"]; w[1] == end && !reflect.DeepEqual(sum, all) {
			t.Errorf("from %s all orgs have %v, together they have %v", w[0], sum, all)
		}
	}
	top, whole, err := b.TopRollups(t.Context(), begin)
	if err != nil || !whole || len(top) != 2 {
		t.Errorf("TopRollups = %d, %v, %v, want both orgs and that there are no more", len(top), whole, err)
	}
}

// near compares the quantiles of a histogram with those of all times: they are at most 9 % off.
func near(t *testing.T, what string, h jobs.Histogram, times []time.Duration) {
	t.Helper()
	if int(h.Count()) != len(times) {
		t.Errorf("%s: %d times, the jobs have %d", what, h.Count(), len(times))
		return
	}
	slices.Sort(times)
	for _, q := range []float64{0.5, 0.95} {
		if len(times) == 0 {
			continue
		}
		exact := times[max(0, int(q*float64(len(times))+0.999999)-1)]
		if got := h.Quantile(q); exact >= time.Millisecond && (float64(got) > 1.1*float64(exact) || float64(got) < 0.9*float64(exact)) {
			t.Errorf("%s: p%.0f is %s, that of all times is %s", what, 100*q, got, exact)
		}
	}
}

// rollupsRace: two tries to end each of many jobs at once, of which one stands.
func rollupsRace(t *testing.T, b *bench) {
	const n = 20
	ids := make([]string, n)
	for i := range ids {
		ids[i] = b.job(t, "org", i+1)
	}
	var all sync.WaitGroup
	for _, id := range ids {
		for range 2 {
			all.Go(func() {
				_, err := b.Update(t.Context(), id, "test", func(tx *jobs.Tx) error {
					if tx.Job.State == jobs.Canceled {
						return jobs.ErrNotDue
					}
					return tx.Cancel("test")
				})
				if err != nil && !errors.Is(err, jobs.ErrNotDue) {
					t.Errorf("Cancel = %v", err)
				}
			})
		}
	}
	all.Wait()
	hour := b.Now().Truncate(jobs.RollupHour)
	for _, org := range []string{"", "org"} {
		if got := b.counted(t, org, hour, hour.Add(time.Hour))["vip-users"][jobs.CountEnd(jobs.Canceled)]; got != n {
			t.Errorf("%q: %d canceled, want %d", org, got, n)
		}
	}
}

func rollupsLapse(t *testing.T, b *bench) {
	b.update(t, b.job(t, "org", 1), cancel)
	hour := b.Now().Truncate(jobs.RollupHour)
	b.Pass(jobs.RollupLife + time.Hour)
	if got := b.counted(t, "org", hour, hour.Add(time.Hour)); len(got) > 0 {
		t.Errorf("after %s there is still %v", jobs.RollupLife, got)
	}
}
