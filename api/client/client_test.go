package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"exportd/internal/apikey"
	"exportd/internal/e2e/e2etest"
)

func TestMain(m *testing.M) { os.Exit(e2etest.Run(m)) }

const testSecret = "secret-of-the-tests"

const testJob = "abcdefghijklmnopqrstuvwxyz"

// service answers like exportd, with the faults that a test scripts. It is a RoundTripper, so that tests run
// in a bubble of synctest, where waiting takes no time.
type service struct {
	t      testing.TB
	file   []byte
	states []State // of the job, one per look; the last stays

	mu       sync.Mutex
	faults   []func(r *http.Request) (*http.Response, error) // one per request, nil: none
	requests []*http.Request
	links    int
}

func (s *service) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, r)
	var fault func(*http.Request) (*http.Response, error)
	if len(s.faults) > 0 {
		fault, s.faults = s.faults[0], s.faults[1:]
	}
	if fault != nil {
		return fault(r)
	}
	w := httptest.NewRecorder()
	if r.URL.Host == "files.test" {
		if r.Header.Get("X-Api-Key") != "" || r.Header.Get("X-Signature") != "" {
			s.t.Errorf("the link to the file was asked for with signed headers")
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(s.file))
		return w.Result(), nil
	}
	date := r.Header.Get("X-Date")
	if at, err := time.Parse(time.RFC3339, date); err != nil || time.Since(at).Abs() > time.Second {
		s.t.Errorf("x-date = %q at %s", date, time.Now())
	}
	if r.Header.Get("X-Api-Key") != "key_test" || r.Header.Get("X-Signature") != apikey.Sign(testSecret, date) {
		s.t.Errorf("wrong signature")
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Request-Id", "request-1")
	switch r.URL.Path {
	case "/vip-users/export", "/vip-messages/export":
		w.Header().Set("Location", "/exports/"+testJob)
		w.Header().Set("Retry-After", "2")
		w.WriteHeader(http.StatusAccepted)
		fmt.Fprint(w, "{}")
	case "/exports/" + testJob:
		state := s.states[0]
		if len(s.states) > 1 {
			s.states = s.states[1:]
		}
		w.Header().Set("Retry-After", "3")
		s.check(json.NewEncoder(w).Encode(s.job(state)))
	default:
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `{"message":"no such route"}`)
	}
	return w.Result(), nil
}

func (s *service) check(err error) {
	if err != nil {
		s.t.Error(err)
	}
}

func (s *service) job(state State) *Job {
	j := &Job{JobID: testJob, Kind: KindVipUsers, State: state}
	switch state {
	case StateSucceeded:
		s.links++
		n, size := int64(3), int64(len(s.file))
		sum := base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, crc32.Checksum(s.file, crc32.MakeTable(crc32.Castagnoli))))
		link := fmt.Sprintf("https://files.test/f?X-Goog-Signature=hidden%d", s.links)
		j.TotalCount, j.SizeBytes, j.Crc32C, j.CSVURL = &n, &size, &sum, &link
	case StateFailed:
		j.Error = &JobError{Code: ErrorCodeTOOMANYROWS, Message: "too many rows"}
	}
	return j
}

// answer answers with a status, and cut breaks the connection after n bytes of the file.
func answer(status int, header http.Header, body string) func(*http.Request) (*http.Response, error) {
	return func(r *http.Request) (*http.Response, error) {
		w := httptest.NewRecorder()
		maps.Copy(w.Header(), header)
		w.WriteHeader(status)
		w.WriteString(body)
		return w.Result(), nil
	}
}

func refused(*http.Request) (*http.Response, error) { return nil, errors.New("connection refused") }

func (s *service) cut(n int) func(*http.Request) (*http.Response, error) {
	return func(r *http.Request) (*http.Response, error) {
		w := httptest.NewRecorder()
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(s.file))
		response := w.Result()
		response.Body = io.NopCloser(io.MultiReader(io.LimitReader(response.Body, int64(n)), brokenReader{}))
		return response, nil
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errors.New("connection reset") }

func newService(t testing.TB, states ...State) (*service, *Client) {
	t.Helper()
	file := make([]byte, 100_000)
	_, _ = rand.Read(file)
	s := &service{t: t, file: file, states: states}
	c, err := New(Config{BaseURL: "https://api.test", Key: "key_test", Secret: testSecret, Transport: s})
	if err != nil {
		t.Fatal(err)
	}
	return s, c
}

var users = Request{Kind: KindVipUsers, WorkspaceID: "ws1", MediumID: "ch1"}

func TestExport(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, c := newService(t, StateQueued, StateRunning, StateRunning, StateSucceeded)
		var seen []State
		r := users
		r.OnProgress = func(j *Job) { seen = append(seen, j.State) }
		result, err := c.Export(t.Context(), r)
		if err != nil {
			t.Fatalf("Export = %v", err)
		}
		if result.TotalCount != 3 || result.Job.JobID != testJob {
			t.Errorf("Export = %d rows of job %s", result.TotalCount, result.Job.JobID)
		}
		if want := []State{StateQueued, StateRunning, StateRunning, StateSucceeded}; !slices.Equal(seen, want) {
			t.Errorf("progress = %v, want %v", seen, want)
		}
		var got bytes.Buffer
		if n, err := result.Download(t.Context(), &got); err != nil || !bytes.Equal(got.Bytes(), s.file) || n != int64(len(s.file)) {
			t.Errorf("Download = %d, %v; same file: %t", n, err, bytes.Equal(got.Bytes(), s.file))
		}
	})
}

// A service that asks to come again is left alone for as long as it says.
func TestRetryAfter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, c := newService(t, StateSucceeded)
		s.faults = []func(*http.Request) (*http.Response, error){
			refused,
			answer(429, http.Header{"Retry-After": {"60"}}, `{"message":"slow down"}`),
			answer(503, http.Header{"Retry-After": {"5"}}, `{"message":"away"}`),
			answer(502, nil, "<html>bad gateway</html>"),
		}
		began := time.Now()
		if _, err := c.Export(t.Context(), users); err != nil {
			t.Fatalf("Export = %v", err)
		}
		if took := time.Since(began); took < 65*time.Second || took > 80*time.Second {
			t.Errorf("Export took %s, want 65 s and the pauses of refused and 502", took)
		}
		dates := map[string]bool{}
		for _, r := range s.requests {
			dates[r.Header.Get("X-Date")] = true
		}
		if len(s.requests) != 6 || len(dates) < 5 {
			t.Errorf("%d requests with %d dates, want 6, each try signed anew", len(s.requests), len(dates))
		}
	})
}

// An outage ends in an error after the bound of tries, and cancelation at once.
func TestRetriesEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, c := newService(t, StateQueued)
		for range 50 {
			s.faults = append(s.faults, refused)
		}
		began := time.Now()
		if _, err := c.Export(t.Context(), users); err == nil || len(s.requests) != 10 {
			t.Errorf("Export = %v after %d requests, want an error after 10", err, len(s.requests))
		}
		if took := time.Since(began); took < 40*time.Second || took > 3*time.Minute {
			t.Errorf("ten tries took %s", took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.Export(ctx, users); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Export = %v, want the context's error", err)
		}
	})
}

func TestWaitTellsTheJob(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, c := newService(t, StateRunning)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err := c.Export(ctx, users)
		if !errors.Is(err, context.DeadlineExceeded) || JobIDOf(err) != testJob {
			t.Errorf("Export = %v of job %q, want a deadline and the job's id", err, JobIDOf(err))
		}
	})
}

func TestFailures(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, c := newService(t, StateRunning, StateFailed)
		_, err := c.Export(t.Context(), users)
		failed, ok := errors.AsType[*FailedError](err)
		if !ok || failed.Job.Error.Code != ErrorCodeTOOMANYROWS || JobIDOf(err) != testJob {
			t.Errorf("Export = %v, want the failure of the job", err)
		}
		s.faults = append(s.faults, answer(422, http.Header{"X-Request-Id": {"r-1"}},
			`{"error":[{"message":"\"from\" is required","path":["from"],"type":"any.required","context":{"key":"from"}}]}`))
		before := len(s.requests)
		_, err = c.Export(t.Context(), Request{Kind: KindVipMessages})
		refusal, ok := errors.AsType[*Error](err)
		if !ok || refusal.Status != 422 || len(refusal.Faults) != 1 || refusal.RequestID != "r-1" || !strings.Contains(err.Error(), `"from" is required`) {
			t.Errorf("Export = %v, want the 422", err)
		}
		if len(s.requests) != before+1 {
			t.Errorf("a 422 was tried again")
		}
		if _, err := c.Export(t.Context(), Request{Kind: "vip"}); err == nil {
			t.Error("Export of an unknown kind = nil")
		}
	})
}

// What starts something is sent once; what asks or ends is sent again.
func TestPostIsSentOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, c := newService(t, StateRunning)
		away := answer(503, nil, `{"message":"away"}`)
		s.faults = []func(*http.Request) (*http.Response, error){away, away, away}
		if _, err := c.OpsRerunJob(t.Context(), testJob, OpsRerunJobJSONRequestBody{Reason: "test"}); StatusOf(err) != 503 || len(s.requests) != 1 {
			t.Errorf("OpsRerunJob = %v after %d requests, want 503 after 1", err, len(s.requests))
		}
		if _, err := c.CancelJob(t.Context(), testJob, CancelJobJSONRequestBody{}); StatusOf(err) != 404 || len(s.requests) != 4 {
			t.Errorf("CancelJob = %v after %d requests, want to get through with the third", err, len(s.requests)-1)
		}
		for _, r := range s.requests[1:] {
			if body, _ := io.ReadAll(r.Body); len(body) == 0 {
				t.Error("a try had no body")
			}
		}
	})
}

func TestFreshIsIdempotent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, c := newService(t, StateSucceeded)
		s.faults = []func(*http.Request) (*http.Response, error){refused}
		r := users
		r.Fresh = true
		if _, err := c.Export(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		a, b := s.requests[0].Header, s.requests[1].Header
		if key := a.Get("Idempotency-Key"); key == "" || key != b.Get("Idempotency-Key") || b.Get("Cache-Control") != "no-cache" {
			t.Errorf("keys of two tries = %q, %q", key, b.Get("Idempotency-Key"))
		}
	})
}

// TestRequest: all that a request says is asked for, whatever the kind.
func TestRequest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, c := newService(t, StateSucceeded)
		_, err := c.Submit(t.Context(), Request{
			Kind: KindVipUsers, WorkspaceID: "w", MediumID: "m", HasBirthday: true, BirthdayMonth: 5, From: "a", To: "b", Label: "l", ContentType: ContentTypeText,
			Params: map[string]string{"more": "x&y"}, Profile: ProfileExcel, NoFormulaGuard: true, CallbackURL: "https://c.test/", Fresh: true, IdempotencyKey: "once",
		})
		if err != nil {
			t.Fatal(err)
		}
		want := url.Values{
			"workspaceId": {"w"}, "mediumId": {"m"}, "hasBirthday": {"true"}, "birthdayMonth": {"5"}, "from": {"a"}, "to": {"b"}, "label": {"l"}, "contentType": {"text"},
			"more": {"x&y"}, "profile": {"excel"}, "formulaGuard": {"off"}, "callbackUrl": {"https://c.test/"},
		}
		r := s.requests[0]
		if got := r.URL.Query(); got.Encode() != want.Encode() || r.URL.Path != "/vip-users/export" {
			t.Errorf("it asks for %s, want %s", r.URL, want.Encode())
		}
		if h := r.Header; h.Get("Prefer") != "respond-async" || h.Get("Cache-Control") != "no-cache" || h.Get("Idempotency-Key") != "once" {
			t.Errorf("headers = %v", h)
		}
		if _, err := c.Submit(t.Context(), Request{Kind: KindVipMessages}); err != nil || s.requests[2].URL.RawQuery != "" {
			t.Errorf("an empty request asks for %s, %v", s.requests[2].URL, err)
		}
	})
}

// TestListRows: pages of either kind, whatever the rows are called.
func TestListRows(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, c := newService(t)
		s.faults = []func(*http.Request) (*http.Response, error){
			answer(200, nil, `{"total":7,"nextOffset":2,"users":[{"id":"a"},{"id":"b"}]}`),
			answer(200, nil, `{"note":"x","rows":[],"nextCursor":"c"}`),
			answer(200, nil, `{"total":7,"nextOffset":null,"users":[{"id":"a"}]}`),
			answer(200, nil, `{"total":"many","users":[]}`),
		}
		page, err := c.ListRows(t.Context(), KindVipUsers, url.Values{"limit": {"2"}})
		if err != nil || len(page.Rows) != 2 || *page.Total != 7 || *page.NextOffset != 2 || page.NextCursor != nil || s.requests[0].URL.RawQuery != "limit=2" {
			t.Errorf("ListRows = %+v, %v", page, err)
		}
		page, err = c.ListRows(t.Context(), "orders", nil)
		if err != nil || page.Rows == nil || len(page.Rows) != 0 || page.Total != nil || *page.NextCursor != "c" {
			t.Errorf("ListRows = %+v, %v", page, err)
		}
		if page, err = c.ListRows(t.Context(), KindVipUsers, nil); err != nil || page.NextOffset != nil || string(page.Rows[0]) != `{"id":"a"}` {
			t.Errorf("ListRows = %+v, %v", page, err)
		}
		if _, err = c.ListRows(t.Context(), KindVipUsers, nil); err == nil || !strings.Contains(err.Error(), "total") {
			t.Errorf("ListRows of a total that is none = %v", err)
		}
	})
}

// TestListsBeginAnew: a list that was left early is gone through from its first page the next time.
func TestListsBeginAnew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, c := newService(t)
		isJSON := http.Header{"Content-Type": {"application/json"}}
		jobs := func(id, next string) func(*http.Request) (*http.Response, error) {
			return answer(200, isJSON, fmt.Sprintf(`{"jobs":[{"jobId":%q}],"nextPageToken":%s}`, id, next))
		}
		rows := func(id, next string) func(*http.Request) (*http.Response, error) {
			return answer(200, isJSON, fmt.Sprintf(`{"rows":[{"id":%q}],"nextCursor":%s}`, id, next))
		}
		s.faults = []func(*http.Request) (*http.Response, error){
			jobs("a", `"2"`), jobs("b", `"3"`), jobs("a", "null"), rows("a", `"2"`), rows("b", `"3"`), rows("a", "null"),
		}
		allJobs, allRows := c.AllJobs(t.Context(), ListJobsParams{}), c.AllRows(t.Context(), "orders", nil)
		for job, err := range allJobs {
			if err != nil || job.JobID == "b" {
				break
			}
		}
		for _, err := range allJobs {
			if err != nil {
				t.Error(err)
			}
		}
		for row, err := range allRows {
			if err != nil || string(row) == `{"id":"b"}` {
				break
			}
		}
		for _, err := range allRows {
			if err != nil {
				t.Error(err)
			}
		}
		var asked []string
		for _, r := range s.requests {
			asked = append(asked, r.URL.Path+"?"+r.URL.RawQuery)
		}
		want := []string{"/exports?", "/exports?pageToken=2", "/exports?", "/orders?", "/orders?cursor=2", "/orders?"}
		if !slices.Equal(asked, want) {
			t.Errorf("asked for %q, want %q", asked, want)
		}
	})
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]Config{
		"no URL":    {Key: "k", Secret: "s"},
		"no scheme": {BaseURL: "api.test", Key: "k", Secret: "s"},
		"plain":     {BaseURL: "http://api.test", Key: "k", Secret: "s"},
		"user":      {BaseURL: "https://u:p@api.test", Key: "k", Secret: "s"},
		"no key":    {BaseURL: "https://api.test", Secret: "s"},
		"no secret": {BaseURL: "https://api.test", Key: "k"},
		"version":   {BaseURL: "https://api.test", Key: "k", Secret: "s", SignatureVersion: 3},
		"tries":     {BaseURL: "https://api.test", Key: "k", Secret: "s", Attempts: -1},
	} {
		if _, err := New(c); err == nil {
			t.Errorf("New(%s) = nil", name)
		}
	}
	for _, base := range []string{"http://127.0.0.1:8080", "http://localhost:1", "http://[::1]:80/", "https://api.test/base"} {
		if _, err := New(Config{BaseURL: base, Key: "k", Secret: "s"}); err != nil {
			t.Errorf("New(%s) = %v", base, err)
		}
	}
}
