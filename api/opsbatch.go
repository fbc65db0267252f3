package api

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/gin-gonic/gin"
	"golang.org/x/sync/errgroup"

	"exportd/internal/apikey"
	"exportd/internal/dataset"
	"exportd/internal/panics"
	"exportd/jobs"
)

const (
	// defaultRate and maxRate are reruns a second: a batch must not flood the workers.
	defaultRate = 5
	maxRate     = 100
	// dryRunJobs bounds what a dry run looks at.
	dryRunJobs = 20_000
	// dryRunSearched bounds it by pages where jobs are searched, at up to a fifth of a second each.
	dryRunSearched = 50
	// dryRunFiles bounds it where each is looked for in storage, filesAtOnce at a time of some 30 ms each.
	dryRunFiles = 2000
	filesAtOnce = 8
)

// batchRequest is a rerun of all that a filter matches.
type batchRequest struct {
	jobs.BatchRequest
	dryRun  bool
	maxJobs int // that a dry run looks at
}

func readBatch(r *http.Request, datasets dataset.Set, now time.Time) (batchRequest, error) {
	b, err := readBody(r)
	if err != nil {
		return batchRequest{}, err
	}
	req := batchRequest{BatchRequest: jobs.BatchRequest{Reason: b.reason(true), Mode: enum(&b.params, "mode", jobs.RerunResume, jobs.RerunFresh)}}
	req.MaxPerSecond = b.integer("maxPerSecond", 1, maxRate, defaultRate)
	req.Canary = b.boolean("canary")
	b.dryRunOf(&req)
	given := req.Mode != ""
	if !given {
		req.Mode = jobs.RerunResume
	}
	if req.JobIDs = b.ids("jobIds"); req.JobIDs == nil {
		req.Filter = b.filter(datasets, now)
	} else if b.allowed = append(b.allowed, "filter"); b.values["filter"] != nil {
		b.fault("filter", typeOnly, map[string]any{"value": "filter"}, "is not allowed with jobIds")
	}
	if req.Filter.FileLost && !given {
		req.Mode = jobs.RerunFresh
	}
	if req.Filter.FileLost && req.Mode != jobs.RerunFresh {
		b.fault("mode", typeOnly, map[string]any{"value": req.Mode, "valids": []string{string(jobs.RerunFresh)}}, "must be [fresh] with fileLost")
	}
	return req, b.finish()
}

// dryRunOf reads whether a dry run is asked for, and of how many jobs.
func (b *body) dryRunOf(req *batchRequest) {
	req.dryRun, req.maxJobs = b.boolean("dryRun"), b.integer("maxJobs", 1, dryRunJobs, dryRunJobs)
	if b.values["maxJobs"] != nil && !req.dryRun { // whoever means that no more are run again must not get all
		b.fault("maxJobs", typeOnly, map[string]any{"value": b.values.Get("maxJobs")}, "is allowed with dryRun alone")
	}
}

// filter reads the object "filter". It is required, though it may be empty: whoever means all jobs has to say
// so.
func (b *body) filter(datasets dataset.Set, now time.Time) (f jobs.BatchFilter) {
	b.object("filter", func(p *params) {
		f = p.jobFilter(datasets, now, fileLost)
		if f.Cause != "" && f.ErrorCode != "" && f.ErrorCode != jobs.CauseCode(f.Cause) {
			p.fault("errorCode", typeOnly, map[string]any{"value": f.ErrorCode, "valids": []string{string(jobs.CauseCode(f.Cause))}}, "must be that of the cause, [%s]", jobs.CauseCode(f.Cause))
		} else if f.Cause != "" {
			f.ErrorCode = jobs.CauseCode(f.Cause)
		}
		if f.FileLost && f.State != "" && f.State != jobs.Succeeded {
			p.fault("state", typeOnly, map[string]any{"value": f.State, "valids": []string{string(jobs.Succeeded)}}, "must be [succeeded] with fileLost")
		}
	})
	return f
}

// ids reads a list of jobs' ids; nil if there is none.
func (b *body) ids(name string) (ids []string) {
	b.allowed = append(b.allowed, name)
	raw := b.fields[name]
	if b.values[name] == nil { // or null
		return nil
	}
	bad := json.Unmarshal(raw, &ids) != nil || len(ids) == 0 || slices.ContainsFunc(ids, func(id string) bool { return !jobs.ValidID(id) })
	switch {
	case bad:
		b.fault(name, typeOnly, map[string]any{"value": shorten(string(raw))}, "must be a list of job ids")
	case len(ids) > jobs.MaxBatchIDs:
		b.fault(name, typeMax, map[string]any{"value": shorten(string(raw)), "limit": jobs.MaxBatchIDs}, "must contain less than or equal to %d items", jobs.MaxBatchIDs)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// opsRerunAll runs every job again that a filter matches; a dry run only says which.
func (s *Server) opsRerunAll(c *gin.Context, caller *apikey.Key) error {
	req, err := readBatch(c.Request, s.datasets, s.now())
	if err != nil {
		return err
	}
	if req.dryRun {
		return s.dryRun(c, req)
	}
	req.Actor = actor(caller)
	return s.startBatch(c, req)
}

// startBatch makes the batch that was asked for.
func (s *Server) startBatch(c *gin.Context, req batchRequest) error {
	ctx, done := begin(c)
	defer done()
	b, err := s.operations.CreateBatch(ctx, req.BatchRequest)
	if err != nil {
		return err
	}
	c.Header("Location", "/ops/batches/"+b.ID)
	writeJSON(c, http.StatusAccepted, batchViewOf(b, batchProgress{}))
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
		g.Go(panics.Task(func() (err error) {
			there[i], err = s.objects.Holds(ctx, j.Result.Object, j.Result.Size, j.Result.CRC32C)
			if errors.Is(err, jobs.ErrNoBucket) {
				return nil
			}
			return err
		}))
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

// batchPage is a page of what a batch would touch; gone are those of a list that are not there.
func (s *Server) batchPage(ctx context.Context, req batchRequest, token string) (page jobs.JobPage, gone []string, err error) {
	if len(req.JobIDs) == 0 {
		page, err = s.jobs.List(ctx, req.Filter.List(token, 100))
		return page, nil, err
	}
	list := jobs.Batch{JobIDs: req.JobIDs, Cursor: token}
	ids, next := list.Next(100)
	page.Next = next
	found := make([]*jobs.Job, len(ids))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(filesAtOnce)
	for i, id := range ids {
		g.Go(panics.Task(func() (err error) {
			if found[i], err = s.jobs.Get(ctx, id); errors.Is(err, jobs.ErrNotFound) {
				return nil
			}
			return err
		}))
	}
	if err := g.Wait(); err != nil {
		return page, nil, err
	}
	for i, j := range found {
		if j == nil {
			gone = append(gone, ids[i])
			continue
		}
		page.Jobs = append(page.Jobs, j)
	}
	return page, gone, nil
}

// dryRunCount is what a dry run has found.
type dryRunCount struct {
	matched, eligible int
	complete          bool
	why               map[string]*reasonCount
}

// add counts a job, or the callback of one, that is eligible unless there is a reason.
func (d *dryRunCount) add(reason, jobID string) {
	if d.matched++; reason == "" {
		d.eligible++
		return
	}
	if d.why == nil {
		d.why = map[string]*reasonCount{}
	}
	n := d.why[reason]
	if n == nil {
		n = &reasonCount{Reason: reason}
		d.why[reason] = n
	}
	if n.Count++; len(n.JobIDs) < 10 {
		n.JobIDs = append(n.JobIDs, jobID)
	}
}

func (d *dryRunCount) write(c *gin.Context) {
	reasons := make([]*reasonCount, 0, len(d.why))
	for _, reason := range slices.Sorted(maps.Keys(d.why)) {
		reasons = append(reasons, d.why[reason])
	}
	writeJSON(c, http.StatusOK, map[string]any{"dryRun": true, "matched": d.matched, "eligible": d.eligible, "notEligible": reasons, "complete": d.complete})
}

// dryRunCallbacks says which callbacks a batch would send again.
func (s *Server) dryRunCallbacks(c *gin.Context, req batchRequest) error {
	batch := jobs.NewBatch(req.BatchRequest, s.now())
	var d dryRunCount
	for token := ""; d.matched < req.maxJobs && !d.complete; {
		page, next, err := s.operations.ListCallbacks(c.Request.Context(), batch.Callbacks.List(token, pageCallbacks))
		if err != nil {
			return err
		}
		for _, cb := range page {
			d.add(string(batch.RefusedCallback(cb, s.jobs.Policy(), s.now())), cb.JobID)
		}
		token, d.complete = next, next == ""
	}
	d.write(c)
	return nil
}

func (s *Server) dryRun(c *gin.Context, req batchRequest) error {
	var d dryRunCount
	bound := req.maxJobs
	if req.Filter.FileLost {
		bound = min(bound, dryRunFiles)
	}
	// Of a search a page may have read 2,000 jobs and found none.
	searched := max(1, dryRunSearched*bound/dryRunJobs)
	for token, pages := "", 0; d.matched < bound && (req.Filter.Search.IsZero() || pages < searched); pages++ {
		page, gone, err := s.batchPage(c.Request.Context(), req, token)
		if err != nil {
			return err
		}
		for _, id := range gone {
			d.add(string(jobs.RefusedPurged), id)
		}
		there, err := s.filesOf(c.Request.Context(), req, page.Jobs)
		if err != nil {
			return err
		}
		for i, j := range page.Jobs {
			reason := s.refusal(j, req.Mode)
			if reason == "" && there[i] {
				reason = string(jobs.RefusedHasFile)
			}
			d.add(reason, j.ID)
		}
		if token = page.Next; token == "" {
			d.complete = true
			break
		}
	}
	d.write(c)
	return nil
}
