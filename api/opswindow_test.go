package api

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"exportd/jobs"
)

// happened notes n ends in a slot, as the store gives them: of the org and of all together.
func happened(f *fakeJobs, at time.Time, org string, kind jobs.Kind, c jobs.Counts) {
	for _, owner := range []string{"", org} {
		r := &jobs.Rollup{RollupKey: jobs.RollupKey{Hour: at.Truncate(time.Hour), OrgID: owner}}
		r.Add(at.Truncate(jobs.RollupSlot), kind, c)
		f.rollups = append(f.rollups, r)
	}
}

// reading is a store whose rollups take until they are let go.
type reading struct {
	*fakeJobs
	let chan struct{}
}

func (r *reading) Rollups(ctx context.Context, org string, from, to time.Time) ([]*jobs.Rollup, error) {
	<-r.let
	return r.fakeJobs.Rollups(ctx, org, from, to)
}

// Who asks while another's answer is being read is told the same, from one read.
func TestStatsWindowOfTwo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &reading{let: make(chan struct{})}
		b := newBench(t, func(c *Config) { store.fakeJobs, c.Operations = c.Operations.(*fakeJobs), store })
		happened(b.jobs, noon.Add(-2*time.Hour), "org1", "vip-users", jobs.Counts{jobs.CountEnd(jobs.Succeeded): 2})
		var both sync.WaitGroup
		for range 2 {
			both.Go(func() {
				_, got := ops(t, b, http.MethodGet, "/ops/stats?since=12h", "")
				if w, _ := got["window"].(map[string]any); w == nil || w["ends"].(map[string]any)["succeeded"] != 2.0 {
					t.Errorf("one of two is told %v", got["window"])
				}
			})
		}
		synctest.Wait()
		close(store.let)
		both.Wait()
		if b.jobs.rollupReads != 1 {
			t.Errorf("%d reads, want 1", b.jobs.rollupReads)
		}
	})
}

func TestStatsWindow(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	ended := jobs.CountEnd(jobs.Succeeded)
	happened(b.jobs, noon.Add(-3*time.Hour), "org1", "vip-users", jobs.Counts{ended: 2, jobs.CountRows: 100, jobs.CountRunMs: 4000, "ran_45": 2, "queued_30": 1})
	happened(b.jobs, noon.Add(-2*time.Hour), "org2", "vip-messages", jobs.Counts{ended: 1, jobs.CountRows: 7, jobs.CountRunMs: 60_000, jobs.CountSlow: 1, "ran_65": 1})
	happened(b.jobs, noon.Add(-2*time.Hour), "org2", "vip-users", jobs.Counts{jobs.CountEnd(jobs.Failed): 3, jobs.CountFailure(jobs.CodeMissingIndex): 3})
	happened(b.jobs, noon.Add(-time.Minute), "org1", "", jobs.Counts{jobs.CountCallback(jobs.CallbackExhausted): 5})
	happened(b.jobs, noon.Add(-30*time.Hour), "org1", "vip-users", jobs.Counts{ended: 1000})
	for _, test := range []struct {
		query                               string
		succeeded, failed, rows, slow, dead float64
		orgs                                string
	}{
		{"since=12h", 3, 3, 107, 1, 5, "[org1 org2] [org2 org1]"},
		{"since=12h&kind=vip-users", 2, 3, 100, 0, 0, "[org1 org2] [org1 org2]"},
		{"since=12h&orgId=org2", 1, 3, 7, 1, 0, ""},
		{"since=2026-06-15T09:55Z&until=2026-06-15T10:05Z", 1, 3, 7, 1, 0, "[org2] [org2]"},
		{"since=2026-06-15T10:06Z&until=1h", 0, 0, 0, 0, 0, "[] []"},
		{"since=2d", 1003, 3, 107, 1, 5, "[org1 org2] [org2 org1]"},
	} {
		code, got := ops(t, b, http.MethodGet, "/ops/stats?"+test.query, "")
		w, _ := got["window"].(map[string]any)
		if code != http.StatusOK || w == nil {
			t.Fatalf("%s = %d %v", test.query, code, got)
		}
		ends, dead := w["ends"].(map[string]any), w["callbacks"].(map[string]any)["exhausted"]
		if dead == nil {
			dead = 0.0
		}
		if ends["succeeded"] != test.succeeded || ends["failed"] != test.failed || w["rows"] != test.rows || w["slow"] != test.slow || dead != test.dead {
			t.Errorf("%s: %v %v rows %v slow, %v dead callbacks, want %+v", test.query, ends, w["rows"], w["slow"], dead, test)
		}
		rows := 0.0
		for _, bucket := range w["buckets"].([]any) {
			rows += bucket.(map[string]any)["rows"].(float64)
		}
		if n := len(w["buckets"].([]any)); rows != test.rows || n == 0 || n > maxStretches {
			t.Errorf("%s: %d buckets have %v rows together, want %v", test.query, n, rows, test.rows)
		}
		names := func(list any) (out []any) {
			for _, o := range list.([]any) {
				out = append(out, o.(map[string]any)["orgId"])
			}
			return out
		}
		orgs := ""
		if top, ok := w["topOrgs"].(map[string]any); ok {
			orgs = fmt.Sprint(names(top["byRows"]), " ", names(top["byTime"]))
		}
		if orgs != test.orgs {
			t.Errorf("%s: top orgs %s, want %s", test.query, orgs, test.orgs)
		}
	}
	_, got := ops(t, b, http.MethodGet, "/ops/stats?since=12h", "")
	if ran := got["window"].(map[string]any)["ranSeconds"].(map[string]any); ran["count"] != 3.0 || ran["p50"].(float64) < 2 || ran["p95"].(float64) < 60 {
		t.Errorf("ran %v, want 3 of which half within 2.2 s", ran)
	}
	if code, got := ops(t, b, http.MethodGet, "/ops/stats", ""); code != http.StatusOK || got["window"] != nil {
		t.Errorf("without a window = %d %v", code, got["window"])
	}
}

// TestStatsWindowReads: an hour that is closed is read once by a process, one that is not every openSeen, and
// its largest orgs every topSeen, however many look.
func TestStatsWindowReads(t *testing.T) {
	t.Parallel()
	now := noon
	b := newBench(t, func(c *Config) { c.Now = func() time.Time { return now } })
	b.jobs.crowd = true
	look := func(target string) map[string]any {
		t.Helper()
		r := request(t, "key_ops1", http.MethodGet, target)
		w := b.do(r)
		if w.Code != http.StatusOK {
			t.Fatalf("%s = %d %s", target, w.Code, w.Body)
		}
		return decode(t, w)
	}
	for range 5 {
		if look("/ops/stats?since=24h")["window"].(map[string]any)["topOrgs"].(map[string]any)["complete"] != false {
			t.Error("top orgs are complete although an hour had more")
		}
	}
	if b.jobs.rollupReads != 1 || b.jobs.topReads != 24 {
		t.Errorf("5 looks at 24 hours took %d and %d reads, want 1 and 24", b.jobs.rollupReads, b.jobs.topReads)
	}
	now = now.Add(openSeen)
	look("/ops/stats?since=24h")
	// 11:00 to 12:00 was not closed when it was read, at noon; 12:00 has begun, of which nothing was known.
	if b.jobs.rollupReads != 2 || b.jobs.topReads != 25 {
		t.Errorf("a look %s later took %d and %d reads, want 1 and 1", openSeen, b.jobs.rollupReads-1, b.jobs.topReads-24)
	}
	now = noon.Add(topSeen)
	look("/ops/stats?since=24h")
	if b.jobs.rollupReads != 3 || b.jobs.topReads != 26 {
		t.Errorf("a look %s later took %d and %d reads, want 1 and 1", topSeen, b.jobs.rollupReads-2, b.jobs.topReads-25)
	}
}

func TestStatsWindowFaults(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for query, want := range map[string]string{
		"orgId=org1": "since", "until=1h": "since", "since=yesterday": "since", "since=8d": "since", "since=1h&until=2h": "until", "since=1h&until=soon": "until",
		"since=1h&kind=x": "kind", "since=1h&bucket=1": "bucket", "since=": "since", "since=-1h": "since", "since=99999h": "since",
	} {
		code, got := ops(t, b, http.MethodGet, "/ops/stats?"+query, "")
		if code != http.StatusUnprocessableEntity {
			t.Errorf("%s = %d %v, want 422", query, code, got)
			continue
		}
		if f := got["error"].([]any)[0].(map[string]any); f["path"].([]any)[0] != want {
			t.Errorf("%s: fault %v, want one at %s", query, f, want)
		}
	}
}
