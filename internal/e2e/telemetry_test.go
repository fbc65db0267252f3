package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/firestore"

	"exportd/internal/e2e/e2etest"
	"exportd/internal/jobstore"
	"exportd/internal/machinetest"
	"exportd/jobs"
)

// prometheus is a Prometheus that scrapes some processes of a test every second.
type prometheus struct{ url string }

// startPrometheus starts the one of Debian's package, or whatever is on PATH.
func startPrometheus(t *testing.T, targets ...string) *prometheus {
	t.Helper()
	return startPrometheusWith(t, "", targets...)
}

// startPrometheusWith has more lines in its configuration.
func startPrometheusWith(t *testing.T, more string, targets ...string) *prometheus {
	t.Helper()
	program := machinetest.Program(t, "prometheus")
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	dir := t.TempDir()
	config := filepath.Join(dir, "prometheus.yml")
	quoted, _ := json.Marshal(targets)
	body := more + "global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}\nscrape_configs: [{job_name: exportd, static_configs: [{targets: " + string(quoted) + "}]}]\n"
	if err := os.WriteFile(config, []byte(body), 0o600); err != nil {
		t.Fatal(err)
	}
	e2etest.Start(t, nil, program, "--config.file="+config, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+addr, "--log.level=warn")
	p := &prometheus{"http://" + addr}
	e2etest.Until(t, time.Minute, "Prometheus is ready", func() bool {
		r, err := e2etest.Send(t.Context(), http.MethodGet, p.url+"/-/ready", nil, nil)
		return err == nil && r.Status == http.StatusOK
	})
	return p
}

// ask gives the values of a query by the value of one of its labels, "" for none.
func (p *prometheus) ask(t *testing.T, query, label string) map[string]float64 {
	t.Helper()
	r, err := e2etest.Send(t.Context(), http.MethodGet, p.url+"/api/v1/query", url.Values{"query": {query}}, nil)
	if err != nil || r.Status != http.StatusOK {
		t.Fatalf("%s: %v %s", query, err, r.Body)
	}
	var got struct {
		Data struct {
			Result []struct {
				Metric map[string]string
				Value  [2]any
			}
		}
	}
	if err := json.Unmarshal(r.Body, &got); err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, s := range got.Data.Result {
		v, err := strconv.ParseFloat(fmt.Sprint(s.Value[1]), 64)
		if err != nil {
			t.Fatal(err)
		}
		out[s.Metric[label]] = v
	}
	return out
}

// names are those of all metrics that were scraped.
func (p *prometheus) names(t *testing.T) []string {
	t.Helper()
	r, err := e2etest.Send(t.Context(), http.MethodGet, p.url+"/api/v1/label/__name__/values", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	var got struct{ Data []string }
	if err := json.Unmarshal(r.Body, &got); err != nil {
		t.Fatal(err)
	}
	return got.Data
}

const thirdOrg = "org_third"

// submitThird makes exports of a third org, past the API, which has no key of it.
func submitThird(t *testing.T, client *firestore.Client, s *e2etest.Stack, n int) {
	t.Helper()
	store := jobstore.New(jobstore.Config{Client: client, ReuseFor: time.Minute, Policy: jobs.Policy{NotifyAgain: time.Second, RecordLife: time.Hour}})
	for i := range n {
		if _, err := store.Submit(t.Context(), jobs.Submission{OrgID: thirdOrg, KeyID: s.APIKey, Kind: "vip-users", Fresh: true, Params: jobs.Params{
			"profile": jobs.ProfileRFC4180, "workspaceId": s.WorkspaceID, "mediumId": s.MediumID, "birthdayMonth": int64(i%12 + 1),
		}}); err != nil {
			t.Fatal(err)
		}
	}
}

// told are what the documents of all jobs say.
type told struct {
	ended         int
	waited, ran   time.Duration
	rows          map[string]int64 // by org
	first, last   time.Time
	longestWaited time.Duration
}

func readJobs(t *testing.T, client *firestore.Client) told {
	t.Helper()
	docs, err := client.Collection("ExportJobs").Documents(t.Context()).GetAll()
	if err != nil {
		t.Fatal(err)
	}
	sum := told{rows: map[string]int64{}}
	for _, doc := range docs {
		var j jobs.Job
		if err := doc.DataTo(&j); err != nil {
			t.Fatal(err)
		}
		if j.State != jobs.Succeeded {
			continue
		}
		sum.ended++
		sum.rows[j.OrgID] += j.Result.Rows
		wait := j.StartedAt.Sub(j.CreatedAt)
		sum.waited += wait
		sum.longestWaited = max(sum.longestWaited, wait)
		sum.ran += j.FinishedAt.Sub(j.StartedAt)
		if sum.first.IsZero() || j.CreatedAt.Before(sum.first) {
			sum.first = j.CreatedAt
		}
		if j.FinishedAt.After(sum.last) {
			sum.last = j.FinishedAt
		}
	}
	return sum
}

// near reports whether a value is what it should be, but for part of it.
func near(got, want, part float64) bool { return got >= want*(1-part) && got <= want*(1+part) }

// TestTelemetry: 200 exports of three orgs on two workers, scraped by a Prometheus, and five questions
// answered by it as the documents would: how long do jobs wait, how long do they run, which org eats the
// fleet, how many rows a second, what does it cost. And what deployments/monitoring asks for is there.
func TestTelemetry(t *testing.T) {
	t.Parallel()
	const main, other, third = 100, 60, 40
	machinetest.Program(t, "prometheus")
	_, hosts := e2etest.Emulators(t, exportd, t.TempDir(), "--control", "127.0.0.1:0")
	env := []string{"EXPORTD_WAIT_SECONDS=0", "EXPORTD_ORG_QUEUED_JOBS=0", "EXPORTD_LEASE_SECONDS=3", "EXPORTD_PART_ROWS=1000", "EXPORTD_RATE_KEY_PER_SECOND=0", "EXPORTD_RATE_IP_PER_SECOND=0"}
	s := e2etest.Services(t, exportd, hosts, e2etest.Sizes{Users: 3000, Messages: 8000}, env...)
	targets := []string{opsAddr(t, s.Process)}
	workers := make([]*e2etest.Process, 2)
	for i := range workers {
		workers[i] = e2etest.Worker(t, exportd, hosts, env...)
		targets = append(targets, opsAddr(t, workers[i]))
	}
	prom := startPrometheus(t, targets...)
	e2etest.Until(t, time.Minute, "all are scraped", func() bool { return prom.ask(t, "sum(up)", "")[""] == 3 })
	client := hosts.OpenFirestore(t)

	submitThird(t, client, s, third)
	for range main {
		s.Caller().Submit(t, "vip-messages", s.Messages(), "Cache-Control", "no-cache")
	}
	for range other {
		s.Other().Submit(t, "vip-users", url.Values{"workspaceId": {s.OtherWorkspaceID}, "mediumId": {s.OtherMediumID}}, "Cache-Control", "no-cache")
	}
	var doc told
	e2etest.Until(t, 8*time.Minute, "all exports succeed", func() bool { doc = readJobs(t, client); return doc.ended == main+other+third })
	total := float64(doc.rows[s.OrgID] + doc.rows[s.OtherOrgID] + doc.rows[thirdOrg])
	e2etest.Until(t, 30*time.Second, "the last of it is scraped", func() bool {
		return prom.ask(t, `sum(exportd_rows_exported_total)`, "")[""] == total && prom.ask(t, `sum(exportd_job_result_seconds_count)`, "")[""] == float64(doc.ended)
	})

	one := func(question, query string) float64 {
		v := prom.ask(t, query, "")[""]
		t.Logf("%s\n\t%s\n\t%v", question, query, v)
		return v
	}
	n := float64(doc.ended)
	if v := one("How long do jobs wait, on average?", `sum(exportd_job_queued_seconds_sum) / sum(exportd_job_queued_seconds_count)`); !near(v, doc.waited.Seconds()/n, .01) {
		t.Errorf("jobs wait for %v s, by their documents %v", v, doc.waited.Seconds()/n)
	}
	// A quantile is anywhere in its bucket, and after that of up to 60 s comes that of up to 300.
	if v := one("And the slowest of a hundred?", `histogram_quantile(0.99, sum by (le) (exportd_job_queued_seconds_bucket))`); v > 5*doc.longestWaited.Seconds() || v < .2*doc.longestWaited.Seconds() {
		t.Errorf("p99 is %v s, the longest by the documents %v", v, doc.longestWaited.Seconds())
	}
	if v := one("How long do they run?", `sum(exportd_job_running_seconds_sum) / sum(exportd_job_running_seconds_count)`); !near(v, doc.ran.Seconds()/n, .01) {
		t.Errorf("jobs run for %v s, by their documents %v", v, doc.ran.Seconds()/n)
	}
	const byOrg = `topk(3, sum by (org) (exportd_org_rows))`
	orgs := prom.ask(t, byOrg, "org")
	t.Logf("Which org eats the fleet, by rows?\n\t%s\n\t%v", byOrg, orgs)
	for org, rows := range doc.rows {
		if orgs[org] != float64(rows) {
			t.Errorf("%s has %v rows, by its documents %d", org, orgs[org], rows)
		}
	}
	const byTime = `topk(3, sum by (org) (exportd_org_busy_seconds))`
	busy := prom.ask(t, byTime, "org")
	t.Logf("And by time in slots?\n\t%s\n\t%v", byTime, busy)
	if busy[s.OrgID] <= busy[s.OtherOrgID] {
		t.Errorf("the org with the most rows is not that with the most time: %v", busy)
	}
	lasted := doc.last.Sub(doc.first).Seconds()
	rate := one("How many rows a second?", fmt.Sprintf(`sum(increase(exportd_rows_exported_total[%ds])) / %.3f`, int(lasted)+30, lasted))
	if !near(rate, total/lasted, .2) { // Prometheus extrapolates
		t.Errorf("%v rows a second, by the documents %v", rate, total/lasted)
	}
	const steps = `sum by (step) (exportd_step_seconds_total)`
	spent := prom.ask(t, steps, "step")
	t.Logf("Where does their time go?\n\t%s\n\t%v", steps, spent)
	if spent["count"] <= 0 || spent["scan"] <= 0 || spent["encode"] <= 0 || spent["upload"] <= 0 || spent["compose"] <= 0 {
		t.Errorf("time is spent on %v", spent)
	}
	checkOne(t, s, workers)
	checkCost(t, prom, hosts, total, one)
	checkMonitoring(t, prom.names(t))
	showDashboard(t, prom, doc.first, "telemetry")
}

// checkOne: an ended job says where its time went, and one request id leads from the API's line of a job to
// the worker's.
func checkOne(t *testing.T, s *e2etest.Stack, workers []*e2etest.Process) {
	t.Helper()
	id := s.Caller().Submit(t, "vip-users", s.Users("birthdayMonth", "5"), "Cache-Control", "no-cache")
	s.Caller().Await(t, id, time.Minute)
	body := string(s.Operator().Get(t, "/ops/jobs/"+id, nil).Want(t, http.StatusOK).Body)
	// A count of 133 rows takes less than a millisecond without the race detector, and is left out then.
	for _, step := range []string{" bytes; wait ", ", scan ", ", upload ", `"spent":{"waitMs":`} {
		if !strings.Contains(body, step) {
			t.Errorf("it does not say where the time went, by %q: %s", step, body)
		}
	}
	requestOf := func(message string, of ...*e2etest.Process) string {
		for _, p := range of {
			for text := range strings.Lines(p.Stderr()) {
				var line struct {
					Message   string `json:"message"`
					JobID     string `json:"job_id"`
					RequestID string `json:"request_id"`
				}
				if json.Unmarshal([]byte(text), &line) == nil && line.JobID == id && line.Message == message {
					return line.RequestID
				}
			}
		}
		return ""
	}
	var asked, made string
	e2etest.Until(t, time.Minute, "lines of the job, which come when its record is written", func() bool {
		asked, made = requestOf("request", s.Process), requestOf("attempt", workers...)
		return asked != "" && made != ""
	})
	if made != asked {
		t.Errorf("the API's line of the job has request id %q, the worker's %q", asked, made)
	}
}

func opsAddr(t *testing.T, p *e2etest.Process) string {
	t.Helper()
	return strings.TrimPrefix(e2etest.OpsURL(t, p), "http://")
}

// checkCost holds what the metrics say of reads and writes against what the database has counted. It has also
// the tests' own, and the listening of APIs.
func checkCost(t *testing.T, prom *prometheus, hosts e2etest.Hosts, rows float64, one func(question, query string) float64) {
	t.Helper()
	// USD for 100,000 reads and writes in us-central1, as internal/simulate has them.
	one("What does it cost, in USD?", `sum(exportd_firestore_documents_total{op="read"}) * 0.03e-5 + sum(exportd_firestore_documents_total{op="written"}) * 0.09e-5`)
	read, written := one("Of it, documents read:", `sum(exportd_firestore_documents_total{op="read"})`), one("and written:", `sum(exportd_firestore_documents_total{op="written"})`)
	byLane := prom.ask(t, `sum by (lane) (exportd_firestore_documents_total{op="read"})`, "lane")
	t.Logf("By lane: %v", byLane)
	counted := hosts.Counters(t)
	t.Logf("the database has counted, with the tests' own reads and the demo data: %d documents read, %d written", counted.DocumentsRead, counted.DocumentsWritten)
	if read < rows || read > 1.25*float64(counted.DocumentsRead) {
		t.Errorf("%v documents read for %v rows, by the database %d", read, rows, counted.DocumentsRead)
	}
	if written == 0 || written > float64(counted.DocumentsWritten) {
		t.Errorf("%v documents written, by the database %d", written, counted.DocumentsWritten)
	}
	if byLane["exports"]+byLane["parts"] < rows {
		t.Errorf("the lanes of exports and parts have read %v and %v documents for %v rows", byLane["exports"], byLane["parts"], rows)
	}
}

// checkMonitoring: each metric that the rules and the dashboard name is one that was scraped, and
// deployments/monitoring/README.md says of each of exportd's where it is shown.
func checkMonitoring(t *testing.T, scraped []string) {
	t.Helper()
	for _, file := range []string{"alerts.yaml", "dashboard.json"} {
		body, err := os.ReadFile("../../deployments/monitoring/" + file)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range e2etest.MetricNames(string(body)) {
			if !slices.Contains(scraped, name) {
				t.Errorf("%s names %s, which no process has", file, name)
			}
		}
	}
	body, err := os.ReadFile("../../deployments/monitoring/README.md")
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{}
	for _, name := range scraped {
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			name = strings.TrimSuffix(name, suffix)
		}
		there[name] = true
		if strings.HasPrefix(name, "exportd_") && !strings.Contains(string(body), "`"+name) {
			t.Errorf("deployments/monitoring/README.md does not say where %s is shown", name)
		}
	}
	told := e2etest.MetricNames(string(body))
	if len(told) < 40 {
		t.Errorf("deployments/monitoring/README.md names %d metrics", len(told))
	}
	for _, name := range told {
		if !there[name] && !strings.HasSuffix(name, "_") { // as exportd_queue_*
			t.Errorf("deployments/monitoring/README.md names %s, which no process has", name)
		}
	}
}

// TestTelemetryIsBounded: strangers' methods, paths, hosts and headers make no series.
func TestTelemetryIsBounded(t *testing.T) {
	t.Parallel()
	_, hosts := e2etest.Emulators(t, exportd, t.TempDir())
	s := e2etest.Services(t, exportd, hosts, e2etest.Sizes{Users: 1, Messages: 1}, "EXPORTD_RATE_IP_PER_SECOND=0")
	ops := e2etest.OpsURL(t, s.Process)
	series := func() (found []string) {
		r, err := e2etest.Send(t.Context(), http.MethodGet, ops+"/metrics", nil, nil)
		if err != nil || r.Status != http.StatusOK {
			t.Fatalf("%v %s", err, r.Body)
		}
		for line := range strings.Lines(string(r.Body)) {
			if name, _, ok := strings.Cut(line, " "); ok && name != "#" {
				found = append(found, name)
			}
		}
		return found
	}
	n := 2000
	if v, err := strconv.Atoi(os.Getenv("EXPORTD_TEST_STRANGERS")); err == nil {
		n = v
	}
	strange := func(from, to int) {
		for i := from; i < to; i++ {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			r, err := e2etest.Send(ctx, fmt.Sprintf("M%d", i), fmt.Sprintf("%s/p%d/x", s.APIURL, i), url.Values{fmt.Sprint("q", i): {"1"}}, nil,
				"User-Agent", fmt.Sprint("agent ", i), "X-Api-Key", fmt.Sprint("key_", i), fmt.Sprint("X-Strange-", i), "1", "traceparent", fmt.Sprintf("00-%032x-%016x-01", i+1, i+1))
			cancel()
			if err != nil || r.Status < 400 || r.Status >= 500 {
				t.Fatalf("request %d: %d %v", i, r.Status, err)
			}
		}
	}
	series() // the first asks Firestore what waits, which makes series of its own
	strange(0, 200)
	before := series()
	strange(200, n)
	after := series()
	for _, name := range after {
		if !slices.Contains(before, name) {
			t.Errorf("%d invented requests have made %s", n, name)
		}
	}
	t.Logf("%d series before and %d after %d invented requests", len(before), len(after), n)
}
