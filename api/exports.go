package api

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"

	"exportd/internal/apikey"
	"exportd/internal/dataset"
	"exportd/internal/filelink"
	"exportd/internal/tracing"
	"exportd/internal/webhook"
	"exportd/jobs"
)

// export answers the export route of a dataset: every request becomes a job, or attaches to one, and waits
// for it.
func (s *Server) export(d *dataset.Dataset) endpoint {
	return func(c *gin.Context, caller *apikey.Key) error {
		submission, dryRun, err := s.readExport(c, d, caller)
		if err != nil {
			return err
		}
		noCache, maxAge := readCacheControl(c.Request.Header)
		submission.Fresh = noCache
		preference := readPrefer(c.Request.Header, s.defaultWait)
		ctx, done := begin(c)
		defer done()
		if err := s.gate(ctx, d, caller.OrgID, submission.Params); err != nil {
			return err
		}
		if err := s.based(ctx, &submission, func() (*jobs.Job, error) { return s.wouldAttach(ctx, submission, maxAge) }); err != nil {
			return err
		}
		if dryRun {
			return s.quote(c, caller, submission, maxAge)
		}
		if err := s.staged(submission); err != nil {
			return err
		}
		submitted, err := s.submitTraced(ctx, submission, maxAge)
		if errors.Is(err, jobs.ErrIdempotencyMismatch) {
			return keyOfAnother(submission)
		}
		if over, ok := errors.AsType[*jobs.BudgetError](err); ok {
			return s.overBudget(c, over)
		}
		if err != nil {
			return err
		}
		observe(c).jobID = submitted.Job.ID
		if !submitted.Reused {
			s.notify(c, jobs.QueueExports, jobs.Message{JobID: submitted.Job.ID})
		}
		finished := submitted.Job.State.Ended() // before this request came
		job, applied, err := s.await(c, caller, submitted.Job, preference)
		if p, ok := errors.AsType[*problem](err); ok && p.status == http.StatusTooManyRequests {
			err = nil // the job is there: it is told at once, not kept from its owner
		}
		if err != nil {
			return err
		}
		return s.answerExport(c, job, askerOf(caller), applied, finished)
	}
}

// keyOfAnother refuses an Idempotency-Key that another request has used.
func keyOfAnother(s jobs.Submission) error {
	return invalid("Idempotency-Key", typeOnly, map[string]any{"value": s.IdempotencyKey}, "was used with other parameters in the last 24 hours")
}

// submitTraced is submit as a step of the request's trace, from which the job's work goes on: one that was
// there before has a trace of its own.
func (s *Server) submitTraced(ctx context.Context, submission jobs.Submission, maxAge time.Duration) (jobs.Submitted, error) {
	ctx, span := tracing.Start(ctx, tracing.Step{Name: "submit", Kind: tracing.Producer})
	defer span.End()
	submission.Trace = tracing.Traceparent(ctx)
	submitted, err := s.submit(ctx, submission, maxAge)
	if err != nil {
		return submitted, err
	}
	span.Set(tracing.Job(submitted.Job.ID), tracing.Reused(submitted.Reused))
	if submitted.Reused {
		span.Link(submitted.Job.Trace)
	}
	return submitted, nil
}

// submit finds or makes the job of a request. One whose file is lost or about to expire answers no other
// request, and none whose result is older than maxAge, unless that is negative or the caller named the job's
// key.
func (s *Server) submit(ctx context.Context, submission jobs.Submission, maxAge time.Duration) (jobs.Submitted, error) {
	submitted, err := s.submitCounted(ctx, submission)
	if err != nil || !submitted.Reused {
		return submitted, err
	}
	found := s.proven(ctx, submitted.Job)
	if !s.outworn(submission, found, maxAge) {
		submitted.Job = found
		return submitted, nil
	}
	submission.Except = found.ID
	return s.submitCounted(ctx, submission)
}

// outworn reports whether a job that was found is none that the request wants.
func (s *Server) outworn(submission jobs.Submission, found *jobs.Job, maxAge time.Duration) bool {
	lost := found.State == jobs.Expired
	return lost || submission.Implied && maxAge >= 0 && found.State == jobs.Succeeded && s.age(found) > maxAge
}

// age is how old a result is, as Age has it.
func (s *Server) age(j *jobs.Job) time.Duration {
	return max(0, s.now().Sub(j.FinishedAt)).Truncate(time.Second)
}

// readExport validates everything that an export request says.
func (s *Server) readExport(c *gin.Context, d *dataset.Dataset, caller *apikey.Key) (sub jobs.Submission, dryRun bool, err error) {
	p, err := readQuery(c.Request)
	if err != nil {
		return sub, false, err
	}
	sub = jobs.Submission{
		OrgID: caller.OrgID, KeyID: caller.ID, RequestID: observe(c).requestID, Kind: d.Kind(), Columns: d.Version,
		Params: p.file(d), Budget: budgetOf(caller),
	}
	if sub.CallbackURL, err = s.callbackURL(p, caller); err != nil {
		return sub, false, err
	}
	dryRun = p.boolean("dryRun")
	key, faults := readIdempotencyKey(c.Request.Header)
	sub.IdempotencyKey, p.faults = key, append(p.faults, faults...)
	if key == "" {
		sub.IdempotencyKey, err = replayKey(c.Request)
		sub.Implied = true
	}
	p.scenario(c.Request.Header, &sub)
	return sub, dryRun, errors.Join(err, p.finish())
}

// callbackURL reads where to call back: what the request says, else the key's default.
func (s *Server) callbackURL(p *params, caller *apikey.Key) (string, error) {
	rules := s.rules
	var err error
	if rules.AllowedHosts, err = webhook.ParseHostList(caller.CallbackHosts); err != nil {
		return "", err // the key's record is at fault, not the caller
	}
	raw, given := p.get("callbackUrl", false)
	if !given {
		raw = caller.DefaultCallbackURL
		if raw == "" {
			return "", nil
		}
	}
	target, err := webhook.ParseURL(raw, rules)
	refused, isRefused := errors.AsType[*webhook.RefusedError](err)
	switch {
	case err == nil:
		return target.String(), nil
	case !given:
		return "", err
	case isRefused:
		// The value is not repeated: it may carry a token.
		p.fault("callbackUrl", typeURI, map[string]any{"reason": refused.Reason}, "must be a valid uri: %s", refused.Error())
		return "", nil
	}
	return "", err
}

// answerExport answers with the result, the job as it is, or why there is no result.
func (s *Server) answerExport(c *gin.Context, j *jobs.Job, asker filelink.Asker, applied string, reused bool) error {
	if !j.DeletedAt.IsZero() { // while this request waited: nothing is there to lead to
		return refuse(http.StatusConflict, "the export was deleted")
	}
	location := statusURL(j.ID)
	if applied != "" {
		c.Header("Preference-Applied", applied)
	}
	c.Header("Vary", "Prefer")
	j = s.proven(c.Request.Context(), j)
	switch j.State {
	case jobs.Succeeded:
		url, _, err := s.link(c.Request.Context(), j, asker)
		if err != nil {
			c.Header("Location", location)
			return err
		}
		if url == "" {
			c.Header("Location", location)
			return gone(j)
		}
		c.Header("Content-Location", location)
		if reused {
			c.Header("Age", strconv.Itoa(int(s.age(j)/time.Second)))
			c.Header("Cache-Control", "private, max-age="+strconv.Itoa(int(s.jobs.ReuseFor()/time.Second)))
		}
		writeJSON(c, http.StatusOK, struct {
			TotalCount int64        `json:"totalCount"`
			CSVURL     string       `json:"csvUrl"`
			Changes    *changesView `json:"changes,omitempty"`
		}{j.Result.FileRows(), url, changesOf(j)})
		return nil
	case jobs.Queued, jobs.Running:
		v, err := s.show(c.Request.Context(), j, asker)
		if err != nil { // the job is accepted, whatever could not be read about it
			observe(c).warning = err
		}
		c.Header("Location", location)
		setRetryAfter(c, retryAfter(v, s.now()))
		writeJSON(c, http.StatusAccepted, pendingView{jobView: v})
		return nil
	}
	c.Header("Location", location)
	return endedError(j)
}

// gone is the answer for a job whose file is no more, by its age or before.
func gone(j *jobs.Job) error {
	if j.State == jobs.Expired && j.Error != nil {
		return &problem{
			status: http.StatusGone, message: "the file of this export is lost: ask for the export again",
			extra: map[string]any{"code": j.Error.Code, "retryable": true},
		}
	}
	return refuse(http.StatusGone, "the file of this export has expired")
}

// hopeless are the codes of failures that the same request will always meet.
var hopeless = map[jobs.Code]bool{jobs.CodeTooManyRows: true, jobs.CodeTooManyBytes: true}

// endedError is the answer for a job that ended without a result.
func endedError(j *jobs.Job) error {
	switch {
	case j.State == jobs.Failed && j.Error != nil && hopeless[j.Error.Code]:
		return &invalidError{[]fault{{
			Message: j.Error.Message, Path: []string{}, Type: typeOnly, Context: map[string]any{"code": j.Error.Code},
		}}}
	case j.State == jobs.Failed && j.Error != nil:
		return &problem{
			status: http.StatusInternalServerError, message: "the export failed: " + j.Error.Message,
			extra: map[string]any{"code": j.Error.Code, "retryable": j.Error.Retryable},
		}
	case j.State == jobs.Failed:
		return refuse(http.StatusInternalServerError, "the export failed")
	case j.State == jobs.Expired:
		return gone(j)
	}
	return refuse(http.StatusConflict, "the export was canceled")
}
