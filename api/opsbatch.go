package api

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/gin-gonic/gin"
	"golang.org/x/sync/errgroup"

	"exportd/internal/apikey"
	"exportd/internal/dataset"
	"exportd/jobs"
)

const (
	// defaultRate and maxRate are reruns a second: a batch must not flood the workers.
	defaultRate = 5
	maxRate     = 100
	// dryRunJobs bounds what a dry run looks at.
	dryRunJobs = 20_000
	// dryRunFiles bounds it where each is looked for in storage, filesAtOnce at a time of some 30 ms each.
	dryRunFiles = 2000
	filesAtOnce = 8
)

// batchRequest is a rerun of all that a filter matches.
type batchRequest struct {
	jobs.BatchRequest
	dryRun bool
}

func readBatch(r *http.Request, datasets dataset.Set) (batchRequest, error) {
	b, err := readBody(r)
	if err != nil {
		return batchRequest{}, err
	}
	req := batchRequest{BatchRequest: jobs.BatchRequest{Reason: b.reason(true), Mode: enum(&b.params, "mode", jobs.RerunResume, jobs.RerunFresh)}}
	req.MaxPerSecond = b.integer("maxPerSecond", 1, maxRate, defaultRate)
	req.dryRun = b.boolean("dryRun")
	given := req.Mode != ""
	if !given {
		req.Mode = jobs.RerunResume
	}
	req.Filter = b.filter(datasets)
	if req.Filter.FileLost && !given {
		req.Mode = jobs.RerunFresh
	}
	if req.Filter.FileLost && req.Mode != jobs.RerunFresh {
		b.fault("mode", typeOnly, map[string]any{"value": req.Mode, "valids": []string{string(jobs.RerunFresh)}}, "must be [fresh] with fileLost")
	}
	return req, b.finish()
}

// filter reads the object "filter". It is required, though it may be empty: whoever means
// all jobs has to say so.
func (b *body) filter(datasets dataset.Set) (f jobs.BatchFilter) {
	b.object("filter", func(p *params) {
		f = jobs.BatchFilter{
			State: enum(p, "state", jobs.States...), Kind: jobs.Kind(enum(p, "kind", datasets.Names()...)),
			OrgID: p.text("orgId", false), WorkspaceID: p.text("workspaceId", false), ErrorCode: enum(p, "errorCode", jobs.Codes...),
		}
		if f.FileLost = p.boolean("fileLost"); f.FileLost && f.State != "" && f.State != jobs.Succeeded {
			p.fault("state", typeOnly, map[string]any{"value": f.State, "valids": []string{string(jobs.Succeeded)}}, "must be [succeeded] with fileLost")
		}
		f.CreatedAfter, _, _ = p.date("createdAfter", false)
		f.CreatedBefore, _, _ = p.date("createdBefore", false)
	})
	return f
}

// opsRerunAll runs every job again that a filter matches; a dry run only says which.
func (s *Server) opsRerunAll(c *gin.Context, caller *apikey.Key) error {
	req, err := readBatch(c.Request, s.datasets)
	if err != nil {
		return err
	}
	if req.dryRun {
		return s.dryRun(c, req)
	}
	req.Actor = actor(caller)
	ctx, done := begin(c)
	defer done()
	b, err := s.operations.CreateBatch(ctx, req.BatchRequest)
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

// filesOf says of which jobs storage has the file, where the filter asks for that.
func (s *Server) filesOf(ctx context.Context, req batchRequest, page []*jobs.Job) ([]bool, error) {
	there := make([]bool, len(page))
	if !req.Filter.FileLost {
		return there, nil
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(filesAtOnce)
	for i, j := range page {
		if s.refusal(j, req.Mode) != "" {
			continue
		}
		g.Go(func() (err error) {
			there[i], err = s.objects.Holds(ctx, j.Result.Object, j.Result.Size, j.Result.CRC32C)
			if errors.Is(err, jobs.ErrNoBucket) {
				return nil
			}
			return err
		})
	}
	return there, g.Wait()
}

// refusal is why a job is not run again, "" if it is.
func (s *Server) refusal(j *jobs.Job, mode jobs.RerunMode) string {
	if refused, ok := errors.AsType[*jobs.RerunError](j.Rerunnable(mode, s.jobs.Policy(), s.now())); ok {
		return string(refused.Reason)
	}
	return ""
}

func (s *Server) dryRun(c *gin.Context, req batchRequest) error {
	matched, eligible, complete := 0, 0, false
	why := map[string]*reasonCount{}
	bound := dryRunJobs
	if req.Filter.FileLost {
		bound = dryRunFiles
	}
	for token := ""; matched < bound; {
		page, err := s.jobs.List(c.Request.Context(), req.Filter.List(token, 100))
		if err != nil {
			return err
		}
		there, err := s.filesOf(c.Request.Context(), req, page.Jobs)
		if err != nil {
			return err
		}
		for i, j := range page.Jobs {
			matched++
			reason := s.refusal(j, req.Mode)
			if reason == "" && there[i] {
				reason = string(jobs.RefusedHasFile)
			}
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
		BatchID: b.ID, State: "running", Filter: b.Filter, Mode: cmp.Or(b.Mode, jobs.RerunResume), Reason: b.Reason, Actor: b.Actor, MaxPerSecond: b.MaxPerSecond,
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
