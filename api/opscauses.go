package api

import (
	"cmp"
	"context"
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
	// pageCauses and maxPageCauses are causes of a page: each takes a query of up to 21 documents and, where
	// it has more cases, a count.
	pageCauses    = 50
	maxPageCauses = 100
	// causesAtOnce bounds the queries under way for a page, of some 20 ms each.
	causesAtOnce = 16
	// causeOrgs is how many orgs are named.
	causeOrgs = 10
	// causesFor is the window where none is given.
	causesFor = 24 * time.Hour
)

// cause reads the id of a cause of jobs; "" if it is missing.
func (p *params) cause(name string) string {
	id := p.text(name, false)
	if code := jobs.CauseCode(id); id != "" && (code == "" || jobs.CallbackCauses[code] != "") {
		p.fault(name, typeOnly, map[string]any{"value": id}, "must be the causeId of a cause that jobs failed by")
		return ""
	}
	return id
}

// causesRequest is what GET /ops/causes asks for.
type causesRequest struct {
	jobs.CauseQuery
	size  int
	token string
}

func (p *params) causes(datasets dataset.Set, now time.Time) causesRequest {
	r := causesRequest{CauseQuery: jobs.CauseQuery{OrgID: p.text("orgId", false), Kind: jobs.Kind(enum(p, "kind", datasets.Names()...))}}
	until, given := p.moment("until", now)
	if !given {
		until = now.Add(jobs.RollupSlot) // clocks of workers may be ahead
	}
	since, given := p.moment("since", now)
	if !given {
		since = until.Add(-causesFor)
	}
	if len(p.faults) == 0 && !since.Before(until) {
		p.fault("until", typeGreater, map[string]any{"value": p.values.Get("until"), "limit": "since"}, `must be greater than "since"`)
	}
	r.From, r.To = since, until
	r.size, r.token = p.integer("pageSize", 1, maxPageCauses, pageCauses), p.pageToken()
	return r
}

// causeView is a cause as operators see it.
type causeView struct {
	CauseID string    `json:"causeId"`
	Code    jobs.Code `json:"code"`
	What    string    `json:"what"`
	Of      string    `json:"of"` // what its cases are: jobs or callbacks
	Message string    `json:"message"`
	Remedy  *string   `json:"remedy"`
	Link    *string   `json:"link"`
	// State is open while there are cases, fixed where a look has found it mended and there still are, done
	// where none is left.
	State        string     `json:"state"`
	Count        int64      `json:"count"`
	FirstAt      time.Time  `json:"firstAt"`
	LastAt       time.Time  `json:"lastAt"`
	Orgs         []string   `json:"orgs"`
	OrgsComplete bool       `json:"orgsComplete"`
	ExampleJobID *string    `json:"exampleJobId"`
	ExamplePart  *int       `json:"examplePart"` // as failedPart of that job
	Probe        *probeView `json:"probe"`
}

type probeView struct {
	At      time.Time         `json:"at"`
	Verdict jobs.ProbeVerdict `json:"verdict"`
	Says    string            `json:"says"`
}

// causeViewOf shows a cause with its cases in a window; left says that there are others.
func causeViewOf(n *jobs.CauseNote, cases jobs.CauseCases, left bool) causeView {
	v := causeView{
		CauseID: n.ID(), Code: n.Code, What: n.What, Of: "jobs", Message: n.Message, Remedy: textOrNil(n.Remedy), Link: textOrNil(n.Link()), State: "open",
		Count: cases.Count, FirstAt: n.FirstAt.UTC(), LastAt: n.LastAt.UTC(), Orgs: []string{}, OrgsComplete: cases.Count <= int64(len(cases.Latest)),
	}
	if jobs.CallbackCauses[n.Code] != "" {
		v.Of = "callbacks"
	}
	for _, c := range cases.Latest {
		if !slices.Contains(v.Orgs, c.OrgID) && c.OrgID != "" {
			v.Orgs = append(v.Orgs, c.OrgID)
		}
	}
	if len(v.Orgs) > causeOrgs {
		v.Orgs, v.OrgsComplete = v.Orgs[:causeOrgs], false
	}
	if len(cases.Latest) > 0 {
		v.ExampleJobID, v.ExamplePart = textOrNil(cases.Latest[0].JobID), cases.Latest[0].Part
		if v.Of == "jobs" { // it is noted only now and then
			v.LastAt = later(v.LastAt, cases.Latest[0].At.UTC())
		}
	}
	if p := n.Probe; p != nil {
		v.Probe = &probeView{p.At.UTC(), p.Verdict, p.Says}
	}
	switch {
	case cases.Count == 0 && !left:
		v.State = "done"
	case n.Fixed() && n.Probe.At.After(v.LastAt):
		v.State = "fixed"
	}
	return v
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// opsCauses lists why jobs failed and callbacks were given up in a window, those latest met first.
func (s *Server) opsCauses(c *gin.Context, _ *apikey.Key) error {
	p, err := readQuery(c.Request)
	if err != nil {
		return err
	}
	req := p.causes(s.datasets, s.now())
	if err := p.finish(); err != nil {
		return err
	}
	ctx := c.Request.Context()
	// By each process a cause is noted once in a while: one that is met again was noted within that.
	notes, next, err := s.operations.Causes(ctx, req.From.Add(-jobs.CauseAgain), req.size, req.token)
	if err != nil {
		return pageError(err, req.token)
	}
	cases, err := s.casesOf(ctx, notes, req.CauseQuery)
	if err != nil {
		return err
	}
	// One that has no case there is told of where it was met in the window, by anybody: that it is done is
	// news, too. It is not where there are cases before the window or after it.
	var empty []*jobs.CauseNote
	var places []int // in views, of these
	views := make([]causeView, 0, len(notes))
	for i, n := range notes {
		met := !n.LastAt.Before(req.From) && n.FirstAt.Before(req.To)
		if cases[i].Count == 0 && (!met || req.OrgID != "" || req.Kind != "") {
			continue
		}
		if cases[i].Count == 0 {
			empty, places = append(empty, n), append(places, len(views))
		}
		views = append(views, causeViewOf(n, cases[i], false))
	}
	ever, err := s.casesOf(ctx, empty, s.allCases(""))
	if err != nil {
		return err
	}
	for i, n := range empty {
		if ever[i].Count > 0 {
			views[places[i]] = causeViewOf(n, jobs.CauseCases{}, true)
		}
	}
	writeJSON(c, http.StatusOK, map[string]any{"causes": views, "nextPageToken": textOrNil(next), "since": req.From.UTC(), "until": req.To.UTC()})
	return nil
}

// casesOf counts the cases of causes.
func (s *Server) casesOf(ctx context.Context, notes []*jobs.CauseNote, q jobs.CauseQuery) ([]jobs.CauseCases, error) {
	cases := make([]jobs.CauseCases, len(notes))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(causesAtOnce)
	for i, n := range notes {
		q := q
		q.ID = n.ID()
		g.Go(panics.Task(func() (err error) {
			cases[i], err = s.operations.CauseCases(ctx, q)
			return err
		}))
	}
	return cases, g.Wait()
}

// allCases asks for the cases of a cause from all times.
func (s *Server) allCases(id string) jobs.CauseQuery {
	return jobs.CauseQuery{ID: id, From: time.Unix(0, 0), To: s.now().Add(jobs.RollupSlot)}
}

// opsCause shows a cause with its latest cases and the batches that ran them again.
func (s *Server) opsCause(c *gin.Context, _ *apikey.Key) error {
	if err := noParams(c.Request); err != nil {
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
	batches, err := s.operations.Batches(ctx, batchesShown+1) // one more says whether there are older ones
	if err != nil {
		return err
	}
	complete := len(batches) <= batchesShown
	batches = batches[:min(len(batches), batchesShown)]
	views, err := s.batchViews(ctx, slices.DeleteFunc(slices.Clone(batches), func(b *jobs.Batch) bool { return b.Cause() != n.ID() }))
	if err != nil {
		return err
	}
	type caseView struct {
		JobID string    `json:"jobId"`
		OrgID string    `json:"orgId"`
		At    time.Time `json:"at"`
		Part  *int      `json:"part"`
	}
	latest := make([]caseView, len(cases.Latest))
	for i, one := range cases.Latest {
		latest[i] = caseView{one.JobID, one.OrgID, one.At.UTC(), one.Part}
	}
	writeJSON(c, http.StatusOK, map[string]any{"cause": causeViewOf(n, cases, false), "latest": latest, "batches": views, "batchesComplete": complete})
	return nil
}

// opsRerunCause begins again what a cause has ended, jobs or callbacks, by a batch that is a canary.
func (s *Server) opsRerunCause(c *gin.Context, caller *apikey.Key) error {
	b, err := readBody(c.Request)
	if err != nil {
		return err
	}
	req := batchRequest{BatchRequest: jobs.BatchRequest{Reason: b.reason(true), Mode: enum(&b.params, "mode", jobs.RerunResume, jobs.RerunFresh), Actor: actor(caller), Canary: true}}
	req.MaxPerSecond = b.integer("maxPerSecond", 1, maxRate, defaultRate)
	b.dryRunOf(&req)
	orgID, kind := b.text("orgId", false), jobs.Kind(enum(&b.params, "kind", s.datasets.Names()...))
	state := jobs.CallbackCauses[jobs.CauseCode(c.Param("causeId"))]
	for _, given := range [][2]string{{"mode", string(req.Mode)}, {"kind", string(kind)}} {
		if state != "" && given[1] != "" { // whoever gives a kind means fewer than would be sent
			b.fault(given[0], typeOnly, map[string]any{"value": given[1]}, "is for causes of jobs alone")
		}
	}
	if err := b.finish(); err != nil {
		return err
	}
	ctx, done := begin(c)
	defer done()
	n, err := s.operations.Cause(ctx, c.Param("causeId"))
	if err != nil {
		return err
	}
	if state != "" {
		req.Callbacks = &jobs.CallbackFilter{State: state, Cause: n.ID(), OrgID: orgID}
		if req.dryRun {
			return s.dryRunCallbacks(c, req)
		}
		return s.startBatch(c, req)
	}
	req.Mode = cmp.Or(req.Mode, jobs.RerunResume)
	req.Filter = jobs.BatchFilter{State: jobs.Failed, ErrorCode: n.Code, Cause: n.ID(), OrgID: orgID, Kind: kind}
	if req.dryRun {
		return s.dryRun(c, req)
	}
	return s.startBatch(c, req)
}
