package api

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"

	"exportd/internal/apikey"
	"exportd/internal/tracing"
	"exportd/jobs"
)

// await returns the job once it has ended, or as it is when the wait is over, the server stops, or it cannot
// be watched: whoever waits has a job id to come back with. applied is what the caller may be told of its
// preference. An error is that of a caller who may not wait now, or who lost its rights meanwhile.
func (s *Server) await(c *gin.Context, caller *apikey.Key, job *jobs.Job, p preference) (_ *jobs.Job, applied string, err error) {
	if p.wait <= 0 || job.State.Ended() {
		return job, p.applied, nil
	}
	leave, why := s.waits.acquire(caller.OrgID, caller.ID)
	switch why {
	case full:
		return job, "", nil
	case greedy:
		return job, "", tooManyWaits()
	}
	defer leave()
	s.metrics.waiting.Inc()
	defer s.metrics.waiting.Dec()
	ctx, cancel := context.WithTimeout(c.Request.Context(), p.wait)
	defer cancel()
	defer context.AfterFunc(s.draining, cancel)()
	ctx, span := tracing.Start(ctx, tracing.Step{Name: "wait"})
	defer span.End()
	began, taken := time.Now(), false
	err = s.jobs.Watch(ctx, job.ID, func(j *jobs.Job) bool {
		if taken = j.OrgID != caller.OrgID; taken { // by a hand: it is not this caller's any more
			return true
		}
		job = j
		return j.State.Ended()
	})
	if taken {
		return nil, "", jobs.ErrNotFound
	}
	if err != nil && ctx.Err() == nil {
		observe(c).warning = err
	}
	applied = p.applied
	if waited := time.Since(began); !job.State.Ended() && waited < p.wait && applied != "" {
		applied = "wait=" + strconv.Itoa(int(waited/time.Second)) // cut short
	}
	return job, applied, s.stillAllowed(c, job.State == jobs.Succeeded)
}

func tooManyWaits() error {
	return &problem{status: http.StatusTooManyRequests, message: "too many requests of this API key or org wait for jobs", retryAfter: retryWait}
}

// retryWait is when a caller that waits for too many jobs may try again: the longest wait may last 25 s, most
// end earlier.
const retryWait = 10 * time.Second

// Bounds of Retry-After for a job that is not done: not so soon that asking is a load, not so late that a
// finished file lies waiting.
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
