package api

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"exportd/internal/panics"
	"exportd/internal/records"
	"exportd/internal/vip"
	"exportd/jobs"
)

// minedRecords, minedJobs and minedObjects panic where a request asks them in goroutines of its own.
type minedRecords struct{ *fakeRecords }

func (minedRecords) Page(context.Context, vip.Query, *vip.Position, int, int, int, records.RowEncoder) (records.Page, error) {
	panic("stepped on a mine")
}

type minedJobs struct{ *fakeJobs }

func (minedJobs) Watch(context.Context, string, func(*jobs.Job) bool) error {
	panic("stepped on a mine")
}

func (minedJobs) TopRollups(context.Context, time.Time) ([]*jobs.Rollup, bool, error) {
	panic("stepped on a mine")
}

type minedObjects struct{ *fakeObjects }

func (minedObjects) Holds(context.Context, string, int64, uint32) (bool, error) {
	panic("stepped on a mine")
}

// TestPanicBesideARequest: a panic in a goroutine that a request begins is that request's fault: the others
// are answered. It is counted once, and there is a line by which Error Reporting groups it.
func TestPanicBesideARequest(t *testing.T) {
	t.Parallel()
	done := succeeded()
	for name, tc := range map[string]struct {
		key, method, target, body string
		status                    int
		told                      string // the line
	}{
		"page":      {"key_one1", http.MethodGet, "/vip-users?workspaceId=ws1&mediumId=ch1", "", http.StatusInternalServerError, "request"},
		"events":    {"key_one1", http.MethodGet, "/exports/" + done.ID + "/events", "", http.StatusOK, "panic"},
		"readiness": {"", http.MethodGet, "/readyz", "", http.StatusServiceUnavailable, "request"},
		"window":    {"key_ops1", http.MethodGet, "/ops/stats?since=12h", "", http.StatusInternalServerError, "request"},
		"files":     {"key_ops1", http.MethodPost, "/ops/jobs/rerun", `{"reason":"r","dryRun":true,"filter":{"fileLost":true}}`, http.StatusInternalServerError, "request"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, func(c *Config) {
				fake := minedJobs{c.Jobs.(*fakeJobs)}
				c.Records, c.Jobs, c.Operations, c.Objects = minedRecords{c.Records.(*fakeRecords)}, fake, fake, minedObjects{c.Objects.(*fakeObjects)}
				c.Checks = []Check{{Name: "firestore", Run: func(context.Context) error { panic("stepped on a mine") }}}
				c.Panics = panics.NewReporter(c.Logger)
			})
			b.jobs.set(done)
			b.jobs.page.Jobs = []*jobs.Job{&done}
			r := request(t, tc.key, tc.method, tc.target)
			if tc.body != "" {
				r.Body, r.ContentLength = io.NopCloser(strings.NewReader(tc.body)), int64(len(tc.body))
			}
			if w := b.do(r); w.Code != tc.status || strings.Contains(w.Body.String(), "mine") {
				t.Errorf("it is answered %d %s, want %d", w.Code, w.Body, tc.status)
			}
			if n := counted(t, b.panics, "exportd_panics_total", "request"); n != 1 {
				t.Errorf("%v panics are counted", n)
			}
			told := 0
			for text := range strings.Lines(b.log.String()) {
				var line struct {
					Msg   string
					Stack string `json:"stack_trace"`
				}
				if err := json.Unmarshal([]byte(text), &line); err != nil {
					t.Fatal(err)
				}
				if line.Stack == "" {
					continue
				}
				told++
				if line.Msg != tc.told || !strings.HasPrefix(line.Stack, "panic: stepped on a mine\n\n") {
					t.Errorf("it is told by %s", text)
				}
			}
			if told != 1 {
				t.Errorf("%d lines of it: %s", told, b.log)
			}
		})
	}
}

// counted is the value of a metric of a collector, by its only label.
func counted(t *testing.T, c prometheus.Collector, name, label string) (n float64) {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(c)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && m.GetLabel()[0].GetValue() == label {
				n += m.GetCounter().GetValue()
			}
		}
	}
	return n
}

// TestPanicOfTheListener: what accepts connections may have counted wrong: the process ends, in order, and
// says so.
func TestPanicOfTheListener(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	l, err := Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	err = b.Serve(t.Context(), minedListener{l})
	if _, ok := panics.Of(err); !ok || counted(t, b.panics, "exportd_panics_total", "listener") != 1 || !strings.Contains(b.log.String(), "stepped on a mine") {
		t.Errorf("Serve = %v, log %s", err, b.log)
	}
}

type minedListener struct{ net.Listener }

func (minedListener) Accept() (net.Conn, error) { panic("stepped on a mine") }

// TestAnswersWithoutBody: an answer that has no body is logged and counted as what it is, not as a caller who
// hung up: the route's own time is over by then.
func TestAnswersWithoutBody(t *testing.T) {
	t.Parallel()
	done := succeeded()
	for name, tc := range map[string]struct {
		method, path string
		status       int
	}{
		"deleted":      {http.MethodDelete, "", http.StatusNoContent},
		"file":         {http.MethodGet, "/csv", http.StatusFound},
		"not modified": {http.MethodGet, "", http.StatusNotModified},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			registry := prometheus.NewRegistry()
			b := newBench(t, func(c *Config) { c.Metrics = registry })
			b.jobs.set(done)
			r := request(t, "key_one1", tc.method, "/exports/"+done.ID+tc.path)
			if tc.status == http.StatusNotModified {
				r.Header.Set("If-None-Match", b.get(t, "/exports/"+done.ID).Header().Get("ETag"))
			}
			b.log.Reset()
			wantStatus(t, b.do(r), tc.status)
			if want := fmt.Sprintf(`"status":%d`, tc.status); strings.Count(b.log.String(), want) != 2 { // the line's, and httpRequest's
				t.Errorf("log = %s, want %s", b.log, want)
			}
			families, err := registry.Gather()
			if err != nil {
				t.Fatal(err)
			}
			statuses := map[string]bool{}
			for _, f := range families {
				for _, m := range f.GetMetric() {
					for _, l := range m.GetLabel() {
						statuses[l.GetName()+l.GetValue()] = true
					}
				}
			}
			if !statuses[fmt.Sprintf("http_response_status_code%d", tc.status)] || statuses["http_response_status_code499"] {
				t.Errorf("requests are counted by %v", statuses)
			}
		})
	}
}
