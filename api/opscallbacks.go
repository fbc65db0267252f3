package api

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"exportd/internal/apikey"
	"exportd/jobs"
)

const (
	// maxRedeliver and redeliverFor bound what one request sends again, so that it ends in time; the answer
	// says where the next one goes on.
	maxRedeliver = 500
	redeliverFor = maxWait - 5*time.Second
	// pageCallbacks is a page of the store.
	pageCallbacks = 100
)

// redelivered lists the states of deliveries that can be made again by filter. A pending one begins its
// schedule again, unless a try is under way; a dropped one's export was deleted.
var redelivered = []jobs.CallbackState{jobs.CallbackPending, jobs.CallbackDelivered, jobs.CallbackExhausted, jobs.CallbackBlocked, jobs.CallbackGone, jobs.CallbackSuspended}

// opsRedeliver begins the latest delivery of a job's end again, with the same webhook-id.
func (s *Server) opsRedeliver(c *gin.Context, caller *apikey.Key) error {
	reason, err := readReason(c.Request)
	if err != nil {
		return err
	}
	ctx := c.Request.Context()
	j, err := s.find(ctx, c.Param("jobId"))
	if err != nil {
		return err
	}
	observe(c).jobID = j.ID
	if !j.DeletedAt.IsZero() {
		return refuse(http.StatusConflict, "the export was deleted: nobody is told about it any more")
	}
	callbacks, err := s.jobs.Callbacks(ctx, j.ID)
	if err != nil {
		return err
	}
	if len(callbacks) == 0 {
		return refuse(http.StatusConflict, "the job has no callback yet, or no callbackUrl")
	}
	last := callbacks[len(callbacks)-1]
	if last.State == jobs.CallbackDamaged {
		return refuse(http.StatusConflict, "the record of the callback is damaged: nothing is sent for it any more")
	}
	cb, err := s.redeliver(c, caller, last.ID, reason, func(tx *jobs.CallbackTx) { tx.Audited(jobs.AuditRedeliver, reason) })
	if errors.Is(err, jobs.ErrTransition) {
		return refuse(http.StatusConflict, "a try of the callback is under way")
	}
	if err != nil {
		return err
	}
	writeJSON(c, http.StatusAccepted, map[string]any{"callback": deliveriesOf([]*jobs.Callback{cb})[0]})
	return nil
}

func (s *Server) redeliver(c *gin.Context, caller *apikey.Key, id, reason string, record func(*jobs.CallbackTx)) (*jobs.Callback, error) {
	ctx, done := begin(c)
	defer done()
	cb, err := s.operations.UpdateCallback(ctx, id, actor(caller), func(tx *jobs.CallbackTx) error {
		record(tx)
		return tx.Redeliver(reason)
	})
	if err != nil {
		return nil, err
	}
	s.notify(c, jobs.QueueCallbacks, jobs.Message{JobID: cb.JobID, CallbackID: cb.ID})
	return cb, nil
}

// redeliverRequest is what POST /ops/callbacks/redeliver says.
type redeliverRequest struct {
	list   jobs.CallbackList
	reason string
	dryRun bool
}

func readRedeliver(r *http.Request, now time.Time) (redeliverRequest, error) {
	b, err := readBody(r)
	if err != nil {
		return redeliverRequest{}, err
	}
	req := redeliverRequest{reason: b.reason(true), dryRun: b.boolean("dryRun")}
	token := b.pageToken()
	req.list = b.callbackFilter(now)
	req.list.PageToken = token
	return req, b.finish()
}

// callbackFilter reads the object "filter", in which a state is required.
func (b *body) callbackFilter(now time.Time) jobs.CallbackList {
	l := jobs.CallbackList{PageSize: pageCallbacks}
	b.object("filter", func(p *params) {
		if l.State = enum(p, "state", redelivered...); l.State == "" && p.values["state"] == nil {
			p.fault("state", typeRequired, nil, "is required")
		}
		l.OrgID, l.Origin, l.Cause = p.text("orgId", false), p.text("origin", false), p.callbackCause("cause")
		l.CreatedAfter, _ = p.moment("createdAfter", now)
		l.CreatedBefore, _ = p.moment("createdBefore", now)
	})
	return l
}

// opsRedeliverAll begins every ended delivery again that a filter matches, up to maxRedeliver a request; a
// dry run only counts. Those that were begun again may soon match again, so the next request must go on
// behind them: the answer has the token for that.
func (s *Server) opsRedeliverAll(c *gin.Context, caller *apikey.Key) error {
	req, err := readRedeliver(c.Request, s.now())
	if err != nil {
		return err
	}
	return s.redeliverAll(c, caller, req)
}

// redeliverAll is recorded before anything is done, by how many are done when all are.
func (s *Server) redeliverAll(c *gin.Context, caller *apikey.Key, req redeliverRequest) error {
	entry := jobs.NewAudit(s.now(), actor(caller), jobs.AuditRedeliverMany, req.list.Cause, filterText(req.list), req.reason, -1)
	if !req.dryRun {
		if err := s.operations.Record(c.Request.Context(), entry); err != nil {
			return err
		}
	}
	matched, done, complete := 0, 0, false
	until := s.now().Add(redeliverFor)
	for !complete && (req.dryRun && matched < dryRunJobs || !req.dryRun && matched < maxRedeliver && s.now().Before(until)) {
		page, next, err := s.operations.ListCallbacks(c.Request.Context(), req.list)
		if err != nil {
			return pageError(err, req.list.PageToken)
		}
		matched += len(page)
		for _, cb := range page {
			if req.dryRun {
				continue
			}
			switch _, err := s.redeliver(c, caller, cb.ID, req.reason, func(*jobs.CallbackTx) {}); {
			case err == nil:
				done++
			case errors.Is(err, jobs.ErrInvalid), errors.Is(err, jobs.ErrUnknownSchema): // damaged, or another version's
			case !errors.Is(err, jobs.ErrTransition) && !errors.Is(err, jobs.ErrNotFound): // both: somebody was faster
				return err
			}
		}
		req.list.PageToken, complete = next, next == ""
	}
	if !req.dryRun {
		if err := s.operations.Recorded(c.Request.Context(), entry.ID, int64(done)); err != nil {
			return err
		}
	}
	writeJSON(c, http.StatusOK, map[string]any{"dryRun": req.dryRun, "matched": matched, "redelivered": done, "complete": complete, "nextPageToken": textOrNil(req.list.PageToken)})
	return nil
}

// callbackCause reads the id of a cause of callbacks; "" if it is missing.
func (p *params) callbackCause(name string) string {
	id := p.text(name, false)
	if id != "" && jobs.CallbackCauses[jobs.CauseCode(id)] == "" {
		p.fault(name, typeOnly, map[string]any{"value": id}, "must be the causeId of a cause that callbacks were given up by")
		return ""
	}
	return id
}

// filterText is a filter of callbacks as it was asked for.
func filterText(l jobs.CallbackList) string {
	var items []string
	for _, f := range []struct{ name, value string }{{"state", string(l.State)}, {"orgId", l.OrgID}, {"origin", l.Origin}, {"cause", l.Cause}} {
		if f.value != "" {
			items = append(items, f.name+"="+f.value)
		}
	}
	for name, t := range map[string]time.Time{"createdAfter": l.CreatedAfter, "createdBefore": l.CreatedBefore} {
		if !t.IsZero() {
			items = append(items, name+"="+t.UTC().Format(time.RFC3339))
		}
	}
	slices.Sort(items)
	return strings.Join(items, ",")
}

// opsCallbackView is a delivery in a list of those of all jobs.
type opsCallbackView struct {
	JobID    string       `json:"jobId"`
	OrgID    string       `json:"orgId"`
	Cause    *string      `json:"cause"`
	Delivery deliveryView `json:"delivery"`
}

// opsCallbacks lists deliveries, newest first.
func (s *Server) opsCallbacks(c *gin.Context, _ *apikey.Key) error {
	p, err := readQuery(c.Request)
	if err != nil {
		return err
	}
	l := jobs.CallbackList{State: enum(p, "state", jobs.CallbackStates...), OrgID: p.text("orgId", false), Origin: p.text("origin", false), Cause: p.callbackCause("cause")}
	l.CreatedAfter, _ = p.moment("createdAfter", s.now())
	l.CreatedBefore, _ = p.moment("createdBefore", s.now())
	l.PageSize, l.PageToken = p.integer("pageSize", 1, maxPageJobs, pageJobs), p.pageToken()
	if err := p.finish(); err != nil {
		return err
	}
	page, next, err := s.operations.ListCallbacks(c.Request.Context(), l)
	if err != nil {
		return pageError(err, l.PageToken)
	}
	views, shown := make([]opsCallbackView, len(page)), deliveriesOf(page)
	for i, cb := range page {
		views[i] = opsCallbackView{cb.JobID, cb.OrgID, textOrNil(cb.CauseID), shown[i]}
	}
	writeJSON(c, http.StatusOK, map[string]any{"callbacks": views, "nextPageToken": textOrNil(next)})
	return nil
}
