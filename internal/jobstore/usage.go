package jobstore

import (
	"context"
	"fmt"

	"exportd/jobs"
)

// Usage counts the jobs of an org that run and that wait: what its limits are about.
func (s *Store) Usage(ctx context.Context, orgID string) (running, queued int64, err error) {
	if running, err = s.count(ctx, s.jobs().Where("orgId", "==", orgID).Where("state", "==", jobs.Running)); err != nil {
		return 0, 0, fmt.Errorf("count running jobs: %w", err)
	}
	if queued, err = s.count(ctx, s.jobs().Where("orgId", "==", orgID).Where("state", "==", jobs.Queued)); err != nil {
		return 0, 0, fmt.Errorf("count queued jobs: %w", err)
	}
	return running, queued, nil
}
