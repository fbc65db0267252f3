package api

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"exportd/internal/export"
	"exportd/internal/inmemory"
	"exportd/jobs"
)

// TestBudget: a key with a budget is refused what is more than is left of its day, told so before, and pays
// for new jobs alone; a key without one is not counted.
func TestBudget(t *testing.T) {
	t.Parallel()
	fake := &fakeQuoter{quote: export.Quote{Rows: 6, Reads: 7, Parts: 1, WithoutSortField: -1}}
	store := inmemory.NewStore(inmemory.Config{Policy: testPolicy, ReuseFor: time.Minute, Now: func() time.Time { return noon }})
	b := newBench(t, func(c *Config) { c.Quotes, c.Jobs = fake, store })
	b.keys.keys[0].Budget = jobs.Budget{Rows: 10, Reads: 20}
	spent := func(what string, rows int64, costs int) {
		t.Helper()
		if day, err := store.BudgetDay(t.Context(), "key_one1"); err != nil || day.Rows != rows || fake.costs != costs {
			t.Errorf("%s: %d rows are spent and %d counts were made, %v; want %d and %d", what, day.Rows, fake.costs, err, rows, costs)
		}
	}
	quote := func(month int) (left, attaches any, refused bool) {
		t.Helper()
		w := b.get(t, fmt.Sprintf("%s&birthdayMonth=%d&dryRun=true", usersExport, month))
		wantStatus(t, w, http.StatusOK)
		body := decode(t, w)
		return body["budget"], body["attachesTo"], len(body["refusals"].([]any)) > 0
	}
	wantStatus(t, b.get(t, usersExport+"&birthdayMonth=1"), http.StatusAccepted)
	spent("a new job", 6, 1)
	wantStatus(t, b.get(t, usersExport+"&birthdayMonth=1"), http.StatusAccepted)
	spent("attached", 6, 1)

	const left = "map[readsLeft:13 renewsAt:2026-06-16T00:00:00Z rowsLeft:4]"
	if got, attaches, refused := quote(1); fmt.Sprint(got) != left || attaches == nil || refused {
		t.Errorf("quote that attaches: %v, %v, refused %t", got, attaches, refused)
	}
	if got, attaches, refused := quote(2); fmt.Sprint(got) != left || attaches != nil || !refused {
		t.Errorf("quote of more than is left: %v, %v, refused %t", got, attaches, refused)
	}
	w := b.get(t, usersExport+"&birthdayMonth=2")
	wantStatus(t, w, http.StatusTooManyRequests)
	body := decode(t, w)
	if fmt.Sprint(body["budget"]) != left || body["message"] != "the export needs 6 rows and 7 reads; of this key's budget for the day are left 4 of 10 rows and 13 of 20 reads: it is renewed at 2026-06-16T00:00:00Z" {
		t.Errorf("refused by %v", body)
	}
	limits := w.Header().Values("RateLimit")
	if w.Header().Get("Retry-After") != "43200" || !slices.Contains(limits, `"budget-rows";r=4;t=43200`) || !slices.Contains(limits, `"budget-reads";r=13;t=43200`) ||
		!slices.Contains(w.Header().Values("RateLimit-Policy"), `"budget-rows";q=10;w=86400`) {
		t.Errorf("headers %v", w.Header())
	}
	spent("refused", 6, 2)

	fake.quote.Rows = 11
	if body := decode(t, b.get(t, usersExport+"&birthdayMonth=2")); body["message"] != "the export needs 11 rows and 7 reads; of this key's budget for the day are left 4 of 10 rows and 13 of 20 reads: ask for less, or an admin for a key with more" {
		t.Errorf("more than a day has: %v", body)
	}
	fake.quote.Rows = 4
	if _, _, refused := quote(3); refused {
		t.Error("what fits is refused")
	}
	wantStatus(t, b.get(t, usersExport+"&birthdayMonth=3"), http.StatusAccepted)
	spent("the last of it", 10, 4)
	wantStatus(t, b.get(t, usersExport+"&birthdayMonth=4"), http.StatusTooManyRequests)
	spent("nothing is left", 10, 4)

	other := b.do(request(t, "key_hook", http.MethodGet, usersExport+"&dryRun=true"))
	wantStatus(t, other, http.StatusOK)
	if body := decode(t, other); body["budget"] != nil {
		t.Errorf("a key without a budget has %v", body["budget"])
	}
	wantStatus(t, b.do(request(t, "key_hook", http.MethodGet, usersExport)), http.StatusAccepted)
	spent("of another key", 10, 4)
}

// TestBudgetOfKey: what an admin may say of one.
func TestBudgetOfKey(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for fields, want := range map[string]int{
		`"rowsPerDay":1,"readsPerDay":1000000000000`: http.StatusCreated,
		`"rowsPerDay":0`:                http.StatusUnprocessableEntity,
		`"readsPerDay":1000000000001`:   http.StatusUnprocessableEntity,
		`"readsPerDay":"many"`:          http.StatusUnprocessableEntity,
		`"sandbox":true,"rowsPerDay":5`: http.StatusUnprocessableEntity,
	} {
		code, got := as(t, b, "key_admn", "POST", "/admin/keys", `{"orgId":"org9","name":"n","scopes":["export"],"reason":"r",`+fields+`}`)
		if code != want {
			t.Errorf("%s = %d %v, want %d", fields, code, got, want)
		}
		if k, ok := got["key"].(map[string]any); ok && (k["rowsPerDay"] != 1.0 || k["readsPerDay"] != 1e12) {
			t.Errorf("%s made %v", fields, k)
		}
	}
}

// TestBudgetCountsInTurn: a new export waits for its turn to be counted, and not for ever; a quote does not.
func TestBudgetCountsInTurn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		fake := &fakeQuoter{quote: export.Quote{Rows: 6, Reads: 7}}
		store := inmemory.NewStore(inmemory.Config{Policy: testPolicy, Now: func() time.Time { return noon }})
		b := newBench(t, func(c *Config) { c.Quotes, c.Jobs = fake, store })
		b.keys.keys[0].Budget = jobs.Budget{Rows: 10}
		leave := make([]func(), quotesAtOnce)
		for i := range leave {
			leave[i], _ = b.quoting.acquireAny("org2", "key_two2")
		}
		wantStatus(t, b.get(t, usersExport+"&dryRun=true"), http.StatusTooManyRequests)
		answered := make(chan int, 1)
		ask := func() { answered <- b.get(t, usersExport).Code }
		go ask()
		synctest.Wait()
		if len(answered) > 0 || fake.costs != 0 {
			t.Fatalf("answered with %d after %d counts, without a place", <-answered, fake.costs)
		}
		if code := <-answered; code != http.StatusTooManyRequests || fake.costs != 0 {
			t.Errorf("answered with %d after %d counts, without a place for %v", code, fake.costs, countWait)
		}
		go ask()
		synctest.Wait()
		for _, l := range leave {
			l()
		}
		if code := <-answered; code != http.StatusAccepted || fake.costs != 1 {
			t.Errorf("answered with %d after %d counts, with a place", code, fake.costs)
		}
	})
}
