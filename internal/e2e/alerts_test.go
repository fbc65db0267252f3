//go:build alerts

package e2e

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"exportd/internal/e2e/e2etest"
)

// TestAlertsInReality breaks a real fleet in one way after the other, under a real Prometheus that has the
// project's rules, a minute shortened to a second. Each alert fires, after a time in which it was pending if
// its rule has one, and goes when what was broken is mended; meanwhile the commands of its runbook are run as
// printed, and show what the runbook says. `make alerts` runs it, for some ten minutes.
func TestAlertsInReality(t *testing.T) {
	f := startFirehouse(t)
	f.quiet(t)
	f.run(t, incident{
		name: "no workers", alerts: []string{"ExportdNoWorkers", "ExportdJobsWaitTooLong"},
		breakIt: func(t *testing.T) {
			f.stopWorkers()
			f.queuedSince(t, f.s.Caller().Submit(t, "vip-messages", f.s.Messages(), "Cache-Control", "no-cache"), 11*time.Minute)
		},
		mend: func(t *testing.T, _ string) { f.startWorkers(t) }, insteadOf: "kubectl scale",
	})
	f.run(t, incident{
		name: "Firestore down", alerts: []string{"ExportdFirestoreUnavailable", "ExportdServiceErrors", "ExportdRequestsFail"},
		breakIt: func(t *testing.T) { f.hosts.Faults(t, `{"rules": {"Firestore/*": {"errorRate": 1}}}`) },
		mend:    func(t *testing.T, _ string) { f.hosts.Faults(t, "{}") },
	})
	f.run(t, incident{
		name: "index missing", alerts: []string{"ExportdIndexMissing", "ExportdJobsFail"},
		breakIt: func(t *testing.T) { f.restartCloud(t, withoutIndexes(t, "VipUsers")) },
		mend:    func(t *testing.T, dir string) { f.restartCloud(t, filepath.Join(dir, "firestore.indexes.json")) }, insteadOf: "firebase deploy",
	})
	down := &receiverDown{}
	f.run(t, incident{
		name: "receiver down", alerts: []string{"ExportdReceiversSuspended"}, after: []string{"ExportdCallbacksLate"},
		breakIt: func(t *testing.T) { down.suspend(t, f) },
		mend:    func(t *testing.T, _ string) { down.works(t) },
	})
	f.report(t)
	f.more(t)
	f.report(t)
}

// incident is one thing that is broken.
type incident struct {
	name    string
	alerts  []string // that fire while it is broken
	after   []string // that fire once it is mended, as what was late comes
	breakIt func(*testing.T)
	// mend is called before what the runbook says to do then, or instead of its commands that begin with
	// insteadOf and cannot be run here. It is told the folder in which the commands run.
	mend      func(t *testing.T, dir string)
	insteadOf string
}

// run has an incident.
func (f *firehouse) run(t *testing.T, in incident) {
	t.Helper()
	ok := t.Run(in.name, func(t *testing.T) {
		for _, a := range append(in.alerts, in.after...) {
			e2etest.Until(t, 8*time.Minute, a+" has gone from before", func() bool { return !f.fires(t, a) })
		}
		began := time.Now()
		in.breakIt(t)
		for _, a := range in.alerts {
			f.awaitFiring(t, a, began)
		}
		dir := t.TempDir()
		for _, a := range in.alerts {
			f.follow(t, a, dir, false, nil)
		}
		mended := in.insteadOf != ""
		if !mended {
			in.mend(t, dir)
		}
		mendedAt := time.Now()
		for _, a := range in.alerts {
			f.follow(t, a, dir, true, func(commands string) {
				if mended && strings.HasPrefix(commands, in.insteadOf) {
					in.mend(t, dir)
					mended, mendedAt = false, time.Now()
				}
			})
		}
		if in.insteadOf != "" && mended {
			t.Fatalf("no runbook has commands that begin with %q", in.insteadOf)
		}
		for _, a := range in.after {
			f.awaitFiring(t, a, mendedAt)
			f.follow(t, a, dir, false, nil)
			f.follow(t, a, dir, true, nil)
		}
		for _, a := range append(in.alerts, in.after...) {
			e2etest.Until(t, 8*time.Minute, a+" goes", func() bool { return !f.fires(t, a) })
			f.t.Logf("%s: gone %s after the mending", a, time.Since(mendedAt).Round(time.Second))
		}
	})
	if !ok {
		t.FailNow()
	}
}

// follow runs a runbook's commands, those before or those after "Then". An operator who does not yet see what
// the runbook says looks again; so does this.
func (f *firehouse) follow(t *testing.T, alert, dir string, then bool, elsewhere func(commands string)) {
	t.Helper()
	blocks, err := e2etest.Runbook("../../deployments/runbooks/" + alert + ".md")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range blocks {
		switch {
		case c.Then != then:
			continue
		case c.Needs != "":
			f.elsewhere[c.Needs] += strings.Count(c.Text, "\n") + 1
			if elsewhere != nil {
				elsewhere(c.Text)
			}
			continue
		}
		var out, missing string
		var code int
		within, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
		for tick := time.Tick(3 * time.Second); ; {
			out, code = f.shell(t, dir, c.Text)
			if missing = c.Missing(out, f.value); missing == "" && code == c.Exit {
				break
			}
			select {
			case <-tick:
				continue
			case <-within.Done():
			}
			t.Fatalf("%s, %s: exit code %d, want %d; %q is missing in\n%s", alert, c.Where(), code, c.Exit, missing, out)
		}
		cancel()
		if c.Shows == nil && strings.TrimSpace(out) != "" {
			t.Errorf("%s, %s: shows what the runbook does not say:\n%s", alert, c.Where(), out)
		}
		f.ran += strings.Count(c.Text, "\n") + 1
		f.t.Logf("%s\n$ %s\n%s", alert, strings.ReplaceAll(c.Text, "\n", "\n$ "), out)
	}
}

// shell runs commands in bash as an operator's terminal does, and gives what they print and the last one's
// exit code.
func (f *firehouse) shell(t *testing.T, dir, commands string) (string, int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-e", "-c", commands)
	cmd.Dir = dir
	cmd.Env = append(f.hosts.Env(), "PATH="+filepath.Dir(exportd)+":"+f.tools+":"+os.Getenv("PATH"), "HOME="+dir,
		"EXPORTCTL_URL="+f.s.APIURL, "EXPORTCTL_KEY="+f.s.OpsAPIKey, "EXPORTCTL_SECRET="+f.s.OpsSecret)
	for _, name := range []string{"API", "PROJECT", "ORG", "ORIGIN"} { // those of runbooks/README.md
		cmd.Env = append(cmd.Env, name+"="+f.value(name))
	}
	out, _ := cmd.CombinedOutput() // its error is the exit code
	return string(out), cmd.ProcessState.ExitCode()
}

func (f *firehouse) value(name string) string {
	return map[string]string{"API": f.s.APIURL, "PROJECT": e2etest.Project, "ORG": f.s.OrgID, "ORIGIN": f.origin}[name]
}

// withoutIndexes gives an index file without those of a collection.
func withoutIndexes(t *testing.T, collection string) string {
	t.Helper()
	raw, err := os.ReadFile("../../deployments/firestore.indexes.json")
	if err != nil {
		t.Fatal(err)
	}
	var file map[string][]map[string]any
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	var kept []map[string]any
	for _, index := range file["indexes"] {
		if index["collectionGroup"] != collection {
			kept = append(kept, index)
		}
	}
	if len(kept) == len(file["indexes"]) {
		t.Fatalf("no index is of %s", collection)
	}
	file["indexes"] = kept
	path := filepath.Join(t.TempDir(), "indexes.json")
	if raw, err = json.Marshal(file); err == nil {
		err = os.WriteFile(path, raw, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// receiverDown is a receiver of callbacks at which nothing listens, until it works.
type receiverDown struct {
	addr  string
	since time.Time // the first export whose callback it does not get has ended
}

// suspend has a callback to it exhausted, after nineteen before, and another one held back.
func (r *receiverDown) suspend(t *testing.T, f *firehouse) {
	t.Helper()
	r.addr = freeAddr(t)
	f.origin = "http://" + r.addr
	submit := func() string {
		return f.s.Caller().Submit(t, "vip-users", f.s.Users("callbackUrl", f.origin+"/hook"), "Cache-Control", "no-cache")
	}
	first := submit()
	e2etest.Until(t, jobWithin, "a first try that failed", func() bool { return awaitCallback(t, f.s.Caller(), first, "pending").Attempts > 0 })
	nineteenBefore(t, f.hosts, first)
	awaitCallback(t, f.s.Caller(), first, "exhausted")
	e2etest.Until(t, jobWithin, "the receiver to be suspended", func() bool { return len(suspended(t, f.s.Operator())) == 1 })
	awaitCallback(t, f.s.Caller(), submit(), "suspended")
	r.since = time.Now()
}

// works lets it answer, when what it was not sent is later than a minute, which is the goal.
func (r *receiverDown) works(t *testing.T) {
	t.Helper()
	e2etest.Until(t, 2*time.Minute, "what waits for the receiver is late", func() bool { return time.Since(r.since) > 65*time.Second })
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	_ = s.Listener.Close()
	s.Listener = l
	s.Start()
	t.Cleanup(s.Close)
}
