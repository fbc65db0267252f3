package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"exportd/internal/apikey"
	"exportd/internal/export"
	"exportd/jobs"
)

// Quoter says what an export would come to. internal/export has it.
type Quoter interface {
	// Cost is of Quote the rows, the parts, and the reads that the export is billed for.
	Cost(ctx context.Context, j *jobs.Job) (export.Quote, error)
	Quote(ctx context.Context, j *jobs.Job) (export.Quote, error)
	// WithoutSortField counts what is not in the file of a job that has succeeded; -1 where that cannot be
	// counted. An error may be records.ErrSnapshotTooOld.
	WithoutSortField(ctx context.Context, j *jobs.Job) (int64, error)
}

const (
	// quotesAtOnce are the quotes under way in a process, each with up to 8 counts at a time. Keys and orgs
	// have a share of them.
	quotesAtOnce = 8
)

// quoteView is the answer to dryRun.
type quoteView struct {
	DryRun           bool        `json:"dryRun"`
	Rows             int64       `json:"rows"`
	CountedAt        time.Time   `json:"countedAt"`
	WithoutSortField *int64      `json:"withoutSortField"` // null where it is not counted
	EstimatedBytes   int64       `json:"estimatedBytes"`
	BytesExact       bool        `json:"bytesExact"`
	EstimatedReads   int64       `json:"estimatedReads"`
	EstimatedParts   int         `json:"estimatedParts"`
	EstimatedFiles   int         `json:"estimatedFiles,omitempty"` // of a zip
	EstimatedSeconds float64     `json:"estimatedSeconds"`
	JobsAhead        int64       `json:"jobsAhead"`
	WaitsForWorker   bool        `json:"waitsForWorker"`
	OpensInExcel     bool        `json:"opensInExcel"`
	EarlierRows      *int64      `json:"earlierRows,omitempty"`
	AttachesTo       *attachee   `json:"attachesTo"`
	Refusals         []errorOne  `json:"refusals"`
	Budget           *budgetView `json:"budget"` // null without one
}

// attachee is the job that the request would get.
type attachee struct {
	JobID     string     `json:"jobId"`
	State     jobs.State `json:"state"`
	StatusURL string     `json:"statusUrl"`
}

// errorOne is what the export would be refused for, or fail by.
type errorOne struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// quote answers an export request with what it would come to. It makes no job.
func (s *Server) quote(c *gin.Context, caller *apikey.Key, submission jobs.Submission, maxAge time.Duration) error {
	ctx := c.Request.Context()
	if s.quotes == nil {
		return errNoQuoter
	}
	leave, why := s.quoting.acquire(caller.OrgID, caller.ID)
	if why != admitted {
		return errQuotes()
	}
	defer leave()
	found, err := s.wouldAttach(ctx, submission, maxAge)
	if err != nil {
		return err
	}
	running, queued, err := s.jobs.Usage(ctx, caller.OrgID)
	if err != nil {
		return err
	}
	fleet, err := s.fleetFor(ctx, caller.OrgID)
	if err != nil {
		return err
	}
	pace, err := s.paceOf(ctx, caller.OrgID, submission.Kind, fleet)
	if err != nil {
		return err
	}
	q, err := s.quotes.Quote(ctx, jobOf(submission))
	if err != nil {
		return err
	}
	v := quoteView{
		DryRun: true, Rows: q.Rows, CountedAt: q.At.UTC(), EstimatedBytes: q.Bytes, BytesExact: q.Exact, EstimatedReads: q.Reads, EstimatedParts: q.Parts,
		WaitsForWorker: fleet.workers == 0, OpensInExcel: q.Rows < export.SheetLines, Refusals: []errorOne{},
	}
	if q.WithoutSortField >= 0 {
		v.WithoutSortField = &q.WithoutSortField
	}
	if q.Files > 1 {
		v.EstimatedFiles = q.Files
	}
	if submission.Base != nil {
		v.EarlierRows, v.BytesExact = &submission.Base.Rows, false // bytes are of all rows
	}
	if found != nil {
		v.AttachesTo = &attachee{found.ID, found.State, statusURL(found.ID)}
	} else {
		v.Refusals = s.refusals(submission, q, queued)
	}
	if err := s.quoteBudget(ctx, &v, submission); err != nil {
		return err
	}
	atOnce := int64(pace.atOnce(s.quotas.Of(caller.OrgID).RunningJobs))
	begins := 0.0
	if atOnce > 0 && running+queued >= atOnce {
		v.JobsAhead = running + queued - atOnce + 1
		before, err := s.aheadOf(ctx, caller.OrgID, running, queued, paces{submission.Kind: pace}, fleet)
		if err != nil {
			return err
		}
		begins = before.begins(int(atOnce))
	}
	v.EstimatedSeconds = twoDigits(begins + pace.wait + pace.run(size{q.Rows, q.Parts}, fleet.slots.Parts))
	writeJSON(c, http.StatusOK, v)
	return nil
}

// jobOf is as much of a submission's job as is counted.
func jobOf(s jobs.Submission) *jobs.Job {
	return &jobs.Job{OrgID: s.OrgID, Kind: s.Kind, Params: s.Params, Columns: s.Columns}
}

// wouldAttach gives the job that the request would get, nil for a new one.
func (s *Server) wouldAttach(ctx context.Context, submission jobs.Submission, maxAge time.Duration) (*jobs.Job, error) {
	found, err := s.jobs.Find(ctx, submission)
	if errors.Is(err, jobs.ErrIdempotencyMismatch) {
		return nil, keyOfAnother(submission)
	}
	if err != nil || found == nil {
		return nil, err
	}
	if found = s.proven(ctx, found); s.outworn(submission, found, maxAge) {
		return nil, nil
	}
	return found, nil
}

// refusals are what the request would be refused for, or its job fail by.
func (s *Server) refusals(sub jobs.Submission, q export.Quote, queued int64) []errorOne {
	list, quotas := []errorOne{}, s.quotas.Of(sub.OrgID)
	if n := quotas.QueuedJobs; n > 0 && queued >= int64(n) {
		list = append(list, errorOne{"QUEUE_FULL", fmt.Sprintf("%d exports of the org are queued, which is its limit", n)})
	}
	if n := quotas.Rows; n > 0 && q.Rows > n {
		list = append(list, errorOne{string(jobs.CodeTooManyRows), fmt.Sprintf("the export has %d rows, at most %d are allowed", q.Rows, n)})
	}
	if f := export.PastSheet(sub.Params, q.Rows); f != nil {
		list = append(list, errorOne{string(f.Code), f.Message})
	}
	if n := quotas.Bytes; n > 0 && q.Bytes > n {
		list = append(list, errorOne{string(jobs.CodeTooManyBytes), fmt.Sprintf("the file would have about %d bytes, at most %d are allowed", q.Bytes, n)})
	}
	return list
}
