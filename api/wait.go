package api

import (
	"context"
	"time"

	"github.com/gin-gonic/gin"

	"exportd/jobs"
)

// await returns the job once it has ended, or as it is when wait is over, the server
// stops, or it cannot be watched: whoever waits has a job id to come back with.
func (s *Server) await(c *gin.Context, job *jobs.Job, wait time.Duration) *jobs.Job {
	if wait <= 0 || job.State.Ended() {
		return job
	}
	select {
	case s.waits <- struct{}{}:
		defer func() { <-s.waits }()
	default:
		return job
	}
	s.metrics.waiting.Inc()
	defer s.metrics.waiting.Dec()
	ctx, cancel := context.WithTimeout(c.Request.Context(), wait)
	defer cancel()
	defer context.AfterFunc(s.draining, cancel)()
	err := s.jobs.Watch(ctx, job.ID, func(j *jobs.Job) bool {
		job = j
		return j.State.Ended()
	})
	if err != nil && ctx.Err() == nil {
		observe(c).warning = err
	}
	return job
}

// Bounds of Retry-After for a job that is not done: not so soon that asking is a load, not
// so late that a finished file lies waiting.
const (
	minRetryAfter = time.Second
	maxRetryAfter = 30 * time.Second
)

// retryAfter estimates when a job will be done, from its pace so far.
func retryAfter(v jobView, now time.Time) time.Duration {
	if v.StartedAt == nil || v.Progress.RowsTotal == nil || v.Progress.RowsDone == 0 {
		return 2 * time.Second
	}
	left := float64(*v.Progress.RowsTotal-v.Progress.RowsDone) / float64(v.Progress.RowsDone) * float64(now.Sub(*v.StartedAt))
	return max(minRetryAfter, min(maxRetryAfter, time.Duration(left)))
}
