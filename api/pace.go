package api

import (
	"context"
	"math"
	"slices"

	"exportd/internal/export"
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
	any          float64 // the mean of all: what many that are ahead take together goes by that
}

// finished is an export that has succeeded.
type finished struct{ rows, took, waited float64 }

// paceOf tells a pace from the org's last successes.
func (s *Server) paceOf(ctx context.Context, orgID string, kind jobs.Kind) (pace, error) {
	var last []finished
	for _, of := range []jobs.Kind{kind, ""} {
		page, err := s.jobs.List(ctx, jobs.List{OrgID: orgID, State: jobs.Succeeded, Kind: of, PageSize: paceJobs})
		if err != nil {
			return pace{}, err
		}
		last = last[:0]
		for _, j := range page.Jobs {
			if j.AttemptBase == 0 && !j.StartedAt.IsZero() && j.FinishedAt.After(j.StartedAt) {
				last = append(last, finished{j.StreamRows(), j.FinishedAt.Sub(j.StartedAt).Seconds(), j.Spent.Wait.Seconds()})
			}
		}
		if len(last) >= enoughJobs {
			break
		}
	}
	return paceFrom(last), nil
}

// paceFrom finds the pace that is off by the least factors from what jobs took, the latest first. Factors and
// not differences, as jobs take milliseconds or hours and each is to be told as well; their sum and not that
// of squares, each up to slowAt, so that a job that was slow for a reason of its own decides nothing.
func paceFrom(last []finished) pace {
	p := pace{base: newBase, perRow: newRow}
	p.any = p.base
	if len(last) == 0 {
		return p
	}
	waits, off := make([]float64, len(last)), make([]float64, len(last))
	p.any = 0
	for i, f := range last {
		waits[i], off[i] = f.waited, math.Log2(f.took/p.of(f.rows))
		p.any += f.took / float64(len(last))
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

// run is what a quoted export takes from its begin.
func (p pace) run(q export.Quote) float64 {
	return p.of((&jobs.Job{RowsTotal: q.Rows, PartsTotal: q.Parts}).StreamRows())
}

// twoDigits rounds seconds to what is meant by an estimate, from milliseconds to days.
func twoDigits(seconds float64) float64 {
	if !(seconds > 0) {
		return 0
	}
	unit := math.Pow(10, 1-math.Floor(math.Log10(seconds)))
	return math.Round(seconds*unit) / unit
}
