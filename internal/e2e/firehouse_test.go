//go:build alerts

package e2e

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"exportd/internal/e2e/e2etest"
)

// firehouse is a fleet with callers, watched by a Prometheus that has the project's rules.
type firehouse struct {
	t       *testing.T // the whole test's
	folder  string
	tools   string // where exportctl is
	cloud   *e2etest.Process
	hosts   e2etest.Hosts
	s       *e2etest.Stack
	workers []*e2etest.Process
	targets []string // where the workers tell metrics; the same after each start
	prom    *prometheus
	waits   map[string]bool // alerts that are pending before they fire
	pages   map[string]bool // alerts of which a rule wakes somebody
	origin  string          // of the receiver that is down
	began   time.Time

	ran       int            // commands of runbooks
	elsewhere map[string]int // commands that were not run, by what they need
}

var firehouseEnv = append([]string{"EXPORTD_WAIT_SECONDS=0", "EXPORTD_LEASE_SECONDS=3", "EXPORTD_ORG_QUEUED_JOBS=0", "EXPORTD_ORG_RUNNING_JOBS=0", "EXPORTD_RATE_KEY_PER_SECOND=0", "EXPORTD_RATE_IP_PER_SECOND=0"}, callbackSettings...)

func startFirehouse(t *testing.T) *firehouse {
	t.Helper()
	for _, program := range []string{"prometheus", "curl", "jq", "bash"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatalf("%s is not there", program)
		}
	}
	f := &firehouse{t: t, folder: t.TempDir(), tools: t.TempDir(), elsewhere: map[string]int{}, waits: map[string]bool{}, pages: map[string]bool{}}
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-tags", "nomsgpack", "-o", f.tools+"/", "exportd/cmd/exportctl").CombinedOutput(); err != nil {
		t.Fatalf("build exportctl: %v\n%s", err, out)
	}
	f.cloud, f.hosts = e2etest.Emulators(t, exportd, f.folder, "--control", "127.0.0.1:0")
	f.s = e2etest.Services(t, exportd, f.hosts, e2etest.Sizes{Users: 300, Messages: 2000}, firehouseEnv...)
	f.targets = []string{freeAddr(t), freeAddr(t)}
	f.startWorkers(t)
	rules := filepath.Join(t.TempDir(), "alerts.yaml")
	raw, err := os.ReadFile("../../deployments/monitoring/alerts.yaml")
	if err == nil {
		err = os.WriteFile(rules, []byte(e2etest.Lapse(string(raw))), 0o600)
	}
	var parsed struct {
		Groups []struct {
			Rules []struct {
				Alert, For string
				Labels     map[string]string
			}
		}
	}
	if err == nil {
		err = yaml.Unmarshal(raw, &parsed)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range parsed.Groups {
		for _, r := range g.Rules {
			if r.Alert != "" {
				f.waits[r.Alert] = r.For != "0m"
				f.pages[r.Alert] = f.pages[r.Alert] || r.Labels["severity"] == "page"
			}
		}
	}
	f.prom = startPrometheusWith(t, "rule_files: ["+rules+"]\n", append(f.targets, opsAddr(t, f.s.Process))...)
	f.began = time.Now()
	f.callers(t)
	return f
}

// freeAddr is an address at which nothing listens.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

func (f *firehouse) startWorkers(t *testing.T) {
	t.Helper()
	for _, addr := range f.targets {
		// f.t: they outlive the incident that starts them.
		f.workers = append(f.workers, e2etest.Worker(f.t, exportd, f.hosts, append(firehouseEnv, "EXPORTD_OPS_ADDR="+addr)...))
	}
}

func (f *firehouse) stopWorkers() {
	for _, w := range f.workers {
		w.Kill()
	}
	f.workers = nil
}

// restartCloud ends the embedded cloud and starts it with another index file, where it was.
func (f *firehouse) restartCloud(t *testing.T, indexes string) {
	t.Helper()
	f.cloud.Signal(syscall.SIGTERM)
	f.cloud.Wait(t, time.Minute)
	was := f.hosts
	f.cloud, f.hosts = e2etest.Emulators(f.t, exportd, f.folder, "--indexes", indexes,
		"--firestore", was.Firestore, "--pubsub", was.PubSub, "--storage", was.Storage, "--control", was.Control)
}

// callers ask for lists and exports all the time, whatever comes of it.
func (f *firehouse) callers(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(250 * time.Millisecond)
		defer tick.Stop()
		c := f.s.Caller()
		for i := 0; ; i++ {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
			within, stop := context.WithTimeout(ctx, 5*time.Second)
			path, query := "/vip-users", f.s.Users()
			switch i % 8 {
			case 1:
				path, query = "/vip-messages", f.s.Messages()
			case 3:
				path = "/vip-users/export"
			case 6:
				path, query = "/vip-messages/export", f.s.Messages()
			}
			_, _ = c.Try(within, "GET", path, query, nil, "Cache-Control", "no-cache", "Prefer", "respond-async") // broken on purpose
			stop()
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
}

func (f *firehouse) fires(t *testing.T, alert string) bool {
	t.Helper()
	severity := "ticket"
	if f.pages[alert] { // where a goal's budget burns, the ticket's windows are long
		severity = "page"
	}
	return len(f.prom.ask(t, `ALERTS{alertname="`+alert+`",alertstate="firing",severity="`+severity+`"}`, "")) > 0
}

// awaitFiring waits until an alert fires, and holds it to its having been pending where its rule has it wait.
func (f *firehouse) awaitFiring(t *testing.T, alert string, since time.Time) {
	t.Helper()
	e2etest.Until(t, 4*time.Minute, alert+" fires", func() bool { return f.fires(t, alert) })
	fired := time.Since(since)
	window := fired.Truncate(time.Second) + 2*time.Second
	pending := len(f.prom.ask(t, `max_over_time(ALERTS{alertname="`+alert+`",alertstate="pending"}[`+window.String()+`])`, "")) > 0
	if pending != f.waits[alert] {
		t.Errorf("%s was pending: %t, want %t", alert, pending, f.waits[alert])
	}
	f.t.Logf("%s: fires %s after the fault, pending before: %t", alert, fired.Round(time.Second), pending)
}

// quiet: a fleet that is well has no alert for half a minute, which stands for half an hour.
func (f *firehouse) quiet(t *testing.T) {
	t.Helper()
	e2etest.Until(t, time.Minute, "all are scraped, and exports succeed", func() bool {
		return f.prom.ask(t, "sum(up)", "")[""] == 3 && f.prom.ask(t, `sum(rate(exportd_job_transitions_total{to="succeeded"}[10s]))`, "")[""] > 0
	})
	from := time.Now()
	e2etest.Until(t, 2*time.Minute, "half a minute goes by", func() bool { return time.Since(from) > 30*time.Second })
	if fired := f.prom.ask(t, `max_over_time(ALERTS{alertstate="firing"}[29s])`, "alertname"); len(fired) > 0 {
		t.Errorf("with nothing broken, these fire: %v", fired)
	}
}

// report sums up what was run.
func (f *firehouse) report(t *testing.T) {
	t.Helper()
	showDashboard(t, f.prom, f.began, "alerts")
	t.Logf("%d commands of runbooks were run as printed; %d need the cluster, %d Google, and were not", f.ran, f.elsewhere["cluster"], f.elsewhere["google"])
}
