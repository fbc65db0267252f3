package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"exportd/internal/apikey"
	"exportd/internal/filelink"
	"exportd/jobs"
)

// Pages of job lists, in jobs.
const (
	pageJobs    = 20
	maxPageJobs = 100
	// maxPageToken is far above what the store makes.
	maxPageToken = 512
)

func (s *Server) listJobs(c *gin.Context, caller *apikey.Key) error {
	p, err := readQuery(c.Request)
	if err != nil {
		return err
	}
	l := jobs.List{OrgID: caller.OrgID, State: enum(p, "state", jobs.States...), Kind: jobs.Kind(enum(p, "kind", s.datasets.Names()...))}
	p.jobPage(&l)
	if err := p.finish(); err != nil {
		return err
	}
	scope := pageScope(l)
	if l.PageToken, err = unscope(l.PageToken, scope); err != nil {
		return err
	}
	return writeJobs(s, c, l, scope, viewOf)
}

// pageScope tells a list from others: another one's page tokens lead to a place that is none of its.
func pageScope(l jobs.List) string {
	l.PageSize, l.PageToken = 0, ""
	body, _ := json.Marshal(l) // texts, bools and sane times
	sum := sha256.Sum256(body)
	return "~" + hex.EncodeToString(sum[:6])
}

// unscope gives the store's own token. One of a build before scopes has none, and is taken as it is.
func unscope(token, scope string) (string, error) {
	own, of, scoped := strings.Cut(token, "~")
	if scoped && "~"+of != scope {
		return "", invalid("pageToken", typeOnly, map[string]any{"value": token}, "is of a list with other filters: repeat them as they were for the page before")
	}
	return own, nil
}

// jobPage reads which page of a list of jobs is asked for.
func (p *params) jobPage(l *jobs.List) {
	l.PageSize = p.integer("pageSize", 1, maxPageJobs, pageJobs)
	l.PageToken = p.pageToken()
}

// pageToken reads where a page of a list begins; "" for the first.
func (p *params) pageToken() string {
	token := p.text("pageToken", false)
	if len(token) > maxPageToken {
		p.faults = append(p.faults, badPageToken(token))
	}
	return token
}

// pageError is what comes of a page that could not be read: of a token that is none, the caller is told.
func pageError(err error, token string) error {
	if errors.Is(err, jobs.ErrInvalid) {
		return &invalidError{[]fault{badPageToken(token)}}
	}
	return err
}

func badPageToken(token string) fault {
	return newFault("pageToken", typeOnly, map[string]any{"value": token}, "must be the nextPageToken of the page before")
}

// writeJobs answers with a page of jobs; scope is added to the token of the next.
func writeJobs[V any](s *Server, c *gin.Context, l jobs.List, scope string, view func(*jobs.Job) V) error {
	page, err := s.jobs.List(c.Request.Context(), l)
	if err != nil {
		return pageError(err, l.PageToken)
	}
	views := make([]V, len(page.Jobs))
	for i, j := range page.Jobs {
		views[i] = view(j)
	}
	var next *string
	if page.Next != "" {
		token := page.Next + scope
		next = &token
	}
	writeJSON(c, http.StatusOK, map[string]any{"jobs": views, "nextPageToken": next})
	return nil
}

// callersJob returns the job that the path names, if the caller's org has it: to others it looks like one
// that does not exist.
func (s *Server) callersJob(c *gin.Context, caller *apikey.Key) (*jobs.Job, error) {
	j, err := s.jobs.GetOf(c.Request.Context(), caller.OrgID, c.Param("jobId"))
	if err != nil {
		return nil, err
	}
	if !j.DeletedAt.IsZero() {
		return nil, jobs.ErrNotFound
	}
	observe(c).jobID = j.ID
	return j, nil
}

// find returns a job of any org, for operators; an id that cannot be one costs no read.
func (s *Server) find(ctx context.Context, id string) (*jobs.Job, error) {
	if !jobs.ValidID(id) {
		return nil, jobs.ErrNotFound
	}
	return s.jobs.Get(ctx, id)
}

// noParams refuses all query parameters.
func noParams(r *http.Request) error {
	p, err := readQuery(r)
	if err != nil {
		return err
	}
	return p.finish()
}

func (s *Server) getJob(c *gin.Context, caller *apikey.Key) error {
	if err := noParams(c.Request); err != nil {
		return err
	}
	preference := readPrefer(c.Request.Header, 0)
	j, err := s.callersJob(c, caller)
	if err != nil {
		return err
	}
	j, applied, err := s.await(c, caller, j, preference)
	if err != nil {
		return err
	}
	if !j.DeletedAt.IsZero() { // meanwhile
		return jobs.ErrNotFound
	}
	v, err := s.show(c.Request.Context(), j, askerOf(caller))
	if err != nil {
		return err
	}
	tag, err := s.jobTag(v)
	if err != nil {
		return err
	}
	c.Header("ETag", tag)
	c.Header("Vary", "Prefer")
	if strings.Contains(c.GetHeader("If-None-Match"), tag) {
		c.Status(http.StatusNotModified)
		return nil
	}
	if applied != "" {
		c.Header("Preference-Applied", applied)
	}
	if !j.State.Ended() {
		setRetryAfter(c, retryAfter(v, s.now()))
	}
	writeJSON(c, http.StatusOK, v)
	return nil
}

// jobTag is the version of a job as it is shown. Links are made new for each answer and do not count; but
// half-way through the life of one the version changes, so that whoever asks with If-None-Match always holds
// a link that works.
func (s *Server) jobTag(v jobView) (string, error) {
	half := int64(0)
	if v.CSVURL != nil {
		half = s.now().Unix() / max(1, int64(s.urlLife/time.Second)/2)
	}
	v.CSVURL, v.URLExpiresAt = nil, nil
	body, err := encodeJSON(v)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(strconv.AppendInt(body, half, 10))
	return `W/"` + hex.EncodeToString(sum[:8]) + `"`, nil
}

// jobWithFile is callersJob of a job whose file is there.
func (s *Server) jobWithFile(c *gin.Context, caller *apikey.Key) (*jobs.Job, error) {
	j, err := s.callersJob(c, caller)
	if err != nil {
		return nil, err
	}
	switch j = s.proven(c.Request.Context(), j); j.State {
	case jobs.Succeeded:
		return j, nil
	case jobs.Expired:
		return nil, gone(j)
	}
	return nil, refuse(http.StatusConflict, "the export has no file: it is "+string(j.State))
}

// download redirects to a fresh link to the file.
func (s *Server) download(c *gin.Context, caller *apikey.Key) error {
	if err := noParams(c.Request); err != nil {
		return err
	}
	j, err := s.jobWithFile(c, caller)
	if err != nil {
		return err
	}
	life := s.urlLife
	if s.links != nil { // what cannot be revoked is of no use to anybody else for long
		life = followedFor
	}
	url, _, err := s.signed(c.Request.Context(), j, life)
	if err != nil {
		return err
	}
	if url == "" {
		return gone(j)
	}
	if s.links != nil {
		if err := s.noteDownload(c, j, &filelink.Link{Asker: askerOf(caller)}); err != nil {
			return err
		}
	}
	c.Header("Location", url)
	c.Status(http.StatusFound)
	return nil
}
