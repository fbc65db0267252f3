package api

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/gin-gonic/gin"
	"golang.org/x/sync/errgroup"

	"exportd/internal/apikey"
	"exportd/internal/panics"
	"exportd/jobs"
)

// batchView is a batch as operators see it.
type batchView struct {
	BatchID string `json:"batchId"`
	State   string `json:"state"` // running, paused, finished or stopped
	Of      string `json:"of"`    // jobs or callbacks
	// Filter and Mode are of batches of jobs, Callbacks of those of callbacks.
	Filter       *jobs.BatchFilter `json:"filter,omitempty"`
	Mode         jobs.RerunMode    `json:"mode,omitempty"`
	Callbacks    *batchCallbacks   `json:"callbacks,omitempty"`
	Reason       string            `json:"reason"`
	Actor        string            `json:"actor"`
	MaxPerSecond int               `json:"maxPerSecond"`
	CreatedAt    time.Time         `json:"createdAt"`
	FinishedAt   *time.Time        `json:"finishedAt"`
	PausedAt     *time.Time        `json:"pausedAt"`
	Stopped      *string           `json:"stopped"` // why it ended before its end
	Canary       bool              `json:"canary"`
	Stage        int               `json:"stage"`
	Jobs         int               `json:"jobs"` // of a list, how many it has
	Rerun        int64             `json:"rerun"`
	NotEligible  []reasonCount     `json:"notEligible"`
	StatusURL    string            `json:"statusUrl"`
}

// batchCallbacks is what a batch of callbacks is about, and what has become of those that it has sent again.
type batchCallbacks struct {
	Filter jobs.CallbackFilter `json:"filter"`
	jobs.CallbackOutcome
}

// batchProgress is how far a batch is.
type batchProgress struct {
	rerun     int64
	callbacks jobs.CallbackOutcome
}

// progress reads a batch, and counts how far it is.
func (s *Server) progress(ctx context.Context, id string) (b *jobs.Batch, p batchProgress, err error) {
	if b, p.rerun, err = s.operations.Batch(ctx, id); err == nil && b.Callbacks != nil {
		p.callbacks, err = s.operations.BatchCallbacks(ctx, b)
	}
	return b, p, err
}

func batchViewOf(b *jobs.Batch, p batchProgress) batchView {
	v := batchView{
		BatchID: b.ID, State: "running", Of: "jobs", Reason: b.Reason, Actor: b.Actor, MaxPerSecond: b.Rate(),
		PausedAt: timeOrNil(b.PausedAt), Stopped: textOrNil(b.Stopped), Canary: b.Canary, Stage: b.Stage, Jobs: len(b.JobIDs),
		CreatedAt: b.CreatedAt.UTC(), FinishedAt: timeOrNil(b.FinishedAt), Rerun: p.rerun, NotEligible: []reasonCount{}, StatusURL: "/ops/batches/" + b.ID,
	}
	if b.Callbacks != nil {
		v.Of, v.Callbacks = "callbacks", &batchCallbacks{*b.Callbacks, p.callbacks}
	} else {
		v.Filter, v.Mode = &b.Filter, cmp.Or(b.Mode, jobs.RerunResume)
	}
	switch {
	case v.Stopped != nil:
		v.State = "stopped"
	case v.FinishedAt != nil:
		v.State = "finished"
	case v.PausedAt != nil:
		v.State = "paused"
	}
	for _, reason := range slices.Sorted(maps.Keys(b.Skipped)) {
		v.NotEligible = append(v.NotEligible, reasonCount{Reason: reason, Count: b.Skipped[reason]})
	}
	return v
}

// opsBatch shows how far a batch is.
func (s *Server) opsBatch(c *gin.Context, _ *apikey.Key) error {
	if err := noParams(c.Request); err != nil {
		return err
	}
	b, progress, err := s.progress(c.Request.Context(), c.Param("batchId"))
	if err != nil {
		return err
	}
	writeJSON(c, http.StatusOK, batchViewOf(b, progress))
	return nil
}

// batchesShown is how many batches are listed.
const batchesShown = 50

// opsBatches lists the latest batches.
func (s *Server) opsBatches(c *gin.Context, _ *apikey.Key) error {
	if err := noParams(c.Request); err != nil {
		return err
	}
	batches, err := s.operations.Batches(c.Request.Context(), batchesShown)
	if err != nil {
		return err
	}
	views, err := s.batchViews(c.Request.Context(), batches)
	if err != nil {
		return err
	}
	writeJSON(c, http.StatusOK, map[string]any{"batches": views})
	return nil
}

// batchViews counts for each batch what it has begun again.
func (s *Server) batchViews(ctx context.Context, batches []*jobs.Batch) ([]batchView, error) {
	views := make([]batchView, len(batches))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(causesAtOnce)
	for i, b := range batches {
		g.Go(panics.Task(func() error {
			_, progress, err := s.progress(ctx, b.ID)
			views[i] = batchViewOf(b, progress)
			return err
		}))
	}
	return views, g.Wait()
}

// opsChangeBatch has a batch stand still, go on, or end: within the page of jobs that a worker has in hand.
func (s *Server) opsChangeBatch(action jobs.AuditAction) endpoint {
	return func(c *gin.Context, caller *apikey.Key) error {
		reason, err := readReason(c.Request)
		if err != nil {
			return err
		}
		ctx, done := begin(c)
		defer done()
		id := c.Param("batchId")
		_, progress, err := s.progress(ctx, id)
		if err != nil {
			return err
		}
		b, err := s.operations.UpdateBatch(ctx, id, func(tx *jobs.BatchTx) error {
			tx.Audited(action, actor(caller), reason)
			switch action {
			case jobs.AuditPauseBatch:
				return tx.Pause()
			case jobs.AuditResumeBatch:
				return tx.Resume()
			}
			return tx.Stop("canceled by " + actor(caller) + ": " + reason)
		})
		if errors.Is(err, jobs.ErrTransition) {
			return refuse(http.StatusConflict, "the batch has ended")
		}
		if err != nil {
			return err
		}
		writeJSON(c, http.StatusOK, batchViewOf(b, progress))
		return nil
	}
}
