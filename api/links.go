package api

import (
	"context"
	"errors"
	"html"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"exportd/internal/apikey"
	"exportd/internal/export"
	"exportd/internal/filelink"
	"exportd/jobs"
)

const (
	// followedFor is how long the signed URL works that a link leads to: one that was revoked is of no use to
	// anybody after that. A download may take longer, and one that broke off asks the link again.
	followedFor = time.Minute
)

// linkRate bounds the links that one address may follow, on a route that anybody may ask.
var linkRate = Rate{PerSecond: 10, Burst: 200}

const (
	textNoLink   = "no such link"
	textLinkGone = "this link leads to no file any more: it was revoked, or the file has expired. Ask for the export again to get another one."
)

// askerOf is whom a link in an answer is for.
func askerOf(caller *apikey.Key) filelink.Asker {
	if caller.Person != "" {
		return filelink.Asker{Person: caller.Person}
	}
	return filelink.Asker{KeyID: caller.ID}
}

// follow leads from a link to the file, by a signed URL that lives for a minute: no byte of the file comes by
// the service. Who follows it is on record before. HEAD is answered from the job, and is no download.
func (s *Server) follow(c *gin.Context, _ *apikey.Key) error {
	j, link, err := s.linked(c)
	if err != nil {
		return s.refuseLink(c, err)
	}
	if c.Request.Method == http.MethodHead {
		c.Header("Content-Type", export.ContentType(j))
		c.Header("Content-Length", strconv.FormatInt(j.Result.Size, 10))
		c.Header("Content-Disposition", `attachment; filename="`+j.FileName()+`"`)
		c.Header("Accept-Ranges", "bytes")
		c.Header("X-Goog-Hash", "crc32c="+checksum(j.Result.CRC32C))
		c.Status(http.StatusOK)
		return nil
	}
	url, err := s.objects.SignedURL(c.Request.Context(), j.Result.Object, followedFor, j.FileName())
	if err != nil {
		return err
	}
	if err := s.noteDownload(c, j, link); err != nil { // last: who is led nowhere is not counted
		return err
	}
	c.Header("Location", url)
	c.Status(http.StatusFound)
	return nil
}

// linked gives the job whose file a link leads to, and the link. Who has no link that was made here learns
// nothing, and costs no read.
func (s *Server) linked(c *gin.Context) (*jobs.Job, *filelink.Link, error) {
	o, now := observe(c), s.now()
	if l := s.byLink.take(network(o.client), now); !l.ok {
		s.delayRefusal(c.Request.Context(), &s.held, heldFor)
		return nil, nil, tooMany(l)
	}
	if s.links == nil {
		return nil, nil, refuse(http.StatusNotFound, textNoLink)
	}
	link, err := s.links.Open(c.Param("token"))
	if errors.Is(err, filelink.ErrNone) {
		return nil, nil, refuse(http.StatusNotFound, textNoLink)
	}
	if err != nil {
		return nil, nil, err
	}
	o.jobID = link.JobID
	ctx := c.Request.Context()
	j, err := s.jobs.Get(ctx, link.JobID)
	if errors.Is(err, jobs.ErrNotFound) { // the record has had its time
		return nil, nil, refuse(http.StatusGone, textLinkGone)
	}
	if err != nil {
		return nil, nil, err
	}
	o.orgID = j.OrgID
	for _, good := range []func() (bool, error){
		func() (bool, error) { return link.LeadsTo(j), nil },
		func() (bool, error) { return s.links.Good(ctx, link, j.OrgID) },
		func() (bool, error) { return s.stillAsks(ctx, link.Asker, j.OrgID) },
		func() (bool, error) { return s.proven(ctx, j).State == jobs.Succeeded, nil },
	} {
		if ok, err := good(); err != nil {
			return nil, nil, err
		} else if !ok {
			return nil, nil, refuse(http.StatusGone, textLinkGone)
		}
	}
	return j, link, nil
}

// stillAsks reports whether the key that asked for a link was not revoked since: with a key that has leaked
// go the links that it was given. One that has expired leaves them.
func (s *Server) stillAsks(ctx context.Context, asker filelink.Asker, orgID string) (bool, error) {
	if asker.KeyID == "" {
		return true, nil
	}
	key, err := s.keys(ctx, asker.KeyID)
	switch {
	case errors.Is(err, jobs.ErrNotFound), errors.Is(err, jobs.ErrInvalid):
		return false, nil
	case err != nil:
		return false, err
	}
	return key.State == apikey.Active && key.OrgID == orgID, nil
}

// noteDownload writes down that somebody is led to a file, by a link that is of the job's generation.
func (s *Server) noteDownload(c *gin.Context, j *jobs.Job, link *filelink.Link) error {
	d := jobs.NewDownload(j, link.ID, link.Asker.String(), observe(c).client.String(), c.Request.UserAgent(), s.now())
	d.OfOrg = link.OfOrg
	return s.downloads.note(c.Request.Context(), d)
}

// refuseLink answers a person's browser by a page, and everybody else as ever.
func (s *Server) refuseLink(c *gin.Context, err error) error {
	p := answerTo(err)
	if !strings.Contains(c.GetHeader("Accept"), "text/html") || p.status >= http.StatusInternalServerError {
		return err
	}
	if p.retryAfter > 0 {
		setRetryAfter(c, p.retryAfter)
	}
	c.Data(p.status, "text/html; charset=utf-8", []byte("<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>Export</title>\n<h1>"+
		http.StatusText(p.status)+"</h1>\n<p>"+html.EscapeString(p.message)+"</p>\n</html>\n"))
	return nil
}
