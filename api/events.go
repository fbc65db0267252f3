package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/gin-gonic/gin"

	"exportd/internal/apikey"
	"exportd/internal/filelink"
	"exportd/internal/panics"
	"exportd/jobs"
)

const (
	// streamLife bounds one event stream; clients connect again by themselves (EventSource), so that streams
	// spread over new servers and no dead one lasts.
	streamLife = 10 * time.Minute
	// progressEvery is how often progress is told while a job runs.
	progressEvery = 2 * time.Second
	// heartbeatEvery keeps proxies from closing a quiet stream.
	heartbeatEvery = 15 * time.Second
	// reconnectAfter is what clients are told to wait before they connect again.
	reconnectAfter = 2 * time.Second
)

// stream tells a job's changes as server-sent events: one "job" event per change, in between its progress,
// and an end with the event of the final state.
func (s *Server) stream(c *gin.Context, caller *apikey.Key) error {
	if err := noParams(c.Request); err != nil {
		return err
	}
	job, err := s.callersJob(c, caller)
	if err != nil {
		return err
	}
	leave, why := s.waits.acquire(caller.OrgID, caller.ID)
	switch why {
	case full:
		return &problem{status: http.StatusServiceUnavailable, message: "too many open event streams", retryAfter: maxRetryAfter}
	case greedy:
		return tooManyWaits()
	}
	defer leave()
	s.metrics.waiting.Inc()
	defer s.metrics.waiting.Dec()
	ctx, cancel := context.WithTimeout(c.Request.Context(), streamLife)
	defer cancel()
	defer context.AfterFunc(s.draining, cancel)()

	// Watch runs beside this goroutine, so that progress and heartbeats go out while nothing changes. Of
	// changes that come faster than they are sent the last counts.
	changes := make(chan *jobs.Job, 1)
	var watch sync.WaitGroup
	var watchErr error
	watch.Go(func() {
		defer close(changes)
		watchErr = panics.Do(func() error {
			return s.jobs.Watch(ctx, job.ID, func(j *jobs.Job) bool {
				if j.OrgID != caller.OrgID { // by a hand: the client connects again, and is told 404
					return true
				}
				select {
				case <-changes:
				default:
				}
				changes <- j
				return j.State.Ended()
			})
		})
	})
	err = s.sendEvents(ctx, c, changes, askerOf(caller))
	ended := ctx.Err() != nil // the caller went away, the server stops, or the stream is old
	cancel()
	watch.Wait()
	if errors.Is(watchErr, context.Canceled) {
		watchErr = nil // by cancel above
	}
	s.panics.Tell(panics.Request, watchErr) // the answer has begun, and is no 500
	if !ended {
		observe(c).warning = errors.Join(err, watchErr)
	}
	return nil
}

// sendEvents sends until the job has ended, the context or the caller's right has, or nothing more can come.
func (s *Server) sendEvents(ctx context.Context, c *gin.Context, changes <-chan *jobs.Job, asker filelink.Asker) error {
	w := c.Writer
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	w.Header().Set("X-Accel-Buffering", "no") // nginx would hold events back
	e := &eventWriter{w: w, control: http.NewResponseController(w)}
	if err := e.write(fmt.Sprintf("retry: %d\n\n", reconnectAfter.Milliseconds())); err != nil {
		return err
	}
	progress, heartbeat := time.NewTicker(progressEvery), time.NewTicker(heartbeatEvery)
	defer progress.Stop()
	defer heartbeat.Stop()
	var job *jobs.Job
	for {
		select {
		case j, ok := <-changes:
			if !ok || !j.DeletedAt.IsZero() {
				return nil // the client connects again, and is told 404 if the job is gone
			}
			job = j
		case <-progress.C:
			// Whoever connects again is told why it ended.
			if err := s.stillAllowed(c, false); err != nil {
				return err
			}
			if job == nil || job.State != jobs.Running {
				continue
			}
		case <-heartbeat.C:
			if err := e.write(": still here\n\n"); err != nil {
				return err
			}
			continue
		case <-ctx.Done():
			return nil
		}
		if err := s.stillAllowed(c, job.State == jobs.Succeeded); err != nil {
			return err
		}
		v, err := s.show(ctx, job, asker)
		if err != nil {
			return err
		}
		if err := e.event("job", v); err != nil || job.State.Ended() {
			return err
		}
	}
}

// eventWriter writes server-sent events, each within sendWithin.
type eventWriter struct {
	w       http.ResponseWriter
	control *http.ResponseController
}

func (e *eventWriter) event(name string, v any) error {
	data, err := encodeJSON(v) // one line: JSON escapes line ends
	if err != nil {
		return fmt.Errorf("encode event: %w", err)
	}
	return e.write("event: " + name + "\ndata: " + string(data) + "\n\n")
}

func (e *eventWriter) write(text string) error {
	// A reader that does not read must not hold the stream; not every writer in tests knows deadlines.
	_ = e.control.SetWriteDeadline(time.Now().Add(sendWithin))
	if _, err := e.w.Write([]byte(text)); err != nil {
		return fmt.Errorf("write event: %w", err)
	}
	if err := e.control.Flush(); err != nil {
		return fmt.Errorf("flush event: %w", err)
	}
	return nil
}
