package inmemory

import (
	"context"
	"slices"
	"time"

	"exportd/jobs"
)

// count adds a tally to its rollups.
func (s *Store) count(t *jobs.Tally) {
	if t == nil {
		return
	}
	for _, key := range t.Keys() {
		r := s.rollups[key.ID()]
		if r == nil {
			r = &jobs.Rollup{RollupKey: key}
			s.rollups[key.ID()] = r
		}
		r.Add(t.At.UTC().Truncate(jobs.RollupSlot), t.Kind, t.Counts)
	}
}

// rollupsWhere adds up the documents that fit, one for each hour and org, in the order of time.
func (s *Store) rollupsWhere(fits func(*jobs.Rollup) bool) []*jobs.Rollup {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []*jobs.Rollup
	for _, r := range s.rollups {
		if fits(r) && s.now().Before(r.Hour.Add(jobs.RollupLife)) {
			all = append(all, r)
		}
	}
	return jobs.MergeRollups(all)
}

// Rollups gives the rollups of an org within [from, to).
func (s *Store) Rollups(_ context.Context, orgID string, from, to time.Time) ([]*jobs.Rollup, error) {
	return s.rollupsWhere(func(r *jobs.Rollup) bool {
		return r.OrgID == orgID && !r.Hour.Before(from) && r.Hour.Before(to)
	}), nil
}

// TopRollups gives the rollups of all orgs of an hour.
func (s *Store) TopRollups(_ context.Context, hour time.Time) ([]*jobs.Rollup, bool, error) {
	all := s.rollupsWhere(func(r *jobs.Rollup) bool { return r.OrgID != "" && r.Hour.Equal(hour) })
	return slices.Clip(all), true, nil
}
