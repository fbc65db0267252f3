package api

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"exportd/internal/apikey"
	"exportd/jobs"
)

const (
	// maxRedeliver and redeliverFor bound what one request sends again, so that it ends in
	// time; the answer says where the next one goes on.
	maxRedeliver = 500
	redeliverFor = maxWait - 5*time.Second
	// pageCallbacks is a page of the store.
	pageCallbacks = 100
)

// redelivered lists the states of deliveries that can be made again by filter: those that
// have ended. A pending one is under way, a dropped one's export was deleted.
var redelivered = []jobs.CallbackState{jobs.CallbackDelivered, jobs.CallbackExhausted, jobs.CallbackBlocked, jobs.CallbackGone, jobs.CallbackSuspended}

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
	cb, err := s.redeliver(c, caller, last.ID, reason)
	if errors.Is(err, jobs.ErrTransition) {
		return refuse(http.StatusConflict, "a try of the callback is under way")
	}
	if err != nil {
		return err
	}
	writeJSON(c, http.StatusAccepted, map[string]any{"callback": deliveriesOf([]*jobs.Callback{cb})[0]})
	return nil
}

func (s *Server) redeliver(c *gin.Context, caller *apikey.Key, id, reason string) (*jobs.Callback, error) {
	ctx, done := begin(c)
	defer done()
	cb, err := s.operations.UpdateCallback(ctx, id, actor(caller), func(tx *jobs.CallbackTx) error { return tx.Redeliver(reason) })
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

func readRedeliver(r *http.Request) (redeliverRequest, error) {
	b, err := readBody(r)
	if err != nil {
		return redeliverRequest{}, err
	}
	req := redeliverRequest{reason: b.reason(true), dryRun: b.boolean("dryRun")}
	token := b.text("pageToken", false)
	if len(token) > maxPageToken {
		b.faults = append(b.faults, badPageToken(token))
	}
	req.list = b.callbackFilter()
	req.list.PageToken = token
	return req, b.finish()
}

// callbackFilter reads the object "filter", in which a state is required.
func (b *body) callbackFilter() jobs.CallbackList {
	l := jobs.CallbackList{PageSize: pageCallbacks}
	b.object("filter", func(p *params) {
		if l.State = enum(p, "state", redelivered...); l.State == "" && p.values["state"] == nil {
			p.fault("state", typeRequired, nil, "is required")
		}
		l.OrgID, l.Origin = p.text("orgId", false), p.text("origin", false)
		l.CreatedAfter, _, _ = p.date("createdAfter", false)
		l.CreatedBefore, _, _ = p.date("createdBefore", false)
	})
	return l
}

// opsRedeliverAll begins every ended delivery again that a filter matches, up to
// maxRedeliver a request; a dry run only counts. Those that were begun again may soon match
// again, so the next request must go on behind them: the answer has the token for that.
func (s *Server) opsRedeliverAll(c *gin.Context, caller *apikey.Key) error {
	req, err := readRedeliver(c.Request)
	if err != nil {
		return err
	}
	matched, done, complete := 0, 0, false
	until := s.now().Add(redeliverFor)
	for !complete && (req.dryRun && matched < dryRunJobs || !req.dryRun && matched < maxRedeliver && s.now().Before(until)) {
		page, next, err := s.operations.ListCallbacks(c.Request.Context(), req.list)
		if errors.Is(err, jobs.ErrInvalid) {
			return &invalidError{[]fault{badPageToken(req.list.PageToken)}}
		}
		if err != nil {
			return err
		}
		matched += len(page)
		for _, cb := range page {
			if req.dryRun {
				continue
			}
			switch _, err := s.redeliver(c, caller, cb.ID, req.reason); {
			case err == nil:
				done++
			case errors.Is(err, jobs.ErrInvalid), errors.Is(err, jobs.ErrUnknownSchema): // damaged, or another version's
			case !errors.Is(err, jobs.ErrTransition) && !errors.Is(err, jobs.ErrNotFound): // both: somebody was faster
				return err
			}
		}
		req.list.PageToken, complete = next, next == ""
	}
	writeJSON(c, http.StatusOK, map[string]any{"dryRun": req.dryRun, "matched": matched, "redelivered": done, "complete": complete, "nextPageToken": textOrNil(req.list.PageToken)})
	return nil
}

// receiverView is a destination to which nothing is sent at present.
type receiverView struct {
	OrgID       string    `json:"orgId"`
	Origin      string    `json:"origin"`
	Address     string    `json:"address"` // the origin, or the URL that answered 410, without its query
	SuspendedAt time.Time `json:"suspendedAt"`
	Exhausted   int       `json:"exhausted"`
	Why         string    `json:"why"`
}

// opsReceivers lists suspended receivers.
func (s *Server) opsReceivers(c *gin.Context, _ *apikey.Key) error {
	if err := noParams(c.Request); err != nil {
		return err
	}
	receivers, err := s.operations.SuspendedReceivers(c.Request.Context())
	if err != nil {
		return err
	}
	views := make([]receiverView, len(receivers))
	for i, r := range receivers {
		address := r.Address
		if address != r.Origin {
			address = withoutQuery(address)
		}
		views[i] = receiverView{r.OrgID, r.Origin, address, r.SuspendedAt.UTC(), r.Exhausted, r.Why}
	}
	writeJSON(c, http.StatusOK, map[string]any{"receivers": views})
	return nil
}

// opsResumeReceiver lets callbacks go to an origin again, and begins those again that ended
// because of its suspension.
func (s *Server) opsResumeReceiver(c *gin.Context, caller *apikey.Key) error {
	b, err := readBody(c.Request)
	if err != nil {
		return err
	}
	reason, org, origin := b.reason(true), b.text("orgId", true), b.text("origin", true)
	if scheme, host, ok := strings.Cut(origin, "://"); origin != "" && (!ok || scheme == "" || host == "" || strings.ContainsAny(host, "/?#")) {
		b.fault("origin", typeURI, map[string]any{"value": origin}, "must be scheme, host and port, as a receiver's origin is listed")
	}
	if err := b.finish(); err != nil {
		return err
	}
	resumed, err := s.operations.UnsuspendReceiver(c.Request.Context(), org, origin, actor(caller), reason)
	if err != nil {
		return err
	}
	writeJSON(c, http.StatusOK, map[string]any{"orgId": org, "origin": origin, "resumed": resumed})
	return nil
}
