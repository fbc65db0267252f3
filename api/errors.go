package api

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"

	"exportd/internal/apikey"
	"exportd/internal/panics"
	"exportd/internal/vip"
	"exportd/jobs"
)

// errorTable says what callers get for the errors of other packages: the first row that matches. What is not
// in it is a 500 with a fixed text, and its cause is in the log.
var errorTable = []struct {
	err     error
	status  int
	message string
}{
	{vip.ErrWorkspaceUnknown, http.StatusNotFound, "workspace not found"},
	{vip.ErrChannelUnknown, http.StatusNotFound, "channel not found"},
	{vip.ErrNotVIP, http.StatusForbidden, "workspace is not a VIP workspace"},
	{vip.ErrChannelNotConnected, http.StatusForbidden, "channel is not connected to the workspace"},
	{jobs.ErrNotFound, http.StatusNotFound, textNoJob},
	{jobs.ErrTransition, http.StatusConflict, "not possible in the job's state"},
	{apikey.ErrDisabled, http.StatusConflict, "the key is revoked: make a new one"},
	{apikey.ErrRotated, http.StatusConflict, "the key was rotated at the same time: see by whom in its history"},
	{apikey.ErrChanged, http.StatusConflict, "somebody has changed the key meanwhile: see by whom in its history"},
	{apikey.ErrBudgetChanged, http.StatusConflict, "somebody has changed the budget meanwhile: see by whom in the key's history"},
	{jobs.ErrUnknownSchema, http.StatusServiceUnavailable, "the job is of another version of the service, which is on its way or was taken back: try again"},
	{jobs.ErrInvalid, http.StatusConflict, "the record is damaged: what it is about has ended or is about to; request the export again"},
	{jobs.ErrUnavailable, http.StatusServiceUnavailable, textUnavailable},
	{jobs.ErrNoBase, http.StatusServiceUnavailable, textUnavailable}, // what it was to be given ended meanwhile: the next time says what is wrong
	{context.DeadlineExceeded, http.StatusServiceUnavailable, textUnavailable},
	{context.Canceled, http.StatusServiceUnavailable, textUnavailable}, // not by the caller: see writeError
}

const (
	textNoJob       = "job not found"
	textUnavailable = "temporarily unavailable, try again"
	textInternal    = "internal error"
	// statusClientGone is in log lines and metrics only: nobody is there to read it.
	statusClientGone = 499
	// retryAfterOutage is what callers are told to wait, in seconds, when a dependency is away: short,
	// because outages of Google's services mostly are.
	retryAfterOutage = 5
)

// problem is an error that knows its answer.
type problem struct {
	status     int
	message    string
	retryAfter time.Duration  // 0: no header
	extra      map[string]any // more members of the body
	cause      error          // for the log
}

func (p *problem) Error() string { return p.message }
func (p *problem) Unwrap() error { return p.cause }

// errClientGone is the answer that nobody reads.
var errClientGone = &problem{status: statusClientGone, message: "request canceled"}

func refuse(status int, message string) error { return &problem{status: status, message: message} }

// answerTo finds the answer for an error.
func answerTo(err error) *problem {
	if p, ok := errors.AsType[*problem](err); ok {
		return p
	}
	if r, ok := errors.AsType[*apikey.RefusedError](err); ok {
		return &problem{status: http.StatusUnauthorized, message: r.Error(), cause: r.Cause}
	}
	if q, ok := errors.AsType[*jobs.QueueFullError](err); ok {
		return &problem{
			status: http.StatusTooManyRequests, retryAfter: 30 * time.Second,
			message: "too many exports are queued (" + strconv.Itoa(q.Limit) + "): wait for one to end",
			extra:   map[string]any{"runningJobIds": q.RunningIDs},
		}
	}
	p := &problem{status: http.StatusInternalServerError, message: textInternal, cause: err}
	if f, ok := errors.AsType[*jobs.Failure](err); ok && f.Code != jobs.CodeUnavailable {
		return p // whatever it wraps: a missing database is not a missing job
	}
	for _, row := range errorTable {
		if errors.Is(err, row.err) {
			p.status, p.message = row.status, row.message
			break
		}
	}
	switch {
	case p.status == http.StatusServiceUnavailable:
		p.retryAfter = retryAfterOutage * time.Second
	case p.status < http.StatusInternalServerError:
		p.cause = nil // says nothing that the answer does not
	}
	return p
}

// writeError answers with an error, unless an answer has begun.
func writeError(c *gin.Context, err error) {
	if c.Writer.Written() {
		observe(c).cause = err
		c.Abort()
		return
	}
	if f, ok := errors.AsType[*invalidError](err); ok {
		writeJSON(c, http.StatusUnprocessableEntity, map[string]any{"error": f.faults})
		c.Abort()
		return
	}
	p := answerTo(err)
	// A panic is written when the route's own contexts have ended.
	if _, panicked := panics.Of(err); !panicked && p.status >= http.StatusInternalServerError && errors.Is(c.Request.Context().Err(), context.Canceled) {
		p = errClientGone // what failed by it says so in many ways, gRPC in one of its own
	}
	observe(c).cause = p.cause
	if p.retryAfter > 0 {
		setRetryAfter(c, p.retryAfter)
	}
	if p.status == http.StatusUnauthorized {
		c.Header("WWW-Authenticate", `HMAC-SHA256 headers="x-api-key x-date x-signature"`)
	}
	body := map[string]any{"message": p.message}
	for k, v := range p.extra {
		body[k] = v
	}
	writeJSON(c, p.status, body)
	c.Abort()
}

func setRetryAfter(c *gin.Context, d time.Duration) {
	c.Header("Retry-After", strconv.Itoa(seconds(d)))
}
