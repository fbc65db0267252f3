package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gin-gonic/gin"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"exportd/internal/apikey"
	"exportd/internal/csvrow/csvrowtest"
	"exportd/internal/dataset"
	"exportd/internal/jsonrow"
	"exportd/internal/records"
	"exportd/internal/version"
	"exportd/internal/vip"
	"exportd/jobs"
)

// rowOf is the page of one document.
func rowOf(t *testing.T, d *dataset.Dataset, id string, fields map[string]any) []json.RawMessage {
	t.Helper()
	row, err := jsonrow.NewEncoder(d, jsonrow.Options{}).AppendRow(nil, csvrowtest.Document("projects/p/databases/d/documents/C/"+id, fields))
	if err != nil {
		t.Fatal(err)
	}
	return []json.RawMessage{row}
}

func TestListUsers(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.records.rows = 20
	b.records.page = records.Page{Rows: rowOf(t, dataset.VIPUsers, "u1", map[string]any{"ltv": "12.50"}), Next: &vip.Position{ID: "u1"}}
	w := b.get(t, "/vip-users?workspaceId=ws1&mediumId=ch1&hasBirthday=True&limit=200&offset=10")
	wantStatus(t, w, http.StatusOK)
	want := `{"nextOffset":11,"total":20,"users":[{"id":"u1","playerId":"","displayName":"","avatarUrl":"","language":"","country":"","ltv":12.50,` +
		`"currency":"","tier":"","tags":[],"firstSeenAt":null,"lastSeenAt":null,` +
		`"personalInfo":{"fullName":"","gender":"","birthday":null,"email":"","phone":"","city":""}}]}`
	if got := w.Body.String(); got != want {
		t.Errorf("body =\n%s\nwant\n%s", got, want)
	}
	if b.records.offset != 10 || b.records.limit != 200 || len(b.records.query.Conditions) != 3 {
		t.Errorf("page of %+v at %d, %d", b.records.query, b.records.offset, b.records.limit)
	}
	b.records.page = records.Page{}
	if got := b.get(t, "/vip-users?workspaceId=ws1&mediumId=ch1").Body.String(); got != `{"nextOffset":null,"total":20,"users":[]}` {
		t.Errorf("empty page = %s", got)
	}
	if b.records.limit != pageRows {
		t.Errorf("default limit = %d", b.records.limit)
	}
}

// The cursor that an answer gives leads to where it says, and only in the same query.
func TestListMessagesCursor(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	next := vip.Position{Key: vip.TimeKey(noon), ID: "m1"}
	b.records.page = records.Page{Rows: rowOf(t, dataset.VIPMessages, "m1", map[string]any{"timestamp": noon}), Next: &next}
	const path = "/vip-messages?workspaceId=ws1&mediumId=ch1&from=2026-06-01&to=2026-06-30"
	cursor, _ := decode(t, b.get(t, path))["nextCursor"].(string)
	if cursor == "" {
		t.Fatal("no cursor")
	}
	wantStatus(t, b.get(t, path+"&before="+cursor), http.StatusOK)
	if b.records.after == nil || b.records.after.String() != next.String() {
		t.Errorf("page after %v, want %v", b.records.after, next)
	}
	for _, other := range []string{"&label=x", "&contentType=text"} {
		w := b.get(t, path+other+"&before="+cursor)
		wantStatus(t, w, http.StatusUnprocessableEntity)
		if got := faultsOf(t, w); got != "before date.format" {
			t.Errorf("faults = %s", got)
		}
	}
	wantStatus(t, b.get(t, strings.Replace(path, "ws1", "plain", 1)+"&before="+cursor), http.StatusUnprocessableEntity)

	b.records.page = records.Page{}
	if got := b.get(t, path+"&before=2026-06-10T00:00:00.000001Z").Body.String(); got != `{"messages":[],"nextCursor":null}` {
		t.Errorf("empty page = %s", got)
	}
	if at, ok := vip.KeyTime(b.records.after.Key); !ok || !at.Equal(time.Date(2026, 6, 10, 0, 0, 0, 0, time.UTC)) || b.records.after.ID != "" {
		t.Errorf("before a time = after %s %q, want strictly older rows", at, b.records.after.ID)
	}
}

func TestOverview(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	const path = "/vip-labels/overview?workspaceId=ws1&mediumId=ch1&from=2026-06-01&to=2026-06-01"
	if got := b.get(t, path).Body.String(); got != `{"labels":[],"total":7}` {
		t.Errorf("body = %s", got)
	}
	b.records.counts = []records.LabelCount{{Label: "a", Count: 2}}
	if got := b.get(t, path).Body.String(); got != `{"labels":[],"total":7}` {
		t.Errorf("an overview costs a read for each message; asked again at once: %s", got)
	}
	if got := b.get(t, path+"T12:00:00Z").Body.String(); got != `{"labels":[{"label":"a","count":2}],"total":7}` {
		t.Errorf("body = %s", got)
	}
}

// A window of too many messages says how many it has, and is counted once a minute.
func TestOverviewTooLarge(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.records.total = records.OverviewRows + 1
	const path = "/vip-labels/overview?workspaceId=ws1&mediumId=ch1&from=2026-06-01&to=2026-06-30"
	for range 2 {
		w := b.get(t, path)
		wantStatus(t, w, http.StatusUnprocessableEntity)
		if got := faultsOf(t, w); got != "to any.only" || !strings.Contains(w.Body.String(), "2500001") {
			t.Errorf("faults = %s: %s", got, w.Body)
		}
		b.records.total = 7
	}
	b.records.total = records.OverviewRows
	wantStatus(t, b.get(t, path+"T12:00:00Z"), http.StatusOK)
}

// A window of too many labels says how many an overview takes, and is read once a minute.
func TestOverviewOfTooManyLabels(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.records.crowd = true
	const path = "/vip-labels/overview?workspaceId=ws1&mediumId=ch1&from=2026-06-01&to=2026-06-30"
	for range 2 {
		w := b.get(t, path)
		wantStatus(t, w, http.StatusUnprocessableEntity)
		if got := faultsOf(t, w); got != "to any.only" || !strings.Contains(w.Body.String(), "at most 100000 labels in the window, of 4194304 bytes together: its 7 messages have more") {
			t.Errorf("faults = %s: %s", got, w.Body)
		}
		b.records.crowd = false
	}
	wantStatus(t, b.get(t, path+"T12:00:00Z"), http.StatusOK)
}

// An answer of very many labels has a place, like a page of large rows.
func TestLargeOverview(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.largeWait = time.Millisecond
	b.records.counts = []records.LabelCount{{Label: strings.Repeat("x", 2*smallPage), Count: 1}}
	const path = "/vip-labels/overview?workspaceId=ws1&mediumId=ch1&from=2026-06-01&to=2026-06-30"
	wantStatus(t, b.get(t, path), http.StatusOK)
	for range largePages {
		if leave, _ := b.large.acquireAny("org2", "key_two2"); leave == nil {
			t.Fatal("no place")
		}
	}
	wantStatus(t, b.get(t, path), http.StatusTooManyRequests)
}

// Overviews under way are bounded, and an org leaves places to others.
func TestOverviewPlaces(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.records.counting = true
		windows := []string{"2026-06-01&to=2026-06-02", "2026-06-01&to=2026-06-03", "2026-06-01&to=2026-06-04"}
		const path = "/vip-labels/overview?workspaceId=ws1&mediumId=ch1&from="
		var open sync.WaitGroup
		for _, window := range windows[:2] {
			r := request(t, "key_one1", http.MethodGet, path+window)
			open.Go(func() { b.do(r) })
		}
		// The same window again waits for the same answer and takes no place.
		again := request(t, "key_one1", http.MethodGet, path+windows[0])
		open.Go(func() { b.do(again) })
		synctest.Wait()
		w := b.get(t, path+windows[2])
		wantStatus(t, w, http.StatusTooManyRequests)
		if w.Header().Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
		other := request(t, "key_two2", http.MethodGet, "/vip-labels/overview?workspaceId=ws2&mediumId=ch2&from="+windows[0])
		answer := make(chan *httptest.ResponseRecorder, 1)
		open.Go(func() { answer <- b.do(other) })
		synctest.Wait()
		if got := b.overviewing.taken(); got != 3 {
			t.Errorf("%d overviews under way, want the two of one org and one of the other", got)
		}
		open.Wait()
		wantStatus(t, <-answer, http.StatusServiceUnavailable)
		if got := b.overviewing.taken(); got != 0 {
			t.Errorf("%d places are held at the end", got)
		}
	})
}

// Behind the last row nothing is read, and pages that skip many rows are bounded: an org leaves places to
// others, and who goes on by nextOffset needs none.
func TestFarPages(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.records.rows = 10_000
		list := func(key string, offset int) *http.Request {
			n := map[string]string{"key_one1": "1", "key_two2": "2"}[key]
			return request(t, key, http.MethodGet, "/vip-users?workspaceId=ws"+n+"&mediumId=ch"+n+"&offset="+strconv.Itoa(offset))
		}
		for _, offset := range []int{10_000, maxOffset} {
			w := b.do(list("key_one1", offset))
			wantStatus(t, w, http.StatusOK)
			if got := w.Body.String(); b.records.pages != 0 || got != `{"nextOffset":null,"total":10000,"users":[]}` {
				t.Errorf("at %d %d pages are read: %s", offset, b.records.pages, got)
			}
		}
		wantStatus(t, b.do(list("key_one1", 9_999)), http.StatusOK)
		b.records.paging = true
		var open sync.WaitGroup
		for i := range 4 {
			r := list("key_one1", farRows+1+i)
			open.Go(func() { b.do(r) })
		}
		synctest.Wait()
		w := b.do(list("key_one1", 5000))
		wantStatus(t, w, http.StatusTooManyRequests)
		if w.Header().Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
		for _, r := range []*http.Request{list("key_two2", 5000), list("key_one1", farRows)} { // others, and near ones
			open.Go(func() { b.do(r) })
		}
		synctest.Wait()
		if got := b.skipping.taken(); got != 5 || b.records.pages != 7 {
			t.Errorf("%d far pages under way of %d, want the four of one org and one of the other", got, b.records.pages)
		}
		open.Wait()
		if got := b.skipping.taken(); got != 0 {
			t.Errorf("%d places are held at the end", got)
		}
	})
}

func TestDirectory(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for path, want := range map[string]string{
		"/workspaces":               `{"workspaces":[]}`,
		"/channels":                 `ch1 loose ch3`,
		"/channels?workspaceId=ws1": `ch1 ch3`,
	} {
		w := b.get(t, path)
		wantStatus(t, w, http.StatusOK)
		got := w.Body.String()
		if list, ok := decode(t, w)["channels"].([]any); ok {
			ids := make([]string, len(list))
			for i, c := range list {
				ids[i] = c.(map[string]any)["id"].(string)
			}
			got = strings.Join(ids, " ")
		}
		if got != want {
			t.Errorf("GET %s = %s, want %s", path, got, want)
		}
	}
}

// A read that does not end is a 503, and a caller that hangs up is no error.
func TestReadsAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.records.blocking = true
		start := time.Now()
		w := b.get(t, "/workspaces")
		if w.Code != http.StatusServiceUnavailable || time.Since(start) != quick {
			t.Errorf("blocked read = %d after %s, want 503 after %s", w.Code, time.Since(start), quick)
		}
		r := request(t, "key_one1", http.MethodGet, "/workspaces")
		ctx, cancel := context.WithCancel(r.Context())
		time.AfterFunc(time.Second, cancel)
		b.do(r.WithContext(ctx))
		if !strings.Contains(b.log.String(), `"status":499`) {
			t.Errorf("log = %s, want status 499", b.log)
		}
	})
}

// hangingUp is a store that is asked as the caller hangs up.
type hangingUp struct {
	*fakeJobs
	hangUp func()
}

func (h *hangingUp) GetOf(context.Context, string, string) (*jobs.Job, error) {
	h.hangUp()
	return nil, fmt.Errorf("%w: %w", jobs.ErrUnavailable, status.Error(codes.Canceled, "context canceled"))
}

// What gRPC says of a caller that hung up is no fault of the service's, which would wake somebody.
func TestHangUpIsNoFault(t *testing.T) {
	t.Parallel()
	store := &hangingUp{}
	b := newBench(t, func(c *Config) { store.fakeJobs, c.Jobs = c.Jobs.(*fakeJobs), store })
	r := request(t, "key_one1", http.MethodGet, "/exports/aaaaaaaaaaaaaaaaaaaaaaaaaa")
	ctx, cancel := context.WithCancel(r.Context())
	store.hangUp = func() {}
	if w := b.do(r); w.Code != http.StatusServiceUnavailable { // who is there is told
		t.Errorf("a caller who waits is answered %d: %s", w.Code, w.Body)
	}
	store.hangUp = cancel
	b.log.Reset()
	if w := b.do(request(t, "key_one1", http.MethodGet, "/exports/aaaaaaaaaaaaaaaaaaaaaaaaaa").WithContext(ctx)); w.Code != statusClientGone || strings.Contains(b.log.String(), `"severity":"ERROR"`) {
		t.Errorf("answer %d, log %s, want status %d and no error", w.Code, b.log, statusClientGone)
	}
}

// A caller who is still there is told what is wrong, 503 or for a panic 500, and never that he has hung up;
// on routes with a time of their own, too, whose contexts end first.
func TestFaultIsNoHangUp(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for want, do := range map[int]endpoint{
		http.StatusServiceUnavailable:  func(*gin.Context, *apikey.Key) error { return fmt.Errorf("%w: away", jobs.ErrUnavailable) },
		http.StatusInternalServerError: func(*gin.Context, *apikey.Key) error { panic("here") },
	} {
		for _, timeout := range []time.Duration{0, quick} {
			e := gin.New()
			e.Use(b.Server.watch)
			e.GET("/it", b.Server.handle(route{http.MethodGet, "/it", nil, timeout, do}))
			w := httptest.NewRecorder()
			e.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/it", nil))
			wantStatus(t, w, want)
		}
	}
}

func TestHealth(t *testing.T) {
	t.Parallel()
	down, broken := jobs.ErrUnavailable, false
	var cutOff error
	b := newBench(t, func(c *Config) {
		c.Alive = func() error { return cutOff }
		c.Build = version.Build{Version: "0.1.0", Commit: "b0ff6e2d3246", Modified: true}
		c.Checks = []Check{
			{"firestore", func(context.Context) error { return nil }},
			{"pubsub", func(context.Context) error {
				if broken {
					return down
				}
				return nil
			}},
		}
	})
	ask := func(path string) (int, string) {
		r := request(t, "", http.MethodGet, path)
		r.Header = http.Header{}
		w := b.do(r)
		return w.Code, w.Body.String()
	}
	if code, body := ask("/healthz"); code != 200 || body != `{"commit":"b0ff6e2d3246","modified":true,"status":"ok","version":"0.1.0"}` {
		t.Errorf("healthz = %d %s", code, body)
	}
	if code, body := ask("/readyz"); code != 200 || body != `{"checks":{"firestore":"ok","pubsub":"ok"},"status":"ok"}` {
		t.Errorf("readyz = %d %s", code, body)
	}
	broken = true
	if code, _ := ask("/readyz"); code != 200 {
		t.Errorf("readyz asked again within a second = %d", code)
	}
	b.readiness.at = time.Time{}
	if code, body := ask("/readyz"); code != 503 || body != `{"checks":{"firestore":"ok","pubsub":"unavailable"},"status":"unavailable"}` {
		t.Errorf("readyz = %d %s", code, body)
	}
	cutOff = errors.New("nothing has got through")
	if code, body := ask("/healthz"); code != 503 || body != `{"commit":"b0ff6e2d3246","modified":true,"status":"cut off","version":"0.1.0"}` {
		t.Errorf("healthz of a process that is cut off = %d %s", code, body)
	}
	_, unknown := ask("/nothing-here")
	for _, path := range []string{"/metrics", "/livez", "/metrics/", "/debug/pprof/"} { // operators have a port of their own
		if code, body := ask(path); code != 404 || body != unknown {
			t.Errorf("%s = %d %s, want 404 as for any route that is none", path, code, body)
		}
	}
	b.drain()
	if code, body := ask("/readyz"); code != 503 || !strings.Contains(body, `"server":"stopping"`) {
		t.Errorf("readyz = %d %s", code, body)
	}
}

func TestNewChecksItsConfig(t *testing.T) {
	t.Parallel()
	_, err := New(Config{DefaultWait: time.Minute, URLLife: 13 * time.Hour, MaxWaits: -1})
	for _, want := range []string{"Keys", "Records", "Jobs", "Queue", "Objects", "DefaultWait", "URLLife", "MaxWaits"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New = %v, want %s named", err, want)
		}
	}
}
