package jobstore

import (
	"context"
	"fmt"
	"slices"

	"cloud.google.com/go/firestore"

	"exportd/jobs"
)

// inState are an org's jobs in a state that this build can work on, oldest first: those that its limits are
// about.
func (s *Store) inState(orgID string, state jobs.State) firestore.Query {
	return ofVersions(s.jobs().Where("orgId", "==", orgID).Where("state", "==", state), readable()).OrderBy("createdAt", firestore.Asc)
}

// Usage counts the jobs of an org that run and that wait: what its limits are about.
func (s *Store) Usage(ctx context.Context, orgID string) (running, queued int64, err error) {
	if running, err = s.count(ctx, s.inState(orgID, jobs.Running)); err != nil {
		return 0, 0, fmt.Errorf("count running jobs: %w", err)
	}
	if queued, err = s.count(ctx, s.inState(orgID, jobs.Queued)); err != nil {
		return 0, 0, fmt.Errorf("count queued jobs: %w", err)
	}
	return running, queued, nil
}

// Unfinished gives those that Usage counts and that were made first, most of either at most, oldest first.
func (s *Store) Unfinished(ctx context.Context, orgID string, most int) (running, queued []*jobs.Job, err error) {
	// In this order: one that is claimed in between is in both lists, and not in neither.
	if queued, err = s.first(ctx, orgID, jobs.Queued, most); err != nil {
		return nil, nil, fmt.Errorf("list queued jobs: %w", err)
	}
	if running, err = s.first(ctx, orgID, jobs.Running, most); err != nil {
		return nil, nil, fmt.Errorf("list running jobs: %w", err)
	}
	queued = slices.DeleteFunc(queued, func(q *jobs.Job) bool {
		return slices.ContainsFunc(running, func(r *jobs.Job) bool { return r.ID == q.ID })
	})
	return running, queued, nil
}

func (s *Store) first(ctx context.Context, orgID string, state jobs.State, most int) (out []*jobs.Job, err error) {
	docs, err := s.inState(orgID, state).Limit(most).Documents(ctx).GetAll()
	if err != nil {
		return nil, classify(err)
	}
	for _, doc := range docs {
		out = append(out, s.shownJob(doc))
	}
	return out, nil
}
