package e2e

import (
	"errors"
	"net/http"
	"strconv"
	"sync"
	"testing"

	"exportd/internal/apikey"
	"exportd/internal/e2e/e2etest"
	"exportd/jobs"
)

// TestBudgetAcrossProcesses: of exports that are asked of two processes at once, as many are made as the
// key's budget has, all others are refused and told what is left; and what the jobs have not come to is given
// back by whichever process ends them.
func TestBudgetAcrossProcesses(t *testing.T) {
	t.Parallel()
	const asked, made = 12, 5
	_, hosts := e2etest.Emulators(t, exportd, t.TempDir())
	s := e2etest.Services(t, exportd, hosts, e2etest.Sizes{Users: 50, Messages: 10})
	_, other := e2etest.API(t, exportd, hosts)
	keys := openKeys(t, hosts)
	quote := func(c *e2etest.Client) (q struct {
		Rows   int64
		Budget struct{ RowsLeft int64 }
	}) {
		t.Helper()
		c.Get(t, "/vip-users/export", s.Users("dryRun", "true")).Want(t, http.StatusOK).JSON(t, &q)
		return q
	}
	rows := quote(s.Caller()).Rows
	known, err := keys.Lookup(t.Context(), s.APIKey)
	if err != nil {
		t.Fatal(err)
	}
	k, err := keys.Create(t.Context(), apikey.Draft{
		OrgID: known.OrgID, Name: "a budget", Scopes: []apikey.Scope{apikey.ScopeRead, apikey.ScopeExport}, Budget: jobs.Budget{Rows: made*rows + rows - 1},
	}, apikey.By{Actor: "test", Reason: "a test"})
	if err != nil {
		t.Fatal(err)
	}
	caller := func(url string) *e2etest.Client {
		return &e2etest.Client{URL: url, ID: k.ID, Secret: k.Secrets[0].Secret.Reveal()}
	}
	callers := []*e2etest.Client{caller(s.APIURL), caller(other)}
	answers, errs := make([]e2etest.Response, asked), make([]error, asked)
	var wg sync.WaitGroup
	for i := range asked {
		wg.Go(func() {
			answers[i], errs[i] = callers[i%2].Try(t.Context(), http.MethodGet, "/vip-users/export", s.Users(), nil, "Prefer", "respond-async", "Cache-Control", "no-cache", "Idempotency-Key", "budget-"+strconv.Itoa(i))
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, r := range answers {
		var body struct {
			JobID  string
			Budget *struct{ RowsLeft int64 }
		}
		r.JSON(t, &body)
		switch {
		case r.Status == http.StatusAccepted:
			ids = append(ids, body.JobID)
		case r.Status != http.StatusTooManyRequests || body.Budget == nil || body.Budget.RowsLeft != rows-1:
			t.Errorf("refused by %d: %.300s", r.Status, r.Body)
		}
	}
	if len(ids) != made {
		t.Fatalf("%d exports of %d rows were made of a budget of %d", len(ids), rows, made*rows+rows-1)
	}
	callers[0].Do(t, http.MethodPost, "/exports/"+ids[0]+"/cancel", nil, nil).Want(t, http.StatusAccepted)
	if q := quote(callers[1]); q.Budget.RowsLeft != 2*rows-1 {
		t.Errorf("%d rows are left after a cancel, want %d", q.Budget.RowsLeft, 2*rows-1)
	}
	e2etest.Worker(t, exportd, hosts)
	for _, id := range ids[1:] {
		if j := callers[0].Await(t, id, jobWithin); j.State != "succeeded" {
			t.Errorf("job %s is %s: %+v", id, j.State, j.Error)
		}
	}
	if q := quote(callers[0]); q.Budget.RowsLeft != 2*rows-1 {
		t.Errorf("%d rows are left after %d files of as many rows as were counted, want %d", q.Budget.RowsLeft, made-1, 2*rows-1)
	}
}
