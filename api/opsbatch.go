package api

import (
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/gin-gonic/gin"

	"exportd/internal/apikey"
	"exportd/jobs"
)

const (
	// defaultRate and maxRate are reruns a second: a batch must not flood the workers.
	defaultRate = 5
	maxRate     = 100
	// dryRunJobs bounds what a dry run looks at.
	dryRunJobs = 20_000
)

// batchRequest is a rerun of all that a filter matches.
type batchRequest struct {
	jobs.Batch
	dryRun bool
}

func readBatch(r *http.Request) (batchRequest, error) {
	b, err := readBody(r)
	if err != nil {
		return batchRequest{}, err
	}
	req := batchRequest{Batch: jobs.Batch{Reason: b.reason(true), Mode: enum(&b.params, "mode", jobs.Resume, jobs.Fresh)}}
	req.MaxPerSecond = b.integer("maxPerSecond", 1, maxRate, defaultRate)
	req.dryRun = b.boolean("dryRun")
	if req.Mode == "" {
		req.Mode = jobs.Resume
	}
	req.Filter = b.filter()
	return req, b.finish()
}

// filter reads the object "filter". It is required, though it may be empty: whoever means
// all jobs has to say so.
func (b *body) filter() (f jobs.BatchFilter) {
	b.object("filter", func(p *params) {
		f = jobs.BatchFilter{
			State: enum(p, "state", jobs.States...), Kind: enum(p, "kind", jobs.KindUsers, jobs.KindMessages),
			OrgID: p.text("orgId", false), WorkspaceID: p.text("workspaceId", false), ErrorCode: enum(p, "errorCode", jobs.Codes...),
		}
		f.CreatedAfter, _, _ = p.date("createdAfter", false)
		f.CreatedBefore, _, _ = p.date("createdBefore", false)
	})
	return f
}

// opsRerunAll runs every job again that a filter matches; a dry run only says which.
func (s *Server) opsRerunAll(c *gin.Context, caller *apikey.Key) error {
	req, err := readBatch(c.Request)
	if err != nil {
		return err
	}
	if req.dryRun {
		return s.dryRun(c, req.Filter)
	}
	req.Actor = actor(caller)
	b, err := s.operations.CreateBatch(c.Request.Context(), req.Batch)
	if err != nil {
		return err
	}
	c.Header("Location", "/ops/batches/"+b.ID)
	writeJSON(c, http.StatusAccepted, batchViewOf(b, 0))
	return nil
}

// reasonCount says why how many jobs are not eligible, with some of them.
type reasonCount struct {
	Reason string   `json:"reason"`
	Count  int      `json:"count"`
	JobIDs []string `json:"jobIds,omitempty"`
}

func (s *Server) dryRun(c *gin.Context, f jobs.BatchFilter) error {
	matched, eligible, complete := 0, 0, false
	why := map[string]*reasonCount{}
	for token := ""; matched < dryRunJobs; {
		page, err := s.jobs.List(c.Request.Context(), f.List(token, 100))
		if err != nil {
			return err
		}
		for _, j := range page.Jobs {
			matched++
			reason := jobs.Ineligible(j)
			if reason == "" {
				eligible++
				continue
			}
			if why[reason] == nil {
				why[reason] = &reasonCount{Reason: reason}
			}
			why[reason].Count++
			if len(why[reason].JobIDs) < 10 {
				why[reason].JobIDs = append(why[reason].JobIDs, j.ID)
			}
		}
		if token = page.Next; token == "" {
			complete = true
			break
		}
	}
	reasons := make([]*reasonCount, 0, len(why))
	for _, reason := range slices.Sorted(maps.Keys(why)) {
		reasons = append(reasons, why[reason])
	}
	writeJSON(c, http.StatusOK, map[string]any{"dryRun": true, "matched": matched, "eligible": eligible, "notEligible": reasons, "complete": complete})
	return nil
}

// batchView is a batch as operators see it.
type batchView struct {
	BatchID      string           `json:"batchId"`
	State        string           `json:"state"` // running or finished
	Filter       jobs.BatchFilter `json:"filter"`
	Mode         jobs.RerunMode   `json:"mode"`
	Reason       string           `json:"reason"`
	Actor        string           `json:"actor"`
	MaxPerSecond int              `json:"maxPerSecond"`
	CreatedAt    time.Time        `json:"createdAt"`
	FinishedAt   *time.Time       `json:"finishedAt"`
	Rerun        int64            `json:"rerun"`
	NotEligible  []reasonCount    `json:"notEligible"`
	StatusURL    string           `json:"statusUrl"`
}

func batchViewOf(b *jobs.Batch, rerun int64) batchView {
	v := batchView{
		BatchID: b.ID, State: "running", Filter: b.Filter, Mode: b.Mode, Reason: b.Reason, Actor: b.Actor, MaxPerSecond: b.MaxPerSecond,
		CreatedAt: b.CreatedAt.UTC(), FinishedAt: timeOrNil(b.FinishedAt), Rerun: rerun, NotEligible: []reasonCount{}, StatusURL: "/ops/batches/" + b.ID,
	}
	if v.FinishedAt != nil {
		v.State = "finished"
	}
	for _, reason := range slices.Sorted(maps.Keys(b.Skipped)) {
		v.NotEligible = append(v.NotEligible, reasonCount{Reason: reason, Count: b.Skipped[reason]})
	}
	return v
}

// opsBatch shows how far a batch is.
func (s *Server) opsBatch(c *gin.Context, _ *apikey.Key) error {
	if err := noParams(c.Request); err != nil {
		return err
	}
	b, rerun, err := s.operations.Batch(c.Request.Context(), c.Param("batchId"))
	if err != nil {
		return err
	}
	writeJSON(c, http.StatusOK, batchViewOf(b, rerun))
	return nil
}

// opsBatches lists the latest batches.
func (s *Server) opsBatches(c *gin.Context, _ *apikey.Key) error {
	if err := noParams(c.Request); err != nil {
		return err
	}
	batches, err := s.operations.Batches(c.Request.Context(), 50)
	if err != nil {
		return err
	}
	views := make([]batchView, len(batches))
	for i, b := range batches {
		_, rerun, err := s.operations.Batch(c.Request.Context(), b.ID)
		if err != nil {
			return err
		}
		views[i] = batchViewOf(b, rerun)
	}
	writeJSON(c, http.StatusOK, map[string]any{"batches": views})
	return nil
}
