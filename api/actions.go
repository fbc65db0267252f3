package api

import (
	"context"
	"errors"
	"net/http"

	"github.com/gin-gonic/gin"

	"exportd/internal/apikey"
	"exportd/jobs"
)

// actor is how who did something appears in events: a person whom a provider has signed in by name, else the
// key.
func actor(caller *apikey.Key) string {
	if caller.Person != "" {
		return caller.Person
	}
	return "api key " + caller.ID
}

// update runs a transition in the caller's name and notifies for the callback that came of it.
func (s *Server) update(c *gin.Context, caller *apikey.Key, id string, fn func(*jobs.Tx) error) (*jobs.Job, error) {
	var callback *jobs.Callback
	ctx, done := begin(c)
	defer done()
	j, err := s.jobs.Update(ctx, id, actor(caller), func(tx *jobs.Tx) error {
		err := fn(tx)
		callback = tx.Callback
		return err
	})
	if err == nil && callback != nil {
		s.notify(c, jobs.QueueCallbacks, jobs.Message{JobID: id, CallbackID: callback.ID})
	}
	return j, err
}

// notify publishes a message. That it was not sent is no error of the request: what it is about is stored,
// and whoever looks after it notifies again.
func (s *Server) notify(c *gin.Context, q jobs.Queue, m jobs.Message) {
	if err := s.queue.Publish(c.Request.Context(), q, m); err != nil {
		observe(c).warning = err
	}
}

// cancel ends a job that has not ended, for its owner.
func (s *Server) cancel(c *gin.Context, caller *apikey.Key) error {
	b, err := readBody(c.Request)
	if err != nil {
		return err
	}
	reason := b.reason(false)
	if err := b.finish(); err != nil {
		return err
	}
	j, err := s.callersJob(c, caller)
	if err != nil {
		return err
	}
	j, err = s.update(c, caller, j.ID, cancelJob(reason))
	if err != nil {
		return conflict("canceled", err)
	}
	c.Header("Location", statusURL(j.ID))
	writeJSON(c, http.StatusAccepted, viewOf(j))
	return nil
}

func cancelJob(reason string) func(*jobs.Tx) error {
	return func(tx *jobs.Tx) error {
		if !tx.Job.DeletedAt.IsZero() {
			return jobs.ErrNotFound
		}
		return tx.Cancel(reason)
	}
}

// conflict says why a job cannot be canceled or rerun, from what the transition knows.
func conflict(what string, err error) error {
	answer := func(state jobs.State, why string) error {
		return &problem{status: http.StatusConflict, message: "the job cannot be " + what + ": " + why, extra: map[string]any{"state": state}}
	}
	if e, ok := errors.AsType[*jobs.TransitionError](err); ok {
		return answer(e.State, "it is "+string(e.State))
	}
	if e, ok := errors.AsType[*jobs.RerunError](err); ok && errors.Is(e, jobs.ErrTransition) {
		if e.Reason == jobs.RefusedDamaged {
			return answer(e.State, string(e.Reason)+"; request the export again")
		}
		return answer(e.State, "it "+string(e.Reason))
	}
	return err
}

// deleteJob deletes a job for its owner: file and parts now, the record stays for audit. When the objects
// cannot be deleted now, the caller is told so and may repeat; the rescuer does as well.
func (s *Server) deleteJob(c *gin.Context, caller *apikey.Key) error {
	b, err := readBody(c.Request)
	if err != nil {
		return err
	}
	reason := b.reason(false)
	if err := b.finish(); err != nil {
		return err
	}
	ctx, done := begin(c)
	defer done()
	j, err := s.deletable(ctx, c.Param("jobId"), caller)
	if err != nil {
		return err
	}
	observe(c).jobID = j.ID
	if j, err = s.update(c, caller, j.ID, func(tx *jobs.Tx) error { return tx.Delete(reason) }); err != nil {
		return err
	}
	if _, err := s.objects.DeletePrefix(c.Request.Context(), j.ObjectPrefix()); err != nil {
		return err
	}
	c.Status(http.StatusNoContent)
	return nil
}

// deletable returns a job of the caller's that is there, or was deleted with objects left.
func (s *Server) deletable(ctx context.Context, id string, caller *apikey.Key) (*jobs.Job, error) {
	j, err := s.jobs.GetOf(ctx, caller.OrgID, id)
	if err != nil {
		return nil, err
	}
	if !j.DeletedAt.IsZero() && !j.Cleanup {
		return nil, jobs.ErrNotFound
	}
	return j, nil
}
