//go:build fleet && linux

// Looks at the fleet that the whole package runs on in `make fleet-test`.
package e2e

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"exportd/internal/e2e/e2etest"
)

// TestFleet: an API and two workers of the image, each a user of its own without capabilities, on a root that
// it cannot write, as an account with its own permissions. One worker is killed in the middle of a job, which
// the other ends; and all end within their grace when they are told to.
func TestFleet(t *testing.T) {
	if !e2etest.FromImage() {
		t.Fatalf("%s is not set: make fleet-test", e2etest.ImageVar)
	}
	t.Parallel()
	folder := t.TempDir()
	_, hosts := e2etest.Emulators(t, exportd, filepath.Join(folder, "cloud"), "--control", "127.0.0.1:0")
	env := append([]string{"EXPORTD_KEYSET_FILE=" + filepath.Join(folder, "keyset.json"), "EXPORTD_PART_ROWS=100", "EXPORTD_LEASE_SECONDS=3"}, callbackSettings...)
	s := e2etest.Services(t, exportd, hosts, e2etest.Sizes{Users: 100, Messages: 1000}, env...)
	one, two := e2etest.Worker(t, exportd, hosts, env...), e2etest.Worker(t, exportd, hosts, env...)
	users := map[string]string{}
	for name, p := range map[string]*e2etest.Process{"api": s.Process, "worker 1": one, "worker 2": two} {
		uid := contained(t, name, p)
		if other, taken := users[uid]; taken {
			t.Errorf("%s and %s are one user, %s", name, other, uid)
		}
		users[uid] = name
		if r, err := e2etest.Send(t.Context(), http.MethodGet, e2etest.OpsURL(t, p)+"/readyz", nil, nil); err != nil || r.Status != http.StatusOK {
			t.Errorf("%s is not ready: %v %s", name, err, r.Body)
		}
	}
	_, want := s.Caller().Export(t, "vip-messages", s.Messages())
	s.Faults(t, `{"rules": {"Firestore/RunQuery": {"rowsPerSecond": 50}}}`)
	id := s.Caller().Submit(t, "vip-messages", s.Messages(), "Cache-Control", "no-cache")
	e2etest.Until(t, jobWithin, "rows of the job", func() bool { return s.Caller().Job(t, id, "").Progress.RowsDone > 0 })
	one.Kill()
	s.Faults(t, "{}")
	if j := s.Caller().Await(t, id, jobWithin); j.State != "succeeded" {
		t.Errorf("a worker was killed, and the job is %s: %+v", j.State, j.Error)
	} else if got := e2etest.Download(t, *j.CSVURL).Body; !bytes.Equal(got, want) {
		t.Errorf("the file after a kill: %s", firstDifference(got, want))
	}
	for _, p := range []*e2etest.Process{two, s.Process} {
		p.Signal(syscall.SIGTERM)
		if code := p.Wait(t, stopWithin); code != 0 {
			t.Errorf("exit code %d\n%s", code, p.Stderr())
		}
	}
	for account, u := range usages(t, hosts) {
		for _, d := range u.Denied {
			t.Errorf("%s: %s is refused %d times for want of %s", account, d.Method, d.Count, d.Permission)
		}
		if account != "doctor" && len(u.Used) == 0 { // nobody asked doctor
			t.Errorf("nothing was done as %s", account)
		}
	}
}

// contained looks at a process as the kernel sees it, and gives its user.
func contained(t *testing.T, name string, p *e2etest.Process) (uid string) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Pid()))
	if err != nil {
		t.Fatal(err)
	}
	ids := regexp.MustCompile(`(?m)^Uid:\t(\d+)\t(\d+)\t(\d+)\t(\d+)$`).FindSubmatch(status)
	if ids == nil || string(ids[1]) == "0" || !bytes.Equal(ids[1], ids[2]) || !bytes.Equal(ids[1], ids[3]) {
		t.Fatalf("%s runs as %q", name, ids)
	}
	for _, line := range []string{`CapEff:\t0000000000000000`, `CapPrm:\t0000000000000000`, `NoNewPrivs:\t1`} {
		if !regexp.MustCompile("(?m)^" + line + "$").Match(status) {
			t.Errorf("%s has not %s:\n%s", name, line, status)
		}
	}
	mounts, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", p.Pid()))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 5 && f[4] == "/" && strings.HasPrefix(f[5], "ro,") {
			return string(ids[1])
		}
	}
	t.Errorf("the root of %s can be written:\n%s", name, mounts)
	return string(ids[1])
}

// TestRequestsCPU measures what requests cost an API's processor, which is what it is scaled by: the table in
// deployments/operations/scaling.md is made of it.
func TestRequestsCPU(t *testing.T) {
	if !e2etest.FromImage() {
		t.Fatalf("%s is not set: make fleet-test", e2etest.ImageVar)
	}
	_, hosts := e2etest.Emulators(t, exportd, filepath.Join(t.TempDir(), "cloud"))
	s := e2etest.Services(t, exportd, hosts, e2etest.Sizes{Users: 300, Messages: 1000}, "EXPORTD_RATE_KEY_PER_SECOND=0", "EXPORTD_RATE_IP_PER_SECOND=0")
	e2etest.Worker(t, exportd, hosts)
	c := s.Caller()
	done, _ := c.Export(t, "vip-users", s.Users())
	for _, r := range []struct {
		name string
		ask  func()
	}{
		{"a page of 50 users", func() { c.Get(t, "/vip-users", s.Users("limit", "50")).Want(t, http.StatusOK) }},
		{"the state of a job", func() { c.Get(t, "/exports/"+done.JobID, nil).Want(t, http.StatusOK) }},
		{"an export that attaches to a result", func() { c.Get(t, "/vip-users/export", s.Users()).Want(t, http.StatusOK) }},
	} {
		for range 50 { // caches, connections
			r.ask()
		}
		const times = 1000
		before := cpuTicks(t, s.Process.Pid())
		for range times {
			r.ask()
		}
		ms := 10 * float64(cpuTicks(t, s.Process.Pid())-before) / times
		t.Logf("%s: %.2f ms of processor, so that a pod at 175m answers %.0f a second", r.name, ms, 175/ms)
		if ms > 20 {
			t.Errorf("%s costs %.2f ms of processor", r.name, ms)
		}
	}
}
