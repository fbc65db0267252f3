package e2e

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"flag"
	"fmt"
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
	"time"

	"exportd/internal/e2e/e2etest"
	"exportd/internal/tracing/tracingtest"
)

var updateTrace = flag.Bool("update", false, "write the trace in deployments/traces.md anew")

const (
	callerTrace = "4bf92f3577b34da6a3ce929d0e0e4736"
	callerSpan  = "00f067aa0ba902b7"
	// traceWithin is for the last spans of an export, which come when its callback has been made.
	traceWithin = time.Minute
)

// tracedReceiver takes callbacks and makes a span of each, as a receiver with OpenTelemetry would.
func tracedReceiver(t *testing.T, c *tracingtest.Collector) *httptest.Server {
	var mu sync.Mutex
	n := 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begun := time.Now()
		p := strings.Split(r.Header.Get("Traceparent"), "-")
		if len(p) != 4 || r.Header.Get("Tracestate")+r.Header.Get("Baggage") != "" {
			t.Errorf("the callback has traceparent %q", r.Header.Get("Traceparent"))
			return
		}
		mu.Lock()
		defer mu.Unlock()
		n++
		w.Header().Set("Set-Cookie", "answer=hush")
		_, _ = io.WriteString(w, "thank you, hush") // the caller sees it; nothing else does
		c.Add(tracingtest.Span{Service: "receiver", Trace: p[1], ID: fmt.Sprintf("receiver%08d", n), From: p[2], Name: "POST /hook", Kind: "server", Begun: begun, Ended: time.Now()})
	}))
	t.Cleanup(s.Close)
	return s
}

// TestTraceOfAnExport: one export of 20 parts with a callback, by an API and two workers, is one tree, from
// the caller's span to the receiver's; with the time of each part, and nothing that nobody should read.
func TestTraceOfAnExport(t *testing.T) {
	t.Parallel()
	c := tracingtest.Start(t)
	_, hosts := e2etest.Emulators(t, exportd, t.TempDir())
	env := append(append(c.Env(), callbackSettings...), "EXPORTD_PART_ROWS=100")
	s := e2etest.Services(t, exportd, hosts, e2etest.Sizes{Users: 100, Messages: 2500}, env...)
	processes := []*e2etest.Process{s.Process}
	for _, worker := range []string{"w1", "w2"} {
		processes = append(processes, e2etest.Worker(t, exportd, hosts, append(env, "EXPORTD_WORKER_ID="+worker)...))
	}
	receiver := tracedReceiver(t, c)
	begun := time.Now()
	caller := s.Caller()
	id := caller.Submit(t, "vip-messages", s.Messages("callbackUrl", receiver.URL+"/hook?token=hush"), "Cache-Control", "no-cache",
		"traceparent", "00-"+callerTrace+"-"+callerSpan+"-01", "tracestate", "hush=hush", "baggage", "hush=hush", "X-Request-Id", asked)
	caller.Get(t, "/vip-users", url.Values{"hush": {"hush"}}).Want(t, http.StatusUnprocessableEntity)
	j := caller.Await(t, id, jobWithin)
	awaitCallback(t, caller, id, "delivered")
	c.Add(tracingtest.Span{Service: "caller", Trace: callerTrace, ID: callerSpan, Name: "nightly report", Begun: begun, Ended: time.Now()})
	c.Wait(t, traceWithin, "all spans of the export", func(spans []tracingtest.Span) bool {
		return count(spans, "process parts") == j.Progress.PartsTotal && count(spans, "POST") == 1 && count(spans, "GET /vip-messages/export") == 1 && count(spans, "finish export") == 1
	})
	spans := slices.DeleteFunc(c.Spans(), func(s tracingtest.Span) bool { return s.Trace != callerTrace }) // without the caller's polls
	tree := tracingtest.Tree(spans)
	if roots := tracingtest.Roots(spans); len(roots) != 1 || roots[0].ID != callerSpan {
		t.Errorf("%d roots:\n%s", len(roots), tree)
	}
	checkTraceOfParts(t, spans, j)
	checkSpanNames(t, spans)
	checkSecrets(t, c.Raw(), processes, append(secretsOf(s, j, "hush"), cellsOf(t, j)...))
	e2etest.Until(t, traceWithin, "the line of the callback, which comes last", func() bool {
		return slices.ContainsFunc(processes, func(p *e2etest.Process) bool { return strings.Contains(p.Stderr(), `"message":"callback"`) })
	})
	checkLines(t, processes, spans, j)
	t.Logf("%d parts, %d spans\n%s", j.Progress.PartsTotal, len(spans), tree)
	if *updateTrace {
		writeTrace(t, tree)
	}
}

// asked is the id of the request, by which one search finds all of it.
const asked = "nightly-report-0001"

// checkSecrets: neither spans nor logs hold what nobody should read, nor what is in the file.
func checkSecrets(t *testing.T, spans string, processes []*e2etest.Process, secrets []string) {
	t.Helper()
	for _, secret := range secrets {
		if strings.Contains(spans, secret) {
			t.Errorf("spans hold %.60q", secret)
		}
		for i, p := range processes {
			if strings.Contains(p.Stderr(), secret) && secret != "/documents/" && !strings.HasPrefix(secret, "exports/") { // paths may be in errors of logs
				t.Errorf("the log of process %d holds %.60q", i, secret)
			}
		}
	}
}

// cellsOf are texts of the file.
func cellsOf(t *testing.T, j e2etest.Job) (cells []string) {
	t.Helper()
	rows, err := csv.NewReader(bytes.NewReader(e2etest.Download(t, *j.CSVURL).Body)).ReadAll()
	if err != nil || len(rows) < 2000 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	for _, row := range rows[1:] {
		for _, cell := range row {
			if len(cells) < 500 && len(cell) > 20 && strings.Count(cell, " ") > 2 {
				cells = append(cells, cell)
			}
		}
	}
	if len(cells) < 200 {
		t.Fatalf("the file has %d texts", len(cells))
	}
	return cells
}

// checkLines: one search for the request's id, over the logs of all processes, finds how it was accepted,
// each attempt, each part and the callback, with the way to their spans.
func checkLines(t *testing.T, processes []*e2etest.Process, spans []tracingtest.Span, j e2etest.Job) {
	t.Helper()
	found, parts := map[string]int{}, map[int]bool{}
	for _, p := range processes {
		for text := range strings.Lines(p.Stderr()) {
			if !strings.Contains(text, asked) {
				continue
			}
			var line struct {
				Message   string
				JobID     string `json:"job_id"`
				RequestID string `json:"request_id"`
				Part      *int
				Trace     string `json:"logging.googleapis.com/trace"`
				Span      string `json:"logging.googleapis.com/spanId"`
			}
			if err := json.Unmarshal([]byte(text), &line); err != nil || line.RequestID != asked || line.JobID != j.JobID {
				t.Errorf("a line of another job, or none: %s, %v", text, err)
			}
			if !slices.ContainsFunc(spans, func(s tracingtest.Span) bool { return s.ID == line.Span }) || line.Trace != "projects/"+e2etest.Project+"/traces/"+callerTrace {
				t.Errorf("it leads to no span of the trace: %s", text)
			}
			what := line.Message
			if line.Part != nil {
				what, parts[*line.Part] = "part", true
			}
			found[what]++
		}
	}
	n := j.Progress.PartsTotal
	if want := map[string]int{"request": 1, "attempt": 2, "part": n, "callback": 1}; !maps.Equal(found, want) || len(parts) != n {
		t.Errorf("the search finds %v of %d parts, want %v", found, len(parts), want)
	}
}

func count(spans []tracingtest.Span, name string) (n int) {
	for _, s := range spans {
		if s.Name == name {
			n++
		}
	}
	return n
}

// checkTraceOfParts: each part has one span, with its steps, at one of the workers, and the rows add up.
func checkTraceOfParts(t *testing.T, spans []tracingtest.Span, j e2etest.Job) {
	t.Helper()
	seen, rows, workers := map[int64]bool{}, int64(0), map[string]int{}
	for _, s := range spans {
		if s.Name != "process parts" {
			continue
		}
		seen[s.Attrs["exportd.part"].(int64)] = true
		rows += s.Attrs["exportd.rows"].(int64)
		workers[fmt.Sprint(s.Attrs["exportd.worker.id"])]++
		var steps []string
		for _, child := range tracingtest.Children(spans, s) {
			steps = append(steps, child.Name)
			if child.Begun.Before(s.Begun) || child.Ended.After(s.Ended.Add(time.Millisecond)) {
				t.Errorf("%s of part %v is from %s to %s, the part from %s to %s", child.Name, s.Attrs["exportd.part"], child.Begun, child.Ended, s.Begun, s.Ended)
			}
		}
		slices.Sort(steps)
		if want := []string{"claim", "commit", "encode", "scan", "upload"}; !slices.Equal(steps, want) || s.Attrs["exportd.job.id"] != j.JobID || len(s.Links) != 1 {
			t.Errorf("part %v has steps %v and %d links; want %v and one", s.Attrs["exportd.part"], steps, len(s.Links), want)
		}
	}
	if len(seen) != j.Progress.PartsTotal || len(seen) < 20 || rows != *j.TotalCount {
		t.Errorf("%d parts of %d have spans, with %d rows of %d", len(seen), j.Progress.PartsTotal, rows, *j.TotalCount)
	}
	t.Logf("parts by worker: %v", workers)
}

// checkSpanNames: there are no others, as of the libraries of Google, whose names hold paths of documents.
func checkSpanNames(t *testing.T, spans []tracingtest.Span) {
	t.Helper()
	names := []string{"nightly report", "GET /vip-messages/export", "submit", "process exports", "claim", "plan", "count", "process parts", "scan", "encode", "upload", "commit", "finish export", "compose", "process callbacks", "POST", "POST /hook"}
	for _, name := range names {
		if count(spans, name) == 0 {
			t.Errorf("there is no span %q", name)
		}
	}
	for _, s := range spans {
		if !slices.Contains(names, s.Name) {
			t.Errorf("there is a span %q", s.Name)
		}
		if strings.HasPrefix(s.Service, "exportd") && s.Failed {
			t.Errorf("%s failed: %v", s.Name, s.Attrs)
		}
	}
}

// secretsOf are what no span may hold: keys and signatures, rights in URLs, what rows hold.
func secretsOf(s *e2etest.Stack, j e2etest.Job, more ...string) []string {
	secrets := append(more, s.Secret, s.WebhookSecret, s.OpsSecret, "X-Goog-Signature", "X-Goog-Credential", "Signature=", "token=", "/documents/", "exports/"+s.OrgID)
	if j.CSVURL != nil {
		secrets = append(secrets, *j.CSVURL)
	}
	return secrets
}

// writeTrace puts a trace into the page about traces.
func writeTrace(t *testing.T, tree string) {
	t.Helper()
	const page, begin, end = "../../deployments/traces.md", "<!-- trace: written by `go test ./internal/e2e -run TestTraceOfAnExport -update` -->\n", "<!-- /trace -->"
	raw, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(raw), begin)
	_, foot, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for a trace", page)
	}
	var lines []string
	for l := range strings.Lines(tree) {
		lines = append(lines, strings.TrimRight(l, " \n"))
	}
	if err := os.WriteFile(page, []byte(head+begin+"\n```\n"+strings.Join(lines, "\n")+"\n```\n\n"+end+foot), 0o600); err != nil {
		t.Fatal(err)
	}
}
