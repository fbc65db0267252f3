package api

import (
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"exportd/internal/apikey"
	"exportd/jobs"
)

// pageAudit is what a page has where it is not asked for.
const pageAudit = 50

// opsAuditView is what an operator did.
type opsAuditView struct {
	ID     string           `json:"id"`
	At     time.Time        `json:"at"`
	Actor  string           `json:"actor"`
	Action jobs.AuditAction `json:"action"`
	Reason string           `json:"reason"`
	Target *string          `json:"target"`
	Filter *string          `json:"filter"`
	Count  *int64           `json:"count"` // null: not known, or not yet
}

// opsAudit lists what operators did, latest first.
func (s *Server) opsAudit(c *gin.Context, _ *apikey.Key) error {
	p, err := readQuery(c.Request)
	if err != nil {
		return err
	}
	l := jobs.AuditList{Actor: p.text("actor", false), Target: p.text("target", false), Action: enum(p, "action", jobs.AuditActions...)}
	l.Since, _ = p.moment("since", s.now())
	l.Until, _ = p.moment("until", s.now())
	l.PageSize, l.PageToken = p.integer("pageSize", 1, maxPageJobs, pageAudit), p.pageToken()
	if err := p.finish(); err != nil {
		return err
	}
	page, next, err := s.operations.AuditEntries(c.Request.Context(), l)
	if err != nil {
		return pageError(err, l.PageToken)
	}
	views := make([]opsAuditView, len(page))
	for i, e := range page {
		views[i] = opsAuditView{e.ID, e.At.UTC(), e.Actor, e.Action, e.Reason, textOrNil(e.Target), textOrNil(e.Filter), nil}
		if e.Count >= 0 {
			views[i].Count = &e.Count
		}
	}
	writeJSON(c, http.StatusOK, map[string]any{"entries": views, "nextPageToken": textOrNil(next)})
	return nil
}
