package api

import (
	"context"
	"math"
	"slices"
	"time"

	"exportd/jobs"
)

const (
	// paceJobs are the successes that a pace is told from, a page of the list; those of a kind, or of any
	// where there are fewer than enoughJobs.
	paceJobs   = 20
	enoughJobs = 3
	// recent is the weight of a success to that of the one after it: what has changed shows within some jobs,
	// and one that was slow for a reason of its own does not.
	recent = 0.9
)

// What exports take where nothing is known of any: some round trips, and rows as a stream of Firestore brings
// them.
const (
	newBase, newRow = 0.4, 1.0 / 8000
	// steps of a third of a doubling, up to 64 times of either, are looked at for a pace.
	paceSteps, stepsADoubling = 18, 3
	// newWeight is what a doubling of either counts against one of a job: it decides where jobs do not, as
	// where all had about the same rows.
	newWeight = 0.2
	// slowAt doublings off is all that a job counts: one that was slower had a reason of its own.
	slowAt = 1
)

// pace is how long exports of an org took lately, in seconds.
type pace struct {
	base, perRow float64 // of one, and of each row of a stream
	wait         float64 // until one begins that nothing is ahead of
	// share of all slots is what one takes, the mean of all; 0 where slots are not known.
	share float64
}

// paces are those of an org's kinds of exports.
type paces map[jobs.Kind]pace

// finished is an export that has succeeded.
type finished struct{ rows, took, waited, share float64 }

// fleetSeen is how old what is known of the workers may be. They say that they live each minute.
const fleetSeen = 10 * time.Second

// fleet is what can be at work. Its slots are none where they are not known.
type fleet struct {
	workers int
	slots   jobs.Slots
}

// fleetNow asks for the workers, a read for each, by one question at a time.
func (s *Server) fleetNow(ctx context.Context) (fleet, error) {
	const all = "all"
	if f, ok := s.fleets.get(all, s.now()); ok {
		return f, nil
	}
	found, err, _ := s.fleets.flights.Do(all, func() (any, error) {
		// Others wait for it too: it does not end with the request that happens to ask.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), quick)
		defer cancel()
		workers, err := s.jobs.Alive(ctx)
		f := fleet{len(workers), jobs.AllSlots(workers)}
		if err == nil {
			s.fleets.set(all, f, s.now())
		}
		return f, err
	})
	f, _ := found.(fleet)
	return f, err
}

// fleetFor is what can be at work on exports of an org. Those of sandboxes take no slots.
func (s *Server) fleetFor(ctx context.Context, orgID string) (fleet, error) {
	f, err := s.fleetNow(ctx)
	if jobs.InSandbox(orgID) {
		f.slots = jobs.Slots{}
	}
	return f, err
}

// shareOf is how much of the workers an export of so many parts takes.
func (f fleet) shareOf(parts int) float64 {
	switch {
	case f.slots == jobs.Slots{}:
		return 0
	case parts <= 1:
		return 1 / float64(f.slots.Jobs)
	}
	return min(1, float64(parts)/float64(f.slots.Parts))
}

// atOnce is how many exports of an org are made at a time: as it has places for, or the workers slots, if
// that is fewer; 0 is any number. Slots are shared by all orgs: it is as if the others made none.
func (p pace) atOnce(places int) int {
	if p.share == 0 {
		return places
	}
	slots := max(1, int(math.Round(1/p.share)))
	if places == 0 {
		return slots
	}
	return min(places, slots)
}

// paceOf tells a pace from the org's last successes.
func (s *Server) paceOf(ctx context.Context, orgID string, kind jobs.Kind, f fleet) (pace, error) {
	var last []finished
	for _, of := range []jobs.Kind{kind, ""} {
		page, err := s.jobs.List(ctx, jobs.List{OrgID: orgID, State: jobs.Succeeded, Kind: of, PageSize: paceJobs})
		if err != nil {
			return pace{}, err
		}
		last = last[:0]
		for _, j := range page.Jobs {
			if j.AttemptBase == 0 && !j.StartedAt.IsZero() && j.FinishedAt.After(j.StartedAt) {
				last = append(last, finished{j.StreamRows(f.slots.Parts), j.FinishedAt.Sub(j.StartedAt).Seconds(), j.Spent.Wait.Seconds(), f.shareOf(j.PartsTotal)})
			}
		}
		if len(last) >= enoughJobs {
			break
		}
	}
	p := paceFrom(last)
	if len(last) == 0 {
		p.share = f.shareOf(1)
	}
	return p, nil
}

// paceFrom finds the pace that is off by the least factors from what jobs took, the latest first. Factors and
// not differences, as jobs take milliseconds or hours and each is to be told as well; their sum and not that
// of squares, each up to slowAt, so that a job that was slow for a reason of its own decides nothing.
func paceFrom(last []finished) pace {
	p := pace{base: newBase, perRow: newRow}
	if len(last) == 0 {
		return p
	}
	waits, off := make([]float64, len(last)), make([]float64, len(last))
	for i, f := range last {
		waits[i], off[i] = f.waited, math.Log2(f.took/p.of(f.rows))
		p.share += f.share / float64(len(last))
	}
	slices.Sort(waits)
	p.wait = waits[len(waits)/4] // of those that had nothing ahead
	slices.Sort(off)
	scale := math.Exp2(off[len(off)/2])
	known := pace{base: p.base * scale, perRow: p.perRow * scale}
	least := math.Inf(1)
	for b := -paceSteps; b <= paceSteps; b++ {
		for r := -paceSteps; r <= paceSteps; r++ {
			at := pace{base: known.base * doubled(b), perRow: known.perRow * doubled(r)}
			cost, weight := newWeight*(math.Abs(float64(b))+math.Abs(float64(r)))/stepsADoubling, 1.0
			for _, f := range last {
				cost += weight * math.Min(math.Abs(math.Log2(f.took/at.of(f.rows))), slowAt)
				weight *= recent
			}
			if cost < least {
				least, p.base, p.perRow = cost, at.base, at.perRow
			}
		}
	}
	return p
}

func doubled(n int) float64 { return math.Exp2(float64(n) / stepsADoubling) }

// of is what an export of so many rows of a stream takes.
func (p pace) of(rows float64) float64 { return p.base + p.perRow*rows }

// run is what an export of a size takes from its begin.
func (p pace) run(s size, slots int) float64 { return p.of(s.streamRows(slots)) }

// twoDigits rounds seconds to what is meant by an estimate, from milliseconds to days.
func twoDigits(seconds float64) float64 {
	if !(seconds > 0) {
		return 0
	}
	unit := math.Pow(10, 1-math.Floor(math.Log10(seconds)))
	return math.Round(seconds*unit) / unit
}
