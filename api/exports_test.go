package api

import (
	"context"
	"errors"
	"exportd/internal/dataset"
	"maps"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"exportd/jobs"
)

const (
	usersExport    = "/vip-users/export?workspaceId=ws1&mediumId=ch1"
	messagesExport = "/vip-messages/export?workspaceId=ws1&mediumId=ch1&from=2026-06-01&to=2026-06-10"
)

func TestExportAccepted(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	w := b.get(t, messagesExport)
	wantStatus(t, w, http.StatusAccepted)
	body := decode(t, w)
	for _, name := range []string{"totalCount", "csvUrl"} {
		if _, ok := body[name]; ok {
			t.Errorf("202 holds %s", name)
		}
	}
	id, _ := body["jobId"].(string)
	if got := w.Header().Get("Location"); !jobs.ValidID(id) || got != "/exports/"+id {
		t.Errorf("Location = %q for job %q", got, id)
	}
	if w.Header().Get("Retry-After") == "" || w.Header().Get("Preference-Applied") != "" {
		t.Errorf("headers = %v, want Retry-After and no Preference-Applied", w.Header())
	}
	if len(b.queue.notified) != 1 || b.queue.notified[0].JobID != id {
		t.Errorf("notified = %v, want job %s once", b.queue.notified, id)
	}
	p := b.jobs.submitted[0].Params
	if !p.Time("from").Equal(time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)) || !p.Time("to").Equal(time.Date(2026, 6, 11, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("window = %s to %s, want the whole of June 1 to 10", p.Time("from"), p.Time("to"))
	}
	if !p.FormulaGuard() || p.Profile() != jobs.ProfileRFC4180 {
		t.Errorf("params = %+v, want the defaults", p)
	}
}

func TestExportDone(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	j := succeeded()
	b.jobs.attach = &j
	w := b.get(t, usersExport)
	wantStatus(t, w, http.StatusOK)
	body := decode(t, w)
	if len(body) != 2 || body["totalCount"] != 3.0 || !strings.HasPrefix(body["csvUrl"].(string), signedURLPrefix) ||
		!strings.HasSuffix(body["csvUrl"].(string), j.FileName()) {
		t.Errorf("body = %v, want exactly totalCount and csvUrl", body)
	}
	for name, want := range map[string]string{
		"Content-Location": "/exports/" + j.ID, "Age": "20", "Cache-Control": "private, max-age=42", "Location": "",
	} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
	if len(b.queue.notified) != 0 {
		t.Errorf("notified = %v for a reused job", b.queue.notified)
	}
}

// A result that is older than the caller takes is no answer; the job of a key that the caller names is.
func TestExportMaxAge(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		cacheControl, key string
		reused            bool
	}{
		{"max-age=20", "", true}, {"max-age=19", "", false}, {"max-age=0", "", false}, {"max-age=0", "mine", true}, {"max-age=x", "", true},
	} {
		b := newBench(t)
		j := succeeded()
		b.jobs.attach = &j
		headers := []string{"Cache-Control", tt.cacheControl}
		if tt.key != "" {
			headers = append(headers, "Idempotency-Key", tt.key)
		}
		w := b.get(t, usersExport, headers...)
		if reused := w.Header().Get("Content-Location") == "/exports/"+j.ID; reused != tt.reused || !reused && w.Code != http.StatusAccepted {
			t.Errorf("%s, key %q: status %d, reused %v; want %v of a result that is 20 s old", tt.cacheControl, tt.key, w.Code, reused, tt.reused)
		}
	}
}

// The wait ends when the job does, and only the fields of the old API are in the answer.
func TestExportWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(c *Config) { c.DefaultWait = 10 * time.Second })
		b.jobs.attach = b.jobs.set(jobs.Job{ID: jobs.NewID(), OrgID: "org1", State: jobs.Queued, Kind: "vip-users"})
		done := succeeded()
		done.ID = b.jobs.attach.ID
		time.AfterFunc(3*time.Second, func() { b.jobs.set(done) })
		start := time.Now()
		w := b.get(t, usersExport)
		wantStatus(t, w, http.StatusOK)
		if took := time.Since(start); took != 3*time.Second {
			t.Errorf("answered after %s, want 3s", took)
		}
		if w.Header().Get("Age") != "" || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("headers = %v: this result is new", w.Header())
		}
	})
}

func TestExportWaitEnds(t *testing.T) {
	t.Parallel()
	for prefer, want := range map[string]struct {
		wait    time.Duration
		applied string
	}{
		"":                      {10 * time.Second, ""},
		"wait=0":                {0, "wait=0"},
		"wait=5":                {5 * time.Second, "wait=5"},
		"wait=25":               {25 * time.Second, "wait=25"},
		"wait=26":               {25 * time.Second, "wait=25"},
		"respond-async":         {0, "respond-async"},
		"respond-async, wait=4": {4 * time.Second, "wait=4"},
	} {
		t.Run(prefer, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, func(c *Config) { c.DefaultWait = 10 * time.Second })
				var header []string
				if prefer != "" {
					header = []string{"Prefer", prefer}
				}
				start := time.Now()
				w := b.get(t, usersExport, header...)
				wantStatus(t, w, http.StatusAccepted)
				if took := time.Since(start); took != want.wait {
					t.Errorf("answered after %s, want %s", took, want.wait)
				}
				if got := w.Header().Get("Preference-Applied"); got != want.applied {
					t.Errorf("Preference-Applied = %q, want %q", got, want.applied)
				}
			})
		})
	}
}

func TestExportEndsWithoutResult(t *testing.T) {
	t.Parallel()
	failed := func(code jobs.Code) jobs.Job {
		return jobs.Job{ID: jobs.NewID(), OrgID: "org1", State: jobs.Failed, Error: &jobs.JobError{Code: code, Message: "why", Remedy: "for operators"}}
	}
	for name, tc := range map[string]struct {
		job  jobs.Job
		want int
	}{
		"failed":       {failed(jobs.CodeCountMismatch), http.StatusInternalServerError},
		"too many":     {failed(jobs.CodeTooManyRows), http.StatusUnprocessableEntity},
		"too large":    {failed(jobs.CodeTooManyBytes), http.StatusUnprocessableEntity},
		"no error set": {jobs.Job{ID: jobs.NewID(), OrgID: "org1", State: jobs.Failed}, http.StatusInternalServerError},
		"canceled":     {jobs.Job{ID: jobs.NewID(), OrgID: "org1", State: jobs.Canceled}, http.StatusConflict},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.jobs.attach = &tc.job
			w := b.get(t, usersExport)
			wantStatus(t, w, tc.want)
			if got := w.Header().Get("Location"); got != "/exports/"+tc.job.ID {
				t.Errorf("Location = %q", got)
			}
			if strings.Contains(w.Body.String(), "operators") {
				t.Errorf("body shows the remedy: %s", w.Body)
			}
		})
	}
}

func TestExportSubmitErrors(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		err  error
		want int
		text string
	}{
		"full":        {&jobs.QueueFullError{Limit: 5, RunningIDs: []string{"abcdefghijklmnopqrstuvwxyz"}}, http.StatusTooManyRequests, `"runningJobIds":["abcdefghijklmnopqrstuvwxyz"]`},
		"mismatch":    {jobs.ErrIdempotencyMismatch, http.StatusUnprocessableEntity, `"Idempotency-Key\" was used`},
		"unavailable": {jobs.ErrUnavailable, http.StatusServiceUnavailable, textUnavailable},
		"timeout":     {context.DeadlineExceeded, http.StatusServiceUnavailable, textUnavailable},
		"unknown":     {errors.New("disk on fire at 10.0.0.1"), http.StatusInternalServerError, textInternal},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.jobs.err = tc.err
			w := b.get(t, usersExport)
			wantStatus(t, w, tc.want)
			if !strings.Contains(w.Body.String(), tc.text) {
				t.Errorf("body = %s, want %s", w.Body, tc.text)
			}
			if (w.Header().Get("Retry-After") != "") != (tc.want == 429 || tc.want == 503) {
				t.Errorf("Retry-After = %q with %d", w.Header().Get("Retry-After"), tc.want)
			}
		})
	}
}

// A message that cannot be published is not the caller's trouble: the job is stored.
func TestExportQueueDown(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.queue.err = jobs.ErrUnavailable
	wantStatus(t, b.get(t, usersExport), http.StatusAccepted)
	if !strings.Contains(b.log.String(), `"warning"`) {
		t.Errorf("log = %s, want a warning", b.log)
	}
}

func TestExportHeaders(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	wantStatus(t, b.get(t, usersExport+"&birthdayMonth=3&profile=excel&formulaGuard=off",
		"Idempotency-Key", "abc-123", "Cache-Control", "max-age=0, no-cache", "X-Request-Id", "req-12345678"), http.StatusAccepted)
	s := b.jobs.submitted[0]
	if s.IdempotencyKey != "abc-123" || !s.Fresh || s.RequestID != "req-12345678" || s.KeyID != "key_one1" || s.OrgID != "org1" {
		t.Errorf("submission = %+v", s)
	}
	if p := s.Params; p.Profile() != jobs.ProfileExcel || !p.Excel() || shownFile(p)[jobs.ParamExcelForm] != nil || p.FormulaGuard() || p["birthdayMonth"] != int64(3) || !p.Flag("hasBirthday") {
		t.Errorf("params = %+v", p)
	}
	wantStatus(t, b.get(t, usersExport+"&profile=excel&delimiter=semicolon"), http.StatusUnprocessableEntity)
}

// TestExportFileParamsOfFormats: each format takes what it can do, and refuses the rest by name.
func TestExportFileParamsOfFormats(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for query, refused := range map[string]string{
		"format=jsonl&columns=ltv,id&timezone=Europe%2FPrague&compression=gzip": "",
		"format=parquet&columns=city,ltv":                                       "",
		"format=parquet&columns=city,city":                                      "columns",
		"format=parquet&columns=_rescued_data":                                  "columns",
		"format=parquet&timezone=Europe%2FPrague":                               "timezone",
		"format=parquet&timezone=UTC":                                           "",
		"format=jsonl&delimiter=tab":                                            "delimiter",
		"format=jsonl&columns=ltv,id&since=" + jobs.NewID():                     "since", // there is no such job
		"format=jsonl&columns=ltv,city&since=" + jobs.NewID():                   "since", // without ids
	} {
		w := b.get(t, usersExport+"&"+query)
		if refused == "" {
			wantStatus(t, w, http.StatusAccepted)
			continue
		}
		wantStatus(t, w, http.StatusUnprocessableEntity)
		if !strings.Contains(w.Body.String(), `"`+refused+`"`) {
			t.Errorf("%s is refused with %s", query, w.Body)
		}
	}
}

// TestExportFileParams: what is as it is by default is no parameter of the job, so that requests with and
// without it share one; what is not, is one.
func TestExportFileParams(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	all := strings.Join(dataset.VIPUsers.Headers(), ",")
	wantStatus(t, b.get(t, usersExport), http.StatusAccepted)
	wantStatus(t, b.get(t, usersExport+"&format=csv&compression=none&delimiter=comma&header=on&timezone=UTC&columns="+all), http.StatusAccepted)
	wantStatus(t, b.get(t, usersExport+"&compression=gzip&delimiter=semicolon&header=off&timezone=Europe%2FPrague&columns=ltv,id"), http.StatusAccepted)
	plain, same, chosen := b.jobs.submitted[0].Params, b.jobs.submitted[1].Params, b.jobs.submitted[2].Params
	if !reflect.DeepEqual(plain, same) {
		t.Errorf("params with defaults = %v, want %v", same, plain)
	}
	want := maps.Clone(plain)
	maps.Copy(want, jobs.Params{"compression": "gzip", "delimiter": "semicolon", "header": "off", "timezone": "Europe/Prague", "columns": "ltv,id"})
	if !reflect.DeepEqual(chosen, want) || chosen.Extension() != ".csv.gz" {
		t.Errorf("params = %v, want %v", chosen, want)
	}
	if shown := shownParams("vip-users", chosen); !reflect.DeepEqual(shown, want) {
		t.Errorf("shown are %v, want %v", shown, want)
	}
}

func TestCallbackURL(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		key, param string
		want       int
		url        string
	}{
		"none":            {"key_one1", "", 202, ""},
		"given":           {"key_one1", "&callbackUrl=https://hooks.example.com/x%3Ftoken=t", 202, "https://hooks.example.com/x?token=t"},
		"http":            {"key_one1", "&callbackUrl=http://hooks.example.com/", 422, ""},
		"address":         {"key_one1", "&callbackUrl=https://127.0.0.1/", 422, ""},
		"empty":           {"key_one1", "&callbackUrl=", 422, ""},
		"default":         {"key_hook", "", 202, "https://hooks.customer.com/default"},
		"allowed host":    {"key_hook", "&callbackUrl=https://hooks.customer.com/y", 202, "https://hooks.customer.com/y"},
		"host not listed": {"key_hook", "&callbackUrl=https://hooks.example.com/y", 422, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			w := b.do(request(t, tc.key, http.MethodGet, usersExport+tc.param))
			wantStatus(t, w, tc.want)
			if tc.want == 422 {
				if got := faultsOf(t, w); got != "callbackUrl string.uri" {
					t.Errorf("faults = %s", got)
				}
				return
			}
			if got := b.jobs.submitted[0].CallbackURL; got != tc.url {
				t.Errorf("callback URL = %q, want %q", got, tc.url)
			}
		})
	}
}
