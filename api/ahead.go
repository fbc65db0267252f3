package api

import (
	"context"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"exportd/internal/panics"
	"exportd/jobs"
)

const (
	// aheadMost are the jobs ahead of a quoted one that are looked at, of those that run and of those that
	// wait: as many as may wait by default. Others count as the mean of these.
	aheadMost = 100
	// aheadCounts are those of them whose rows are not known yet and are counted, the first ones, aheadAtOnce
	// at a time, within aheadWithin: a count of ten million rows takes longer.
	aheadCounts = 16
	aheadAtOnce = 4
	aheadWithin = 3 * time.Second
)

// ahead are the jobs of an org that are before a quoted one: what each will take, in seconds, and how many
// others there are.
type ahead struct {
	running, queued         []float64
	moreRunning, moreQueued int64
}

// aheadOf looks at the jobs that run and wait, of which there are so many. Each takes what those of its kind
// took, of which some are known.
func (s *Server) aheadOf(ctx context.Context, orgID string, running, queued int64, known paces, f fleet) (ahead, error) {
	run, wait, err := s.jobs.Unfinished(ctx, orgID, aheadMost)
	if err != nil {
		return ahead{}, err
	}
	for _, j := range slices.Concat(run, wait) {
		if _, ok := known[j.Kind]; ok {
			continue
		}
		if known[j.Kind], err = s.paceOf(ctx, orgID, j.Kind, f); err != nil {
			return ahead{}, err
		}
	}
	out := ahead{moreRunning: max(0, running-int64(len(run))), moreQueued: max(0, queued-int64(len(wait)))}
	sizes := s.sizesOf(ctx, slices.Concat(run, wait))
	now := s.now()
	for _, j := range run {
		out.running = append(out.running, left(j, known[j.Kind].run(sizes.of(j), f.slots.Parts), now))
	}
	for _, j := range wait {
		p := known[j.Kind]
		out.queued = append(out.queued, p.wait+p.run(sizes.of(j), f.slots.Parts))
	}
	return out, nil
}

// left is what a running job has yet to do of so many seconds. One that takes longer is told by how far it
// is.
func left(j *jobs.Job, whole float64, now time.Time) float64 {
	gone := max(0, now.Sub(j.StartedAt).Seconds())
	if gone > whole && j.RowsDone > 0 {
		whole = gone * float64(j.RowsTotal) / float64(j.RowsDone)
	}
	return max(0, whole-gone)
}

// size is how large a job is.
type size struct {
	rows  int64
	parts int
}

func (s size) streamRows(slots int) float64 {
	return (&jobs.Job{RowsTotal: s.rows, PartsTotal: s.parts}).StreamRows(slots)
}

// sizes are those of jobs, by id.
type sizes struct {
	known map[string]size
	mean  size // of all that are known
}

func (s sizes) of(j *jobs.Job) size {
	if known, ok := s.known[j.ID]; ok {
		return known
	}
	return s.mean
}

// sizesOf finds out how large jobs are: by what is known of those that have been counted, and by counting
// some of the others. What cannot be counted now counts as the mean, as an estimate is not worth a refusal.
func (s *Server) sizesOf(ctx context.Context, all []*jobs.Job) sizes {
	out := sizes{known: map[string]size{}}
	var unknown []*jobs.Job
	for _, j := range all {
		if j.Counted {
			out.known[j.ID] = size{j.RowsTotal, j.PartsTotal}
		} else {
			unknown = append(unknown, j)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, aheadWithin)
	defer cancel()
	var mu sync.Mutex
	var counts errgroup.Group
	counts.SetLimit(aheadAtOnce)
	for _, j := range unknown[:min(aheadCounts, len(unknown))] {
		counts.Go(panics.Task(func() error {
			q, err := s.quotes.Cost(ctx, j)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			out.known[j.ID] = size{q.Rows, q.Parts}
			return nil
		}))
	}
	_ = counts.Wait() // told by what is known
	var sum size
	for _, k := range out.known {
		sum.rows, sum.parts = sum.rows+k.rows, sum.parts+k.parts
	}
	n := max(1, len(out.known))
	out.mean = size{sum.rows / int64(n), sum.parts / n}
	return out
}

// begins is after how many seconds the next job begins where so many are made at a time, those that wait in
// their order.
func (a ahead) begins(atOnce int) float64 {
	var free []float64 // when each place is
	if free = slices.Sorted(slices.Values(a.running)); len(free) > atOnce {
		free = free[len(free)-atOnce:]
	}
	for range atOnce - len(free) {
		if a.moreRunning > 0 {
			free = append(free, mean(a.running))
		} else {
			free = append(free, 0)
		}
	}
	for _, takes := range a.queued {
		slices.Sort(free)
		free[0] += takes
	}
	return slices.Min(free) + float64(a.moreQueued)*mean(a.queued)/float64(atOnce)
}

func mean(all []float64) (m float64) {
	for _, v := range all {
		m += v / float64(len(all))
	}
	return m
}
