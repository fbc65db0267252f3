package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"exportd/jobs"
)

func TestJobView(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	j := succeeded()
	j.ID = strings.Repeat("b", 26)
	j.Params = jobs.Params{"workspaceId": "ws1", "mediumId": "ch1", "profile": jobs.ProfileExcel, "formulaGuard": true}
	j.PartsDone, j.PartsTotal = 1, 1
	j.CallbackURL = "https://hooks.example.com/x"
	b.jobs.set(j)
	b.jobs.callbacks = []*jobs.Callback{
		{State: jobs.CallbackDelivered, Attempt: 9},
		{State: jobs.CallbackPending, Attempt: 2, LastCode: 503, WakeAt: noon.Add(time.Minute)},
	}
	w := b.get(t, "/exports/"+j.ID)
	wantStatus(t, w, http.StatusOK)
	want := `{"jobId":"bbbbbbbbbbbbbbbbbbbbbbbbbb","kind":"vip-users","state":"succeeded",` +
		`"params":{"workspaceId":"ws1","mediumId":"ch1","profile":"excel","formulaGuard":true},` +
		`"createdAt":"2026-06-15T11:59:00Z","startedAt":"2026-06-15T11:59:00Z","finishedAt":"2026-06-15T11:59:40Z","snapshotTime":null,"attempt":1,` +
		`"progress":{"rowsDone":3,"rowsTotal":3,"percent":100,"partsDone":1,"partsTotal":1,"bytes":99},"totalCount":3,` +
		`"csvUrl":"https://storage.example/signed?X-Goog-Signature=exports_org1_x_final.csvvip-users_0001-01-01.csv",` +
		`"csvUrlExpiresAt":"2026-06-15T13:00:00Z","fileExpiresAt":"2026-06-16T12:00:00Z","sizeBytes":99,"crc32c":"AAAAAQ==","guardedCells":0,"error":null,` +
		`"callback":{"url":"https://hooks.example.com/x","state":"pending","attempts":2,"lastStatus":503,"nextAttemptAt":"2026-06-15T12:01:00Z"},` +
		`"statusUrl":"/exports/bbbbbbbbbbbbbbbbbbbbbbbbbb"}`
	if got := w.Body.String(); got != want {
		t.Errorf("job =\n%s\nwant\n%s", got, want)
	}
}

// What is not known yet is null, every field is there, and progress never lies.
func TestJobProgress(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		job           jobs.Job
		done, percent float64
		total         any
	}{
		"queued":            {jobs.Job{State: jobs.Queued}, 0, 0, nil},
		"running, counted":  {jobs.Job{State: jobs.Running, Counted: true, RowsTotal: 200, RowsDone: 50}, 50, 25, 200.0},
		"parts":             {jobs.Job{State: jobs.Running, Phase: jobs.PhaseParts, Counted: true, RowsTotal: 80, RowsDone: 10}, 40, 50, 80.0},
		"all rows, running": {jobs.Job{State: jobs.Running, Counted: true, RowsTotal: 50, RowsDone: 50}, 50, 99, 50.0},
		"restarted":         {jobs.Job{State: jobs.Running, Counted: true, RowsTotal: 100, RowsDone: 1, RowsFloor: 70}, 70, 70, 100.0},
		"shrunk":            {jobs.Job{State: jobs.Running, Counted: true, RowsTotal: 60, RowsDone: 1, RowsFloor: 70}, 60, 99, 60.0},
		"no rows":           {jobs.Job{State: jobs.Running, Counted: true}, 0, 0, 0.0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			tc.job.ID, tc.job.OrgID, tc.job.Kind = jobs.NewID(), "org1", "vip-messages"
			b.jobs.set(tc.job)
			body := decode(t, b.get(t, "/exports/"+tc.job.ID))
			p := body["progress"].(map[string]any)
			if p["rowsDone"] != tc.done || p["percent"] != tc.percent || p["rowsTotal"] != tc.total {
				t.Errorf("progress = %v, want %v of %v, %v%%", p, tc.done, tc.total, tc.percent)
			}
			for _, field := range []string{"totalCount", "csvUrl", "error", "callback", "finishedAt"} {
				if v, ok := body[field]; !ok || v != nil {
					t.Errorf("%s = %v, %t, want null", field, v, ok)
				}
			}
		})
	}
}

func TestLongPoll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		j := succeeded()
		running := j
		running.State = jobs.Running
		b.jobs.set(running)
		start := time.Now()
		w := b.get(t, "/exports/"+j.ID)
		if w.Code != http.StatusOK || time.Since(start) != 0 {
			t.Errorf("without Prefer = %d after %s", w.Code, time.Since(start))
		}
		time.AfterFunc(7*time.Second, func() { b.jobs.set(j) })
		w = b.get(t, "/exports/"+j.ID, "Prefer", "wait=20")
		if got := decode(t, w)["state"]; got != "succeeded" || time.Since(start) != 7*time.Second {
			t.Errorf("wait=20 = %v after %s, want succeeded after 7s", got, time.Since(start))
		}
		if w.Header().Get("Preference-Applied") != "wait=20" {
			t.Errorf("headers = %v", w.Header())
		}
	})
}

// Beyond MaxWaits requests are answered at once, not held.
func TestMaxWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(c *Config) { c.MaxWaits = 1 })
		j := b.jobs.set(jobs.Job{ID: jobs.NewID(), OrgID: "org1", State: jobs.Running})
		held := make(chan struct{})
		go func() {
			defer close(held)
			b.get(t, "/exports/"+j.ID, "Prefer", "wait=10")
		}()
		synctest.Wait()
		start := time.Now()
		wantStatus(t, b.get(t, "/exports/"+j.ID, "Prefer", "wait=10"), http.StatusOK)
		wantStatus(t, b.get(t, "/exports/"+j.ID+"/events"), http.StatusServiceUnavailable)
		if time.Since(start) != 0 {
			t.Errorf("held for %s", time.Since(start))
		}
		<-held
	})
}

func TestDownload(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		change func(*jobs.Job)
		want   int
	}{
		"done":         {func(*jobs.Job) {}, http.StatusFound},
		"running":      {func(j *jobs.Job) { j.State = jobs.Running }, http.StatusConflict},
		"queued":       {func(j *jobs.Job) { j.State = jobs.Queued }, http.StatusConflict},
		"failed":       {func(j *jobs.Job) { j.State = jobs.Failed }, http.StatusConflict},
		"canceled":     {func(j *jobs.Job) { j.State = jobs.Canceled }, http.StatusConflict},
		"expired":      {func(j *jobs.Job) { j.State = jobs.Expired }, http.StatusGone},
		"expires now":  {func(j *jobs.Job) { j.FileExpiresAt = noon }, http.StatusGone},
		"expires soon": {func(j *jobs.Job) { j.FileExpiresAt = noon.Add(time.Second) }, http.StatusFound},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			j := succeeded()
			tc.change(&j)
			b.jobs.set(j)
			w := b.get(t, "/exports/"+j.ID+"/csv")
			wantStatus(t, w, tc.want)
			if got := w.Header().Get("Location"); strings.HasPrefix(got, signedURLPrefix) != (tc.want == http.StatusFound) {
				t.Errorf("Location = %q", got)
			}
			m := b.get(t, "/exports/"+j.ID+"/manifest")
			if ok := tc.want == http.StatusFound; ok && m.Code != http.StatusOK || !ok && m.Code != tc.want {
				t.Errorf("manifest = %d, and the file %d", m.Code, tc.want)
			}
			if tc.want == http.StatusFound && b.objects.ttl > min(time.Hour, j.FileExpiresAt.Sub(noon)) {
				t.Errorf("link lives %s, longer than its file", b.objects.ttl)
			}
		})
	}
}

func TestListJobs(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	j := succeeded()
	b.jobs.page = jobs.JobPage{Jobs: []*jobs.Job{&j}, Next: "token2"}
	w := b.get(t, "/exports?state=succeeded&kind=vip-users&pageSize=5&pageToken=token1")
	wantStatus(t, w, http.StatusOK)
	if got, want := b.jobs.list, (jobs.List{OrgID: "org1", State: jobs.Succeeded, Kind: "vip-users", PageSize: 5, PageToken: "token1"}); got != want {
		t.Errorf("list = %+v, want %+v", got, want)
	}
	body := decode(t, w)
	if list := body["jobs"].([]any); len(list) != 1 || !strings.HasPrefix(fmt.Sprint(body["nextPageToken"]), "token2~") || list[0].(map[string]any)["csvUrl"] != nil {
		t.Errorf("body = %v", body)
	}
	b.jobs.page = jobs.JobPage{}
	if got := b.get(t, "/exports").Body.String(); got != `{"jobs":[],"nextPageToken":null}` {
		t.Errorf("empty list = %s", got)
	}
	b.jobs.err = jobs.ErrInvalid
	w = b.get(t, "/exports?pageToken=nonsense")
	wantStatus(t, w, http.StatusUnprocessableEntity)
	if got := faultsOf(t, w); got != "pageToken any.only" {
		t.Errorf("faults = %s", got)
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	for state, want := range map[jobs.State]int{
		jobs.Queued: 202, jobs.Running: 202, jobs.Canceled: 202, jobs.Succeeded: 409, jobs.Failed: 409, jobs.Expired: 409,
	} {
		t.Run(string(state), func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			j := succeeded()
			j.State = state
			j.CallbackURL = "https://hooks.example.com/"
			b.jobs.set(j)
			w := b.do(request(t, "key_one1", http.MethodPost, "/exports/"+j.ID+"/cancel"))
			wantStatus(t, w, want)
			body := decode(t, w)
			if want == 202 && body["state"] != "canceled" || want == 409 && body["state"] != string(state) {
				t.Errorf("body = %v", body)
			}
			if changed := state == jobs.Queued || state == jobs.Running; changed {
				if len(b.jobs.events) != 1 || b.jobs.events[0].Actor != "api key key_one1" {
					t.Errorf("events = %v", b.jobs.events)
				}
				if len(b.queue.notified) != 1 || b.queue.notified[0].CallbackID == "" {
					t.Errorf("notified = %v, want the callback", b.queue.notified)
				}
			}
		})
	}
}

func TestErase(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	j := succeeded()
	b.jobs.set(j)
	erase := func() int { return b.do(request(t, "key_one1", http.MethodDelete, "/exports/"+j.ID)).Code }
	b.objects.err = jobs.ErrUnavailable
	if got := erase(); got != http.StatusServiceUnavailable {
		t.Errorf("DELETE without storage = %d, want 503", got)
	}
	wantStatus(t, b.get(t, "/exports/"+j.ID), http.StatusNotFound)
	b.objects.err = nil
	if got := erase(); got != http.StatusNoContent {
		t.Errorf("DELETE again = %d, want 204", got)
	}
	if got := b.objects.deleted[1]; got != "exports/org1/"+j.ID+"/" {
		t.Errorf("deleted %q", got)
	}
	cleaned := *b.jobs.jobs[j.ID]
	cleaned.Cleanup = false
	b.jobs.set(cleaned)
	if got := erase(); got != http.StatusNotFound {
		t.Errorf("DELETE after the sweep = %d, want 404", got)
	}
	for _, path := range []string{"", "/csv", "/manifest", "/events"} {
		wantStatus(t, b.get(t, "/exports/"+j.ID+path), http.StatusNotFound)
	}
}

// postBody posts JSON as an operator.
func postBody(t testing.TB, b *bench, path, body string) (int, map[string]any) {
	t.Helper()
	r := request(t, "key_ops1", http.MethodPost, path)
	r.Body, r.ContentLength = readCloser{strings.NewReader(body)}, int64(len(body))
	w := b.do(r)
	return w.Code, decode(t, w)
}

func TestRerun(t *testing.T) {
	t.Parallel()
	for state, want := range map[jobs.State]int{
		jobs.Queued: 409, jobs.Running: 409, jobs.Succeeded: 409, jobs.Canceled: 202, jobs.Failed: 202, jobs.Expired: 202,
	} {
		t.Run(string(state), func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			j := succeeded()
			j.State = state
			b.jobs.set(j)
			code, body := postBody(t, b, "/ops/jobs/"+j.ID+"/rerun", `{"reason": "index added", "mode": "resume"}`)
			switch {
			case code != want:
				t.Fatalf("rerun of %s = %d %v, want %d", state, code, body, want)
			case want == 409 && (body["state"] != string(state) || len(b.queue.notified) > 0):
				t.Errorf("body = %v, notified = %v", body, b.queue.notified)
			case want == 202 && (body["mode"] != "fresh" || b.jobs.events[0].Reason != "index added" || len(b.queue.notified) != 1):
				t.Errorf("body = %v, events = %v, notified = %v", body, b.jobs.events, b.queue.notified)
			}
		})
	}
}

func TestOpsBodies(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	path := "/ops/jobs/" + strings.Repeat("a", 26) + "/rerun"
	for body, want := range map[string]string{
		``:                                 "reason any.required",
		`{}`:                               "reason any.required",
		`{"reason": null}`:                 "reason any.required",
		`{"reason": ""}`:                   "reason string.empty",
		`{"reason": 5}`:                    "reason any.only",
		`{"reason": {"a": 1}}`:             "reason any.only",
		`{"reason": "r", "mode": "x"}`:     "mode any.only",
		`{"reason": "r", "mode": 1}`:       "mode any.only",
		`{"reason": "r", "extra": "x"}`:    "extra any.unknown",
		`{"reason": "r", "extra": null}`:   "extra any.unknown",
		`{"mode": "later", "orgId": "o"}`:  "reason any.required, mode any.only, orgId any.unknown",
		`[]`:                               "400",
		`{"reason": "r"`:                   "400",
		`{"reason": "r"} {}`:               "400",
		`reason=r`:                         "400",
		"{\"reason\": \"\xff\"}":           "400",
		`{"reason": "r"}`:                  "404",
		` {"reason": "r", "mode": null}  `: "404",
		`{"reason":"` + strings.Repeat("é", maxReason) + `"}`:   "404",
		`{"reason":"` + strings.Repeat("é", maxReason+1) + `"}`: "reason string.max",
	} {
		r := request(t, "key_ops1", http.MethodPost, path)
		r.Body, r.ContentLength = readCloser{strings.NewReader(body)}, int64(len(body))
		w := b.do(r)
		got := map[int]string{400: "400", 404: "404"}[w.Code]
		if w.Code == 422 {
			got = faultsOf(t, w)
		}
		if got != want {
			t.Errorf("body %.60q = %d %s, want %s", body, w.Code, got, want)
		}
	}
}

func TestOpsGet(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	j := succeeded()
	j.CallbackURL = "https://hooks.example.com/x?token=callback-token"
	j.DeletedAt = noon
	b.jobs.set(j)
	b.jobs.events = []jobs.Event{
		{At: noon, Type: jobs.EventPartRetry, Actor: "worker w1", Attempt: 1, Part: 4, Code: jobs.CodeUnavailable, Message: "m"},
	}
	for i := range maxPartViews + 5 {
		b.jobs.parts = append(b.jobs.parts, &jobs.Part{Index: i, State: jobs.PartDone, Rows: 9})
	}
	b.jobs.callbacks = []*jobs.Callback{{ID: "msg_1", URL: j.CallbackURL, State: jobs.CallbackExhausted, Attempts: []jobs.CallbackAttempt{{Class: "http_500"}}}}
	w := b.do(request(t, "key_ops1", http.MethodGet, "/ops/jobs/"+j.ID))
	wantStatus(t, w, http.StatusOK)
	body := decode(t, w)
	if n := len(body["timeline"].([]any)); n != 2 {
		t.Errorf("%d events, want 2", n)
	}
	if n := len(body["parts"].([]any)); n != maxPartViews || body["partsOmitted"] != 5.0 {
		t.Errorf("%d parts shown, %v omitted", n, body["partsOmitted"])
	}
	for _, secret := range []string{"callback-token", signedURLPrefix} {
		if strings.Contains(w.Body.String(), secret) {
			t.Errorf("operators see %q", secret)
		}
	}
	if code := b.do(request(t, "key_ops1", http.MethodGet, "/ops/jobs/"+jobs.NewID())).Code; code != http.StatusNotFound {
		t.Errorf("unknown job = %d", code)
	}
}

func TestOpsList(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	ask := func(query string) int {
		return b.do(request(t, "key_ops1", http.MethodGet, "/ops/jobs?"+query)).Code
	}
	if code := ask("state=failed&kind=vip-users&orgId=o&workspaceId=w&errorCode=MISSING_INDEX&createdAfter=2026-06-01&createdBefore=2026-06-02T00:00:00Z"); code != 200 {
		t.Fatalf("list = %d", code)
	}
	want := jobs.List{
		OrgID: "o", WorkspaceID: "w", State: jobs.Failed, Kind: "vip-users", ErrorCode: jobs.CodeMissingIndex, IncludeDeleted: true, PageSize: pageJobs,
		CreatedAfter: time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC), CreatedBefore: time.Date(2026, 6, 2, 0, 0, 0, 0, time.UTC),
	}
	if b.jobs.list != want {
		t.Errorf("list = %+v, want %+v", b.jobs.list, want)
	}
	for _, bad := range []string{"state=dead", "createdAfter=monday", "createdBefore=", "orgId=", "foo=1", "kind=x&kind=y"} {
		if code := ask(bad); code != http.StatusUnprocessableEntity {
			t.Errorf("filter %s = %d, want 422", bad, code)
		}
	}
}

// TestShownParams: whatever a record has, what is shown is what the contract has.
func TestShownParams(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		kind jobs.Kind
		in   jobs.Params
		want string
	}{
		{"vip-users", nil, `{"workspaceId":"","mediumId":"","profile":"rfc4180","formulaGuard":false}`},
		{"vip-users", jobs.Params{"x": int64(1), "workspaceId": true, "mediumId": "m", "birthdayMonth": int64(13), "hasBirthday": "yes", "profile": 7, "label": "l"}, `{"workspaceId":"","mediumId":"m","profile":"rfc4180","formulaGuard":false}`},
		{"vip-users", jobs.Params{"workspaceId": "w", "mediumId": "m", "birthdayMonth": int64(12), "hasBirthday": true, "profile": "excel", "formulaGuard": true}, `{"workspaceId":"w","mediumId":"m","hasBirthday":true,"birthdayMonth":12,"profile":"excel","formulaGuard":true}`},
		{"vip-messages", jobs.Params{"from": noon, "to": time.Date(20000, 1, 1, 0, 0, 0, 0, time.UTC), "contentType": "video", "label": "l"}, `{"workspaceId":"","mediumId":"","from":"2026-06-15T12:00:00Z","label":"l","profile":"rfc4180","formulaGuard":false}`},
		{"orders", jobs.Params{"status": "paid", "": "x", "a b": "x", "from": "x", "deep": map[string]any{}, "n": int64(1)}, `{"from":"x","n":1,"status":"paid","profile":"rfc4180","formulaGuard":false}`},
	} {
		got, err := json.Marshal(shownParams(c.kind, c.in))
		if err != nil || string(got) != c.want {
			t.Errorf("shownParams(%s, %v) = %s, %v, want %s", c.kind, c.in, got, err, c.want)
		}
	}
}
