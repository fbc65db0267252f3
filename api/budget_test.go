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
		if days, err := store.BudgetDays(t.Context(), []string{"key_one1"}); err != nil || days[0].Rows != rows || fake.costs.Load() != int64(costs) {
			t.Errorf("%s: %d rows are spent and %d counts were made, %v; want %d and %d", what, days[0].Rows, fake.costs.Load(), err, rows, costs)
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

	const left = "map[readsLeft:13 readsPerDay:20 readsSpent:7 renewsAt:2026-06-16T00:00:00Z rowsLeft:4 rowsPerDay:10 rowsSpent:6]"
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

	if got := decode(t, b.do(request(t, "key_one1", http.MethodGet, "/limits")))["budget"]; fmt.Sprint(got) != "map[readsLeft:6 readsPerDay:20 readsSpent:14 renewsAt:2026-06-16T00:00:00Z rowsLeft:0 rowsPerDay:10 rowsSpent:10]" {
		t.Errorf("limits tell of budget %v", got)
	}
	spent("who asks what is left", 10, 4)
	if got, ok := decode(t, b.do(request(t, "key_hook", http.MethodGet, "/limits")))["budget"]; got != nil || !ok {
		t.Errorf("limits of a key without a budget tell of %v", got)
	}
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

// TestBudgetIsChanged: an admin gives a key another budget, which holds for what the key has spent already.
func TestBudgetIsChanged(t *testing.T) {
	t.Parallel()
	fake := &fakeQuoter{quote: export.Quote{Rows: 6, Reads: 7}}
	store := inmemory.NewStore(inmemory.Config{Policy: testPolicy, Now: func() time.Time { return noon }})
	b := newBench(t, func(c *Config) { c.Quotes, c.Jobs = fake, store })
	set := func(fields, perDay, today string) {
		t.Helper()
		code, got := as(t, b, "key_admn", "POST", "/admin/keys/key_one1/budget", `{"reason":"r",`+fields+`}`)
		if code != http.StatusOK {
			t.Fatalf("%s = %d %v", fields, code, got)
		}
		_, again := as(t, b, "key_admn", "GET", "/admin/keys/key_one1", "")
		_, list := as(t, b, "key_admn", "GET", "/admin/keys?orgId=org1", "")
		views := []any{got["key"], again["key"]}
		for _, v := range list["keys"].([]any) {
			if v.(map[string]any)["keyId"] == "key_one1" {
				views = append(views, v)
			}
		}
		for i, v := range views {
			k := v.(map[string]any)
			day, _ := k["budgetToday"].(map[string]any)
			if fmt.Sprint(k["rowsPerDay"], k["readsPerDay"]) != perDay || len(views) != 3 || today != "" && fmt.Sprint(day["rowsSpent"], day["rowsLeft"], day["readsSpent"], day["readsLeft"]) != today || (today == "") != (day == nil) {
				t.Errorf("%s: in view %d of %d the key is %v", fields, i, len(views), k)
			}
		}
	}
	set(`"rowsPerDay":10`, "10 <nil>", "0 10 0 <nil>")
	wantStatus(t, b.get(t, usersExport+"&birthdayMonth=1"), http.StatusAccepted)
	set(`"readsPerDay":30`, "10 30", "6 4 7 23")
	wantStatus(t, b.get(t, usersExport+"&birthdayMonth=2"), http.StatusTooManyRequests)
	set(`"rowsPerDay":5,"readsPerDay":null`, "5 <nil>", "6 0 7 <nil>")
	wantStatus(t, b.get(t, usersExport+"&birthdayMonth=1"), http.StatusAccepted) // attaches
	w := b.get(t, usersExport+"&birthdayMonth=2")
	wantStatus(t, w, http.StatusTooManyRequests)
	if fake.costs.Load() != 2 {
		t.Errorf("%d counts were made, want none where nothing is left", fake.costs.Load())
	}
	set(`"rowsPerDay":12`, "12 <nil>", "6 6 7 <nil>")
	wantStatus(t, b.get(t, usersExport+"&birthdayMonth=2"), http.StatusAccepted)
	set(`"rowsPerDay":null`, "<nil> <nil>", "")
	wantStatus(t, b.get(t, usersExport+"&birthdayMonth=3"), http.StatusAccepted)
	for fields, want := range map[string]string{`"reason":"r"`: "rowsPerDay", `"rowsPerDay":5`: "reason", `"rowsPerDay":0,"reason":"r"`: "rowsPerDay", `"rowsPerDay":5,"readsPerDay":"x","reason":"r"`: "readsPerDay", `"name":"n","rowsPerDay":5,"reason":"r"`: "name"} {
		wantFaults(t, b, "/admin/keys/key_one1/budget", `{`+fields+`}`, want)
	}
	for fields, want := range map[string]string{`"expected":{"rowsPerDay":"x"}`: "expected", `"expected":{"name":1}`: "expected", `"expected":null`: "expected", `"expected":5`: "expected"} {
		wantFaults(t, b, "/admin/keys/key_one1/budget", `{"reason":"r","rowsPerDay":5,`+fields+`}`, want)
	}
	if code, got := as(t, b, "key_admn", "POST", "/admin/keys/key_one1/budget", `{"reason":"r","rowsPerDay":5,"expected":{"rowsPerDay":12}}`); code != http.StatusConflict || got["message"] != "somebody has changed the budget meanwhile: see by whom in the key's history" {
		t.Errorf("a budget that is another by now = %d %v", code, got)
	}
	if len(b.keys.audit["key_one1"]) != 5 {
		t.Errorf("the history is %v", b.keys.audit["key_one1"])
	}
	set(`"rowsPerDay":5,"expected":{}`, "5 <nil>", "12 0 14 <nil>")
	set(`"rowsPerDay":6,"expected":{"rowsPerDay":5,"readsPerDay":null}`, "6 <nil>", "12 0 14 <nil>")
	set(`"rowsPerDay":6,"expected":{"rowsPerDay":5}`, "6 <nil>", "12 0 14 <nil>") // its answer was lost
	b.keys.keys[0].OrgID = jobs.SandboxOf(b.keys.keys[0].OrgID)
	if code, got := as(t, b, "key_admn", "POST", "/admin/keys/key_one1/budget", `{"reason":"r","rowsPerDay":5}`); code != http.StatusConflict {
		t.Errorf("a budget of a sandbox key = %d %v", code, got)
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
		if len(answered) > 0 || fake.costs.Load() != 0 {
			t.Fatalf("answered with %d after %d counts, without a place", <-answered, fake.costs.Load())
		}
		if code := <-answered; code != http.StatusTooManyRequests || fake.costs.Load() != 0 {
			t.Errorf("answered with %d after %d counts, without a place for %v", code, fake.costs.Load(), countWait)
		}
		go ask()
		synctest.Wait()
		for _, l := range leave {
			l()
		}
		if code := <-answered; code != http.StatusAccepted || fake.costs.Load() != 1 {
			t.Errorf("answered with %d after %d counts, with a place", code, fake.costs.Load())
		}
	})
}
