package api

import (
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
	"golang.org/x/sync/errgroup"

	"exportd/internal/apikey"
	"exportd/internal/panics"
	"exportd/jobs"
)

// queueView is a queue's pause switch.
type queueView struct {
	Paused bool       `json:"paused"`
	Actor  *string    `json:"actor"`
	Reason *string    `json:"reason"`
	At     *time.Time `json:"at"`
}

// deadView counts messages that no code could handle.
type deadView struct {
	Count      int64      `json:"count"`
	LastReason *string    `json:"lastReason"`
	LastAt     *time.Time `json:"lastAt"`
}

// rescuerView is who does what is due in a partition of the shards; nobody if owner is null.
type rescuerView struct {
	Partition int        `json:"partition"`
	Owner     *string    `json:"owner"`
	Until     *time.Time `json:"until"`
}

// opsStats shows the state of the whole system, and what happened in a window.
func (s *Server) opsStats(c *gin.Context, _ *apikey.Key) error {
	p, err := readQuery(c.Request)
	if err != nil {
		return err
	}
	asked := p.statsWindow(s.datasets, s.now())
	if err := p.finish(); err != nil {
		return err
	}
	var happened *windowView
	var st jobs.Stats
	g, ctx := errgroup.WithContext(c.Request.Context())
	g.Go(panics.Task(func() (err error) {
		if asked != nil {
			happened, err = s.window(ctx, asked)
		}
		return err
	}))
	g.Go(panics.Task(func() (err error) { st, err = s.operations.Stats(ctx); return err }))
	if err := g.Wait(); err != nil {
		return err
	}
	age := func(since time.Time) *float64 {
		if since.IsZero() {
			return nil
		}
		age := s.now().Sub(since).Seconds()
		return &age
	}
	queues := map[jobs.Queue]queueView{jobs.QueueExports: {}, jobs.QueueCallbacks: {}}
	for q := range queues {
		p := st.Paused[q]
		queues[q] = queueView{p.Paused, textOrNil(p.Actor), textOrNil(p.Reason), timeOrNil(p.At)}
	}
	dead := map[jobs.Queue]deadView{}
	for q, d := range st.DeadLetters {
		dead[q] = deadView{d.Count, textOrNil(d.Reason), timeOrNil(d.At)}
	}
	rescuers := make([]rescuerView, len(st.Partitions))
	for i, p := range st.Partitions {
		rescuers[i] = rescuerView{p.Index, textOrNil(p.Owner), timeOrNil(p.Until)}
	}
	writeJSON(c, http.StatusOK, map[string]any{
		"states": st.States, "errorCodes": st.ErrorCodes,
		"queue":     map[string]any{"depth": st.States[jobs.Queued], "oldestAgeSeconds": age(st.OldestQueuedAt)},
		"callbacks": map[string]any{"pending": st.PendingCallbacks, "oldestAgeSeconds": age(st.OldestPendingAt)}, "window": happened,
		"queues": queues, "workers": orEmpty(st.Workers), "workersAlive": len(st.Workers), "deadLetters": dead, "rescuers": rescuers,
	})
	return nil
}

// opsPause stops workers from taking new work of a queue, or lets them go on.
func (s *Server) opsPause(paused bool) endpoint {
	return func(c *gin.Context, caller *apikey.Key) error {
		reason, err := readReason(c.Request)
		if err != nil {
			return err
		}
		q := jobs.Queue(c.Param("queue"))
		if q != jobs.QueueExports && q != jobs.QueueCallbacks {
			return refuse(http.StatusNotFound, "no such queue; there are exports and callbacks")
		}
		if err := s.operations.SetPaused(c.Request.Context(), q, paused, actor(caller), reason); err != nil {
			return err
		}
		writeJSON(c, http.StatusOK, map[string]any{"queue": q, "paused": paused})
		return nil
	}
}
