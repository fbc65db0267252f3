package api

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"exportd/internal/inmemory"
	"exportd/jobs"
)

// failsBy makes a job that has failed by a cause, and gives both ids.
func (b *bench) failsBy(t *testing.T, org, index string) (jobID, cause string) {
	t.Helper()
	made, err := b.jobs.memory.Submit(t.Context(), jobs.Submission{OrgID: org, KeyID: "key", Kind: "vip-users", Params: jobs.Params{}, Fresh: true})
	if err != nil {
		t.Fatal(err)
	}
	var l jobs.Lease
	var j *jobs.Job
	for _, fn := range []func(*jobs.Tx) error{
		func(tx *jobs.Tx) (err error) { l, err = tx.Claim("w"); return err },
		func(tx *jobs.Tx) error {
			return tx.EndAttempt(l, jobs.Fail(jobs.CodeMissingIndex, jobs.Permanent, "an index is missing", "make it: https://console.example/"+index+strings.Repeat("x", 500)+".", nil).About("index "+index))
		},
	} {
		if j, err = b.jobs.memory.Update(t.Context(), made.Job.ID, "w", fn); err != nil {
			t.Fatal(err)
		}
	}
	return j.ID, j.Error.CauseID
}

// at gives what is at a path in an answer, as "causes.0.state".
func at(t *testing.T, v any, path string) any {
	t.Helper()
	for step := range strings.SplitSeq(path, ".") {
		switch n := v.(type) {
		case map[string]any:
			v = n[step]
		case []any:
			i := 0
			if _, err := fmt.Sscan(step, &i); err != nil || i >= len(n) {
				t.Fatalf("there is no %s in %v", step, n)
			}
			v = n[i]
		default:
			t.Fatalf("there is no %s in %v", step, v)
		}
	}
	return v
}

func TestCauses(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	_, cause := b.failsBy(t, "org1", "a")
	last, _ := b.failsBy(t, "org2", "a")
	_, other := b.failsBy(t, "org2", "b")
	code, got := ops(t, b, http.MethodGet, "/ops/causes?since=12h", "")
	if list := got["causes"].([]any); code != http.StatusOK || len(list) != 2 {
		t.Fatalf("causes = %d %v, want two", code, got)
	}
	code, got = ops(t, b, http.MethodGet, "/ops/causes/"+cause, "")
	for path, want := range map[string]any{
		"cause.what": "index a", "cause.count": 2.0, "cause.of": "jobs", "cause.code": "MISSING_INDEX", "cause.state": "open", "cause.orgsComplete": true, "cause.link": "https://console.example/a" + strings.Repeat("x", 500),
		"cause.firstAt": "2026-06-15T12:00:00Z",
	} {
		if v := at(t, got, path); code != http.StatusOK || v != want {
			t.Errorf("cause = %d, %s is %v, want %v", code, path, v, want)
		}
	}
	if n := len(got["latest"].([]any)); n != 2 {
		t.Errorf("%d cases are told of, want 2", n)
	}
	if _, got := ops(t, b, http.MethodGet, "/ops/causes?orgId=org1", ""); len(got["causes"].([]any)) != 1 {
		t.Errorf("causes of org1 = %v, want one", got)
	}
	if _, got := ops(t, b, http.MethodGet, "/ops/causes?since=7d&until=1d", ""); len(got["causes"].([]any)) != 0 {
		t.Errorf("causes of last week = %v, want none", got)
	}
	_, got = ops(t, b, http.MethodGet, "/ops/causes?pageSize=1", "")
	_, next := ops(t, b, http.MethodGet, "/ops/causes?pageSize=1&pageToken="+url.QueryEscape(got["nextPageToken"].(string)), "")
	if at(t, got, "causes.0.causeId") == at(t, next, "causes.0.causeId") || next["nextPageToken"] != nil {
		t.Errorf("the pages are %v and %v", got, next)
	}
	if _, err := b.jobs.memory.Update(t.Context(), last, "op", func(tx *jobs.Tx) error { _, err := tx.Rerun(jobs.RerunFresh, "r"); return err }); err != nil {
		t.Fatal(err)
	}
	if _, got := ops(t, b, http.MethodGet, "/ops/causes/"+cause, ""); at(t, got, "cause.count") != 1.0 {
		t.Errorf("after one was run again there are %v", at(t, got, "cause.count"))
	}
	for _, id := range []string{"x", "MISSING_INDEX-000000000000", other + "0"} {
		if code, _ := ops(t, b, http.MethodGet, "/ops/causes/"+id, ""); code != http.StatusNotFound {
			t.Errorf("cause %s = %d, want 404", id, code)
		}
	}
}

// TestCauseOfNoCase: a cause without a case in the window is done only if it has none at all.
func TestCauseOfNoCase(t *testing.T) {
	t.Parallel()
	b, clock := newBench(t), noon.Add(-5*time.Hour)
	b.jobs.memory = inmemory.NewStore(inmemory.Config{Policy: jobs.Policy{RecordLife: 90 * 24 * time.Hour, LeaseFor: time.Minute, MaxAttempts: 3}, Now: func() time.Time { return clock }})
	early, cause := b.failsBy(t, "org1", "a")
	clock = noon.Add(-time.Hour)
	late, _ := b.failsBy(t, "org1", "a")
	again := func(id string) {
		if _, err := b.jobs.memory.Update(t.Context(), id, "op", func(tx *jobs.Tx) error { _, err := tx.Rerun(jobs.RerunFresh, "r"); return err }); err != nil {
			t.Fatal(err)
		}
	}
	state := func(query string) any {
		_, got := ops(t, b, http.MethodGet, "/ops/causes?"+query, "")
		if at(t, got, "causes.0.causeId") != cause {
			t.Errorf("causes of %s = %v", query, got)
		}
		return at(t, got, "causes.0.state")
	}
	again(early)
	if got := state("since=6h&until=4h"); got != "open" {
		t.Errorf("with a case after the window the cause is %v, want open", got)
	}
	again(late)
	if got := state("since=6h&until=4h"); got != "done" {
		t.Errorf("without any case the cause is %v, want done", got)
	}
}

// TestProbeBound: looks at a receiver take from what its org may have sent in tests.
func TestProbeBound(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	j := b.jobs.set(jobs.Job{ID: jobs.NewID(), Schema: jobs.SchemaVersion, OrgID: "org1", KeyID: "key_hook", State: jobs.Failed, CallbackURL: "https://hooks.customer.com/x"})
	for range pingRate.Burst {
		if l := b.pings.take("org1", noon); !l.ok {
			t.Fatal("the bound is below its burst")
		}
	}
	c, _ := gin.CreateTestContext(httptest.NewRecorder())
	c.Request = httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", nil)
	_, err := b.probeReceiver(c, j)
	if refused, ok := errors.AsType[*problem](err); !ok || refused.status != http.StatusTooManyRequests || refused.retryAfter <= 0 {
		t.Errorf("probeReceiver = %v, want 429", err)
	}
}

func TestRerunCause(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	_, cause := b.failsBy(t, "org1", "a")
	code, got := ops(t, b, http.MethodPost, "/ops/causes/"+cause+"/rerun", `{"reason":"it is there","orgId":"org1","maxPerSecond":7}`)
	if code != http.StatusAccepted || len(b.jobs.batches) != 1 || got["canary"] != true || got["maxPerSecond"] != 7.0 || at(t, got, "filter.cause") != cause {
		t.Fatalf("rerun = %d %v, want a canary", code, got)
	}
	made := b.jobs.batches[0]
	if f := made.Filter; f.State != jobs.Failed || f.ErrorCode != jobs.CodeMissingIndex || f.OrgID != "org1" || made.Actor != "api key key_ops1" || made.Reason != "it is there" {
		t.Errorf("the batch is %+v", made)
	}
	if code, got := ops(t, b, http.MethodGet, "/ops/causes/"+cause, ""); code != http.StatusOK || at(t, got, "batches.0.batchId") != made.ID || got["batchesComplete"] != true {
		t.Errorf("the cause has no such batch: %v, complete %v", got["batches"], got["batchesComplete"])
	}
	for range batchesShown {
		b.jobs.batches = append([]*jobs.Batch{jobs.NewBatch(jobs.BatchRequest{Actor: "a", Reason: "r"}, noon)}, b.jobs.batches...)
	}
	if _, got := ops(t, b, http.MethodGet, "/ops/causes/"+cause, ""); len(got["batches"].([]any)) != 0 || got["batchesComplete"] != false {
		t.Errorf("behind %d others it has %v, complete %v", batchesShown, got["batches"], got["batchesComplete"])
	}
	if code, got := ops(t, b, http.MethodPost, "/ops/causes/"+cause+"/rerun", `{"reason":"r","dryRun":true}`); code != http.StatusOK || got["dryRun"] != true || b.jobs.list.Cause != cause {
		t.Errorf("dry run = %d %v, listed by %+v", code, got, b.jobs.list)
	}
	if code, _ := ops(t, b, http.MethodPost, "/ops/causes/MISSING_INDEX-000000000000/rerun", `{"reason":"r"}`); code != http.StatusNotFound {
		t.Errorf("of an unknown cause = %d, want 404", code)
	}
	if code, _ := ops(t, b, http.MethodPost, "/ops/jobs/rerun", `{"reason":"r","filter":{"cause":"`+cause+`","errorCode":"INTERNAL"}}`); code != http.StatusUnprocessableEntity {
		t.Errorf("a cause of another code = %d, want 422", code)
	}
	if code, _ := ops(t, b, http.MethodGet, "/ops/jobs?cause="+cause, ""); code != http.StatusOK || b.jobs.list.Cause != cause {
		t.Errorf("jobs of a cause = %d, listed by %+v", code, b.jobs.list)
	}
}

// TestBatchChanges: a batch can be held, and what was done is on record.
func TestBatchChanges(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	ids := []string{jobs.NewID(), jobs.NewID()}
	code, got := ops(t, b, http.MethodPost, "/ops/jobs/rerun", fmt.Sprintf(`{"reason":"r","jobIds":["%s","%s","%s"],"canary":true}`, ids[0], ids[1], ids[0]))
	if code != http.StatusAccepted || got["jobs"] != 2.0 || got["canary"] != true || got["maxPerSecond"] != 5.0 {
		t.Fatalf("rerun of a list = %d %v", code, got)
	}
	target := got["statusUrl"].(string)
	for _, step := range []struct{ verb, state string }{{"pause", "paused"}, {"pause", "paused"}, {"resume", "running"}, {"cancel", "stopped"}} {
		if code, got := ops(t, b, http.MethodPost, target+"/"+step.verb, `{"reason":"why not"}`); code != http.StatusOK || got["state"] != step.state {
			t.Errorf("%s = %d %v, want %s", step.verb, code, got, step.state)
		}
	}
	for _, verb := range []string{"pause", "resume", "cancel"} {
		if code, _ := ops(t, b, http.MethodPost, target+"/"+verb, `{"reason":"r"}`); code != http.StatusConflict {
			t.Errorf("%s of one that has ended = %d, want 409", verb, code)
		}
		if code, _ := ops(t, b, http.MethodPost, "/ops/batches/"+jobs.NewID()+"/"+verb, `{"reason":"r"}`); code != http.StatusNotFound {
			t.Errorf("%s of an unknown one = %d, want 404", verb, code)
		}
		if code, _ := ops(t, b, http.MethodPost, target+"/"+verb, `{}`); code != http.StatusUnprocessableEntity {
			t.Errorf("%s without a reason = %d, want 422", verb, code)
		}
	}
	code, got = ops(t, b, http.MethodGet, "/ops/audit?since=1h&target="+b.jobs.batches[0].ID, "")
	if code != http.StatusOK || len(got["entries"].([]any)) != 5 {
		t.Fatalf("audit = %d %v, want five entries", code, got)
	}
	seen := map[string]int{}
	for _, e := range got["entries"].([]any) {
		seen[fmt.Sprint(at(t, e, "action"), " ", at(t, e, "actor"), " ", at(t, e, "reason"))]++
	}
	for _, want := range []string{"batch.create api key key_ops1 r", "batch.pause api key key_ops1 why not", "batch.resume api key key_ops1 why not", "batch.cancel api key key_ops1 why not"} {
		if seen[want] == 0 {
			t.Errorf("there is no entry %q in %v", want, seen)
		}
	}
	if _, got := ops(t, b, http.MethodGet, "/ops/audit?action=batch.pause", ""); len(got["entries"].([]any)) != 2 {
		t.Errorf("of pauses there are %v", got["entries"])
	}
	// A dry run of a list looks at each, and says which are not there.
	there := b.jobs.set(jobs.Job{ID: ids[0], Schema: jobs.SchemaVersion, State: jobs.Failed, FinishedAt: noon})
	code, got = ops(t, b, http.MethodPost, "/ops/jobs/rerun", fmt.Sprintf(`{"reason":"r","dryRun":true,"jobIds":["%s","%s"]}`, there.ID, ids[1]))
	if code != http.StatusOK || got["matched"] != 2.0 || got["eligible"] != 1.0 || at(t, got, "notEligible.0.jobIds.0") != ids[1] {
		t.Errorf("dry run of a list = %d %v", code, got)
	}
	for _, body := range []string{`{"reason":"r","dryRun":true,"jobIds":["` + ids[0] + `"],"filter":null}`, `{"reason":"r","dryRun":true,"jobIds":null,"filter":{}}`} {
		if code, got := ops(t, b, http.MethodPost, "/ops/jobs/rerun", body); code != http.StatusOK {
			t.Errorf("%s = %d %v, want 200", body, code, got)
		}
	}
	for _, body := range []string{`{"reason":"r","jobIds":[]}`, `{"reason":"r","jobIds":["x"]}`, `{"reason":"r","jobIds":"x"}`, `{"reason":"r","jobIds":["` + ids[0] + `"],"filter":{}}`} {
		if code, _ := ops(t, b, http.MethodPost, "/ops/jobs/rerun", body); code != http.StatusUnprocessableEntity {
			t.Errorf("%s = %d, want 422", body, code)
		}
	}
}

// TestCallbackCauses: callbacks are listed, also by why they were given up, and begun again by it.
func TestCallbackCauses(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	_, one := called(b, jobs.CallbackExhausted)
	called(b, jobs.CallbackDelivered)
	id := cmp.Or(one.CauseID, "CALLBACK_EXHAUSTED-0a1b2c3d4e5f")
	code, got := ops(t, b, http.MethodGet, "/ops/callbacks?state=exhausted&createdAfter=2d&cause="+id, "")
	if l := b.jobs.callbackList; code != http.StatusOK || l.State != jobs.CallbackExhausted || l.Cause != id || l.CreatedAfter.IsZero() || at(t, got, "callbacks.0.delivery.id") != one.ID {
		t.Errorf("callbacks = %d %v, listed by %+v", code, got, l)
	}
	if code, _ := ops(t, b, http.MethodGet, "/ops/callbacks?cause=MISSING_INDEX-0a1b2c3d4e5f", ""); code != http.StatusUnprocessableEntity {
		t.Errorf("callbacks by a cause of jobs = %d, want 422", code)
	}
	if code, got := ops(t, b, http.MethodPost, "/ops/callbacks/redeliver", `{"reason":"back","filter":{"state":"exhausted"}}`); code != http.StatusOK || got["redelivered"] != 1.0 {
		t.Errorf("redeliver = %d %v", code, got)
	}
	if _, got := ops(t, b, http.MethodGet, "/ops/audit?action=callbacks.redeliver", ""); at(t, got, "entries.0.count") != 1.0 || at(t, got, "entries.0.filter") != "state=exhausted" || at(t, got, "entries.0.reason") != "back" {
		t.Errorf("audit = %v", got)
	}
}

// TestProbe: a look tells what is mended and what is not, and the cause says so until it is met again.
func TestProbe(t *testing.T) {
	t.Parallel()
	now := noon
	b := newBench(t, func(c *Config) { c.Now = func() time.Time { return now } })
	id, cause := b.failsBy(t, "org1", "a")
	b.jobs.set(jobs.Job{ID: id, Schema: jobs.SchemaVersion, State: jobs.Failed, FinishedAt: noon})
	b.records.err = jobs.Fail(jobs.CodeMissingIndex, jobs.Permanent, "an index is missing", "", nil).About("index a")
	probe := func(verdict, state string) {
		t.Helper()
		code, got := ops(t, b, http.MethodPost, "/ops/causes/"+cause+"/probe", `{"reason":"look"}`)
		if code != http.StatusOK || at(t, got, "cause.probe.verdict") != verdict || at(t, got, "cause.state") != state {
			t.Errorf("probe = %d %v, want %s and %s", code, got, verdict, state)
		}
	}
	probe("not_fixed", "open")
	b.records.err = nil
	b.failsBy(t, "org1", "other") // nothing to do with it
	now = noon.Add(30 * time.Second)
	probe("fixed", "fixed")
	if _, got := ops(t, b, http.MethodGet, "/ops/causes?since=1h", ""); !strings.Contains(fmt.Sprint(got), "state:fixed") {
		t.Errorf("the list does not say that it is fixed: %v", got)
	}
	b.records.err = jobs.ErrUnavailable
	if code, _ := ops(t, b, http.MethodPost, "/ops/causes/"+cause+"/probe", `{"reason":"look"}`); code != http.StatusServiceUnavailable {
		t.Errorf("while the source is away = %d, want 503", code)
	}
	if code, _ := ops(t, b, http.MethodPost, "/ops/causes/MISSING_INDEX-000000000000/probe", `{"reason":"look"}`); code != http.StatusNotFound {
		t.Errorf("of an unknown cause = %d, want 404", code)
	}
	if _, got := ops(t, b, http.MethodGet, "/ops/audit?action=cause.probe", ""); len(got["entries"].([]any)) != 3 {
		t.Errorf("on record are %v, want three looks", got)
	}
}

// TestRerunCallbackCause: a cause of callbacks is begun again as one of jobs is, by a canary.
func TestRerunCallbackCause(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	made, err := b.jobs.memory.Submit(t.Context(), jobs.Submission{OrgID: "org1", KeyID: "key", Kind: "vip-users", Params: jobs.Params{}, Fresh: true, CallbackURL: "https://hooks.example/in"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.jobs.memory.Update(t.Context(), made.Job.ID, "op", func(tx *jobs.Tx) error { return tx.Cancel("r") }); err != nil {
		t.Fatal(err)
	}
	found, err := b.jobs.memory.Callbacks(t.Context(), made.Job.ID)
	if err != nil || len(found) != 1 {
		t.Fatal(found, err)
	}
	var l jobs.Lease
	for _, fn := range []func(*jobs.CallbackTx) error{
		func(tx *jobs.CallbackTx) (err error) { l, err = tx.Claim("w"); return err },
		func(tx *jobs.CallbackTx) error {
			return tx.Record(l, jobs.CallbackResult{State: jobs.CallbackExhausted, Attempt: jobs.CallbackAttempt{At: tx.Now, Status: 503}})
		},
	} {
		if found[0], err = b.jobs.memory.UpdateCallback(t.Context(), found[0].ID, "w", fn); err != nil {
			t.Fatal(err)
		}
	}
	cause := found[0].CauseID
	target := "/ops/causes/" + cause + "/rerun"
	_, one := called(b, jobs.CallbackExhausted)
	one.CauseID = cause
	code, got := ops(t, b, http.MethodPost, target, `{"reason":"r","dryRun":true,"orgId":"org1"}`)
	if l := b.jobs.callbackList; code != http.StatusOK || got["dryRun"] != true || got["matched"] != 1.0 || l.Cause != cause || l.State != jobs.CallbackExhausted || l.OrgID != "org1" || len(b.jobs.batches) != 0 {
		t.Errorf("dry run = %d %v, listed by %+v", code, got, l)
	}
	code, got = ops(t, b, http.MethodPost, target, `{"reason":"it answers","orgId":"org1","maxPerSecond":7}`)
	if code != http.StatusAccepted || got["of"] != "callbacks" || got["canary"] != true || at(t, got, "callbacks.filter.cause") != cause || got["filter"] != nil || got["mode"] != nil {
		t.Fatalf("rerun = %d %v, want a canary of callbacks", code, got)
	}
	if f := b.jobs.batches[0].Callbacks; *f != (jobs.CallbackFilter{State: jobs.CallbackExhausted, Cause: cause, OrgID: "org1"}) || b.jobs.batches[0].Rate() != 7 {
		t.Errorf("the batch is %+v of %+v", b.jobs.batches[0], f)
	}
	code, got = ops(t, b, http.MethodGet, got["statusUrl"].(string), "")
	if code != http.StatusOK || at(t, got, "callbacks.delivered") != 4.0 || at(t, got, "callbacks.givenUp") != 1.0 {
		t.Errorf("the batch is shown as %d %v", code, got)
	}
	if code, got := ops(t, b, http.MethodGet, "/ops/causes/"+cause, ""); code != http.StatusOK || at(t, got, "batches.0.of") != "callbacks" {
		t.Errorf("the cause has no such batch: %v", got["batches"])
	}
	for _, body := range []string{`{"reason":"r","kind":"vip-users"}`, `{"reason":"r","mode":"fresh"}`, `{"reason":"r","pageToken":"x"}`} {
		if code, _ := ops(t, b, http.MethodPost, target, body); code != http.StatusUnprocessableEntity {
			t.Errorf("%s = %d, want 422", body, code)
		}
	}
}
