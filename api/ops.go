package api

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"exportd/internal/apikey"
	"exportd/internal/tracing"
	"exportd/jobs"
)

// maxMinAttempts is more than any job has made.
const maxMinAttempts = 1000

// search reads what jobs are searched by, besides what an index leads to.
func (p *params) search() jobs.Search {
	return jobs.Search{
		JobID: p.jobID("jobId"), RerunOf: p.jobID("rerunOf"), RequestID: p.text("requestId", false), BatchID: p.text("batch", false), CallbackHost: p.text("callbackHost", false), Text: p.text("text", false),
		Label: p.text("label", false), ContentType: p.text("contentType", false), MinAttempts: p.integer("minAttempts", 1, maxMinAttempts, 0), Slow: p.boolean("slow"),
	}
}

// jobID reads the id of a job; "" if it is missing.
func (p *params) jobID(name string) string {
	id := p.text(name, false)
	if id != "" && !jobs.ValidID(id) {
		p.fault(name, typeOnly, map[string]any{"value": id}, "must be the id of a job: 26 letters and digits")
		return ""
	}
	return id
}

func (s *Server) opsList(c *gin.Context, _ *apikey.Key) error {
	p, err := readQuery(c.Request)
	if err != nil {
		return err
	}
	l := p.jobFilter(s.datasets, s.now()).List("", 0)
	p.jobPage(&l)
	if err := p.finish(); err != nil {
		return err
	}
	return writeJobs(s, c, l, "", opsViewOf)
}

// opsGet shows a job with everything that is known about how it went.
func (s *Server) opsGet(c *gin.Context, _ *apikey.Key) error {
	if err := noParams(c.Request); err != nil {
		return err
	}
	ctx := c.Request.Context()
	j, err := s.find(ctx, c.Param("jobId"))
	if err != nil {
		return err
	}
	observe(c).jobID = j.ID
	events, err := s.jobs.Events(ctx, j.ID)
	if err != nil {
		return err
	}
	parts, err := s.jobs.Parts(ctx, j)
	if err != nil {
		return err
	}
	callbacks, err := s.jobs.Callbacks(ctx, j.ID)
	if err != nil {
		return err
	}
	v := opsViewOf(j)
	v.Spent = spentOf(j.SpentWith(parts))
	if j.State == jobs.Running && j.Phase == jobs.PhaseParts {
		rows, bytes, err := s.jobs.Progress(ctx, j)
		if err != nil {
			return err
		}
		v.setProgress(j, rows, bytes)
	}
	shown := partsOf(parts)
	writeJSON(c, http.StatusOK, map[string]any{
		"job": v, "timeline": timelineOf(append([]jobs.Event{j.Submitted()}, events...)), "parts": shown, "partsOmitted": len(parts) - len(shown), "callbacks": deliveriesOf(callbacks),
	})
	return nil
}

// opsRerun queues an ended job again, or with other parameters a new one.
func (s *Server) opsRerun(c *gin.Context, caller *apikey.Key) error {
	b, err := readBody(c.Request)
	if err != nil {
		return err
	}
	reason := b.reason(true)
	mode := enum(&b.params, "mode", jobs.RerunResume, jobs.RerunFresh)
	changes := b.changes("params")
	if changes != nil && mode == jobs.RerunResume {
		b.fault("mode", typeOnly, map[string]any{"value": mode, "valids": []string{string(jobs.RerunFresh)}}, "must be [fresh] with params")
	}
	if mode == "" {
		mode = jobs.RerunResume
	}
	if err := b.finish(); err != nil {
		return err
	}
	j, err := s.find(c.Request.Context(), c.Param("jobId"))
	if err != nil {
		return err
	}
	observe(c).jobID = j.ID
	if changes != nil {
		return s.rerunWith(c, caller, j, changes, reason)
	}
	var really jobs.RerunMode
	j, err = s.update(c, caller, j.ID, func(tx *jobs.Tx) (err error) {
		tracing.From(c.Request.Context()).Link(tx.Job.Trace)
		really, err = tx.Rerun(mode, reason)
		tx.Audited(jobs.AuditRerunJob, reason)
		tx.BelongTo(tracing.Traceparent(c.Request.Context()))
		return err
	})
	if err != nil {
		return conflict("rerun", err)
	}
	s.notify(c, jobs.QueueExports, jobs.Message{JobID: j.ID})
	writeJSON(c, http.StatusAccepted, map[string]any{"job": opsViewOf(j), "mode": really})
	return nil
}

// opsCancel ends a job of any org.
func (s *Server) opsCancel(c *gin.Context, caller *apikey.Key) error {
	reason, err := readReason(c.Request)
	if err != nil {
		return err
	}
	j, err := s.find(c.Request.Context(), c.Param("jobId"))
	if err != nil {
		return err
	}
	observe(c).jobID = j.ID
	if j, err = s.update(c, caller, j.ID, func(tx *jobs.Tx) error {
		tx.Audited(jobs.AuditCancelJob, reason)
		return cancelJob(reason)(tx)
	}); err != nil {
		return conflict("canceled", err)
	}
	writeJSON(c, http.StatusAccepted, map[string]any{"job": opsViewOf(j)})
	return nil
}
