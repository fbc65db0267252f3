package console

import (
	"cmp"
	"context"
	"html/template"
	"net/http"
	"net/url"
	"sync"
	"time"

	"exportd/api/client"
)

// causesPage shows why jobs failed and callbacks were given up.
type causesPage struct {
	Since, Org string
	Windows    []choice
	Path       string
	Causes     []client.Cause
	Next       template.URL
}

// causePage shows one cause.
type causePage struct {
	Cause    client.Cause
	Latest   []causeCase
	Batches  []client.Batch
	Complete bool         // whether the batches are all that there are of it
	Jobs     template.URL // query of its cases among jobs or callbacks
}

type causeCase struct {
	JobID, OrgID string
	At           time.Time
	Part         *int // that the job failed in
}

func (c *Console) causes(ctx context.Context, _ *principal, r *http.Request) (view, error) {
	q := r.URL.Query()
	p := causesPage{Since: cmp.Or(q.Get("since"), "12h"), Org: q.Get("orgId"), Windows: windows, Path: home + "/causes"}
	ask := url.Values{"since": {p.Since}}
	for _, name := range []string{"orgId", "kind", "pageToken"} {
		if v := q.Get(name); v != "" {
			ask.Set(name, v)
		}
	}
	answer, err := c.api.OpsListCausesWithResponse(ctx, nil, raw(ask))
	if err != nil {
		return view{}, err
	}
	p.Causes, p.Next = answer.JSON200.Causes, nextPage(ask, answer.JSON200.NextPageToken)
	return view{name: "causes", title: "Causes", data: p}, nil
}

// nextPage is the query of the page after one, "" for none.
func nextPage(ask url.Values, token *string) template.URL {
	if token == nil {
		return ""
	}
	more := cloned(ask)
	more.Set("pageToken", *token)
	return template.URL(more.Encode()) // encoded as a whole
}

func (c *Console) cause(ctx context.Context, _ *principal, r *http.Request) (view, error) {
	id := r.PathValue("id")
	answer, err := c.api.OpsGetCauseWithResponse(ctx, id)
	if err != nil {
		return view{}, err
	}
	p := causePage{Cause: answer.JSON200.Cause, Batches: answer.JSON200.Batches, Complete: answer.JSON200.BatchesComplete, Jobs: template.URL(url.Values{"cause": {id}}.Encode())}
	for _, l := range answer.JSON200.Latest {
		p.Latest = append(p.Latest, causeCase{l.JobID, l.OrgID, l.At, l.Part})
	}
	return view{name: "cause", title: "Cause", data: p}, nil
}

const (
	// causesShown is how many causes the overview has, causesSeen how old what it tells of them may be: each
	// is counted when it is listed, and an open overview looks every 10 s.
	causesShown, causesSeen = "8", time.Minute
	// maxRecent bounds the windows that are remembered; more are forgotten all at once.
	maxRecent = 64
)

// recent has all overviews share what was read of causes.
type recent struct {
	mu   sync.Mutex
	seen map[string]recentCauses
}

type recentCauses struct {
	at     time.Time
	causes []client.Cause
}

// latestCauses are those of a window, those latest met first.
func (c *Console) latestCauses(ctx context.Context, since, org, kind string) ([]client.Cause, error) {
	ask := url.Values{"since": {since}, "pageSize": {causesShown}}
	for name, v := range map[string]string{"orgId": org, "kind": kind} {
		if v != "" {
			ask.Set(name, v)
		}
	}
	key := ask.Encode()
	c.recent.mu.Lock()
	known, ok := c.recent.seen[key]
	c.recent.mu.Unlock()
	if age := c.now().Sub(known.at); ok && age >= 0 && age < causesSeen {
		return known.causes, nil
	}
	answer, err := c.api.OpsListCausesWithResponse(ctx, nil, raw(ask))
	if err != nil {
		return nil, err
	}
	c.recent.mu.Lock()
	defer c.recent.mu.Unlock()
	if len(c.recent.seen) >= maxRecent || c.recent.seen == nil {
		c.recent.seen = map[string]recentCauses{}
	}
	c.recent.seen[key] = recentCauses{c.now(), answer.JSON200.Causes}
	return answer.JSON200.Causes, nil
}
