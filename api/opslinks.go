package api

import (
	"errors"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"exportd/internal/apikey"
	"exportd/jobs"
)

// downloadView is who has followed a link to a file in an hour, from where.
type downloadView struct {
	At        time.Time `json:"at"` // the last of them
	Count     int64     `json:"count"`
	Asker     string    `json:"asker"` // whom the link was given to
	LinkID    *string   `json:"linkId"`
	Revoked   bool      `json:"revoked"` // the link was, since
	Address   *string   `json:"address"`
	UserAgent *string   `json:"userAgent"`
}

// opsDownloads lists who has downloaded the file of a job.
func (s *Server) opsDownloads(c *gin.Context, _ *apikey.Key) error {
	p, err := readQuery(c.Request)
	if err != nil {
		return err
	}
	l := jobs.DownloadList{PageSize: p.integer("pageSize", 1, maxPageJobs, pageAudit), PageToken: p.pageToken()}
	if err := p.finish(); err != nil {
		return err
	}
	ctx := c.Request.Context()
	if l.JobID = c.Param("jobId"); !jobs.ValidID(l.JobID) {
		return jobs.ErrNotFound
	}
	observe(c).jobID = l.JobID
	page, total, next, err := s.operations.Downloads(ctx, l)
	if err != nil {
		return pageError(err, l.PageToken)
	}
	j, err := s.find(ctx, l.JobID)
	if err != nil && (total == 0 || !errors.Is(err, jobs.ErrNotFound)) { // what was downloaded is on record for longer than the job
		return err
	}
	var ofOrg int64
	if len(page) > 0 {
		if ofOrg, err = s.operations.LinkGeneration(ctx, page[0].OrgID); err != nil {
			return err
		}
	}
	views := make([]downloadView, len(page))
	for i, d := range page {
		views[i] = downloadView{d.At.UTC(), d.Count, d.Asker, textOrNil(d.LinkID), d.Revoked(j, ofOrg), textOrNil(d.Address), textOrNil(d.UserAgent)}
	}
	writeJSON(c, http.StatusOK, map[string]any{"jobId": l.JobID, "total": total, "downloads": views, "nextPageToken": textOrNil(next)})
	return nil
}

// opsRevokeJobLinks takes back links to the file of a job: one, or all.
func (s *Server) opsRevokeJobLinks(c *gin.Context, caller *apikey.Key) error {
	b, err := readBody(c.Request)
	if err != nil {
		return err
	}
	reason, link := b.reason(true), b.text("linkId", false)
	if link != "" && !jobs.ValidLink(link) {
		b.fault("linkId", typeOnly, map[string]any{"value": link}, "must be the id of a link, as the job's downloads have it")
	}
	if err := b.finish(); err != nil {
		return err
	}
	j, err := s.update(c, caller, c.Param("jobId"), func(tx *jobs.Tx) error { return tx.RevokeLinks(link, reason) })
	if errors.Is(err, jobs.ErrTooManyLinks) {
		return refuse(http.StatusConflict, "too many links of the job are revoked one by one: revoke all of them, without linkId")
	}
	if e, ok := errors.AsType[*jobs.TransitionError](err); ok {
		return &problem{status: http.StatusConflict, message: "no link leads to a file of the job: it is " + string(e.State), extra: map[string]any{"state": e.State}}
	}
	if err != nil {
		return err
	}
	observe(c).jobID = j.ID
	writeJSON(c, http.StatusOK, map[string]any{"orgId": j.OrgID, "jobId": j.ID, "linkId": textOrNil(link)})
	return nil
}

// opsRevokeOrgLinks takes back all links to files of an org.
func (s *Server) opsRevokeOrgLinks(c *gin.Context, caller *apikey.Key) error {
	b, err := readBody(c.Request)
	if err != nil {
		return err
	}
	reason, org := b.reason(true), b.text("orgId", true)
	if org != "" && !jobs.ValidOrg(org) {
		b.fault("orgId", typeOnly, map[string]any{"value": org}, "must be the id of an org, with at most 128 characters")
	}
	if err := b.finish(); err != nil {
		return err
	}
	ctx, done := begin(c)
	defer done()
	if _, err := s.operations.RevokeOrgLinks(ctx, org, actor(caller), reason); err != nil {
		return err
	}
	if s.links != nil {
		s.links.Forget(org)
	}
	writeJSON(c, http.StatusOK, map[string]any{"orgId": org})
	return nil
}
