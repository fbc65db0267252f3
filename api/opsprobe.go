package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"exportd/internal/apikey"
	"exportd/internal/vip"
	"exportd/jobs"
)

// opsProbeCause looks whether a cause is mended, and keeps what it found.
func (s *Server) opsProbeCause(c *gin.Context, caller *apikey.Key) error {
	reason, err := readReason(c.Request)
	if err != nil {
		return err
	}
	ctx := c.Request.Context()
	n, err := s.operations.Cause(ctx, c.Param("causeId"))
	if err != nil {
		return err
	}
	cases, err := s.operations.CauseCases(ctx, s.allCases(n.ID()))
	if err != nil {
		return err
	}
	if err := s.operations.Record(ctx, jobs.NewAudit(s.now(), actor(caller), jobs.AuditProbeCause, n.ID(), "", reason, 1)); err != nil {
		return err
	}
	p := jobs.Probe{Verdict: jobs.ProbeUnknown, Says: "no case is left to try it with"}
	if len(cases.Latest) > 0 {
		if p, err = s.probe(c, n, cases.Latest[0].JobID); err != nil {
			return err
		}
	}
	p.At = s.now().UTC().Truncate(time.Microsecond)
	if err := s.operations.NoteProbe(ctx, n.ID(), p); err != nil {
		return err
	}
	n.Probe = &p
	writeJSON(c, http.StatusOK, map[string]any{"cause": causeViewOf(n, cases, false)})
	return nil
}

// probe tries what failed, as far as that changes nothing, with the latest case.
func (s *Server) probe(c *gin.Context, n *jobs.CauseNote, jobID string) (jobs.Probe, error) {
	j, err := s.find(c.Request.Context(), jobID)
	if errors.Is(err, jobs.ErrNotFound) {
		return jobs.Probe{Verdict: jobs.ProbeUnknown, Says: "the latest case is gone"}, nil
	}
	if err != nil {
		return jobs.Probe{}, err
	}
	switch n.Code {
	case jobs.CauseExhausted, jobs.CauseGone, jobs.CauseSuspended, jobs.CauseBlocked:
		return s.probeReceiver(c, j)
	case jobs.CodeMissingIndex, jobs.CodeSourceDenied:
		return s.probeSource(c.Request.Context(), n, j)
	case jobs.CodeBucketMissing:
		return s.probeBucket(c.Request.Context(), j)
	}
	return jobs.Probe{Verdict: jobs.ProbeUnknown, Says: "only a run can tell: a rerun of the cause begins with one job"}, nil
}

// probeReceiver sends a signed test event, as a caller's own test does, and by the same bounds.
func (s *Server) probeReceiver(c *gin.Context, j *jobs.Job) (p jobs.Probe, err error) {
	if j.CallbackURL == "" {
		return jobs.Probe{Verdict: jobs.ProbeUnknown, Says: "the latest case has no callbackUrl any more"}, nil
	}
	d, err := s.pingDelivery(c, j)
	if refused, ok := errors.AsType[*problem](err); ok {
		return jobs.Probe{Verdict: jobs.ProbeNotFixed, Says: refused.message}, nil
	}
	if err != nil {
		return p, err
	}
	a, err := s.sendPing(c, j, d)
	if err != nil {
		return p, err
	}
	switch {
	case a.Delivered():
		return jobs.Probe{Verdict: jobs.ProbeFixed, Says: fmt.Sprintf("the receiver answered a signed test with %d", a.Status)}, nil
	case a.Status != 0:
		return jobs.Probe{Verdict: jobs.ProbeNotFixed, Says: fmt.Sprintf("the receiver answered a signed test with %d", a.Status)}, nil
	}
	return jobs.Probe{Verdict: jobs.ProbeNotFixed, Says: "a signed test did not get through: " + string(a.Class)}, nil
}

// probeSource reads a row of what the job exports, and counts them, as an export begins.
func (s *Server) probeSource(ctx context.Context, n *jobs.CauseNote, j *jobs.Job) (p jobs.Probe, err error) {
	d := s.datasets.Get(string(j.Kind))
	if d == nil {
		return jobs.Probe{Verdict: jobs.ProbeUnknown, Says: "this API has no dataset " + string(j.Kind)}, nil
	}
	q := d.Query(j.OrgID, j.Params)
	rows := s.encoders[d].Get()
	defer s.encoders[d].Put(rows)
	if _, err = s.records.Page(ctx, q, nil, 0, 1, largePage, rows); err == nil {
		_, _, err = s.records.Count(ctx, q, vip.Range{}, time.Time{})
	}
	f, failed := errors.AsType[*jobs.Failure](err)
	switch {
	case failed && f.Code == n.Code:
		return jobs.Probe{Verdict: jobs.ProbeNotFixed, Says: f.Message + ": " + f.What}, nil
	case failed:
		return jobs.Probe{Verdict: jobs.ProbeNotFixed, Says: "the query fails otherwise: " + f.Message}, nil
	case err != nil:
		return p, err
	case n.Code == jobs.CodeSourceDenied:
		return jobs.Probe{Verdict: jobs.ProbeFixed, Says: "the API may read it; that workers may, a rerun shows by its first job"}, nil
	}
	return jobs.Probe{Verdict: jobs.ProbeFixed, Says: "the query of the latest case has its index"}, nil
}

// probeBucket looks for the job's result, which is not there: what matters is that there is a bucket.
func (s *Server) probeBucket(ctx context.Context, j *jobs.Job) (jobs.Probe, error) {
	switch _, err := s.objects.Holds(ctx, j.ObjectPrefix()+"probe", 0, 0); {
	case errors.Is(err, jobs.ErrNoBucket):
		return jobs.Probe{Verdict: jobs.ProbeNotFixed, Says: "there is still no bucket"}, nil
	case err != nil:
		return jobs.Probe{}, err
	}
	return jobs.Probe{Verdict: jobs.ProbeFixed, Says: "the bucket is there"}, nil
}
