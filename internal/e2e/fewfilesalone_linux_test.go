package e2e

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"exportd/internal/e2e/e2etest"
)

// limited is exportd, or what is given, where it may open few files.
func limited(t *testing.T, program string, files int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "exportd")
	script := fmt.Sprintf("#!/bin/sh\nulimit -n %d\nexec '%s' \"$@\"\n", files, program)
	if err := os.WriteFile(path, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// fillFiles opens connections until the process has said that it can open no more files, and says what 3 s at
// its limit cost it. free closes them.
func fillFiles(t *testing.T, p *e2etest.Process, addr string, files int) (ticks int, free func()) {
	t.Helper()
	var held []net.Conn
	free = func() {
		for _, c := range held {
			_ = c.Close()
		}
	}
	t.Cleanup(free)
	for range files {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, c)
	}
	p.WaitLine(t, time.Minute, func(line string) string {
		if strings.Contains(line, "too many open files") {
			return line
		}
		return ""
	})
	before, begun := cpuTicks(t, p.Pid()), time.Now()
	e2etest.Until(t, time.Minute, "3 s at its limit", func() bool { return time.Since(begun) > 3*time.Second })
	return cpuTicks(t, p.Pid()) - before, free
}

// TestFewFilesAlone: an API, and then a worker, that may open few files is held full of connections. Each
// says what it lacks, does not spin, and goes on where it was once they are closed: who was connected to the
// API is still answered, jobs that were taken before or meanwhile end with the same file. With too few to
// begin with they do not start, and say why.
func TestFewFilesAlone(t *testing.T) {
	t.Parallel()
	const files = 96
	_, hosts := e2etest.Emulators(t, exportd, t.TempDir())
	few := limited(t, exportd, files)
	s := e2etest.Services(t, few, hosts, e2etest.Sizes{Users: 200, Messages: 300}, "EXPORTD_WAIT_SECONDS=0")
	connected := &http.Client{Transport: &http.Transport{MaxConnsPerHost: 1}}
	defer connected.CloseIdleConnections()
	healthy := func() error {
		r, err := connected.Get(s.APIURL + "/healthz")
		if err != nil {
			return err
		}
		defer r.Body.Close() //nolint:errcheck // read only
		if _, err := new(bytes.Buffer).ReadFrom(r.Body); err != nil || r.StatusCode != http.StatusOK {
			return fmt.Errorf("status %d, %w", r.StatusCode, err)
		}
		return nil
	}
	if err := healthy(); err != nil {
		t.Fatal(err)
	}
	jobs := []string{s.Caller().Submit(t, "vip-messages", s.Messages())}
	e2etest.CloseIdle()

	ticks, free := fillFiles(t, s.Process, strings.TrimPrefix(s.APIURL, "http://"), files)
	if err := healthy(); err != nil {
		t.Errorf("who was connected is not answered: %v", err)
	}
	free()
	e2etest.Until(t, time.Minute, "/readyz answers", func() bool {
		r, err := e2etest.Send(t.Context(), http.MethodGet, s.APIURL+"/readyz", nil, nil)
		return err == nil && r.Status == http.StatusOK
	})
	t.Logf("API: %d ms of CPU in 3 s at its limit", 10*ticks)
	if ticks > 150 { // half of one core
		t.Errorf("API: %d ms of CPU in 3 s at its limit", 10*ticks)
	}

	w := e2etest.Worker(t, few, hosts, "EXPORTD_OPS_ADDR=127.0.0.1:0", "EXPORTD_LEASE_SECONDS=3", "EXPORTD_PART_ROWS=100")
	file := s.Caller().Await(t, jobs[0], time.Minute)
	ticks, free = fillFiles(t, w, strings.TrimPrefix(e2etest.OpsURL(t, w), "http://"), files)
	for range 3 {
		jobs = append(jobs, s.Caller().Submit(t, "vip-messages", s.Messages(), "Cache-Control", "no-cache"))
	}
	first := s.Caller().Job(t, jobs[1], "wait=5")
	free()
	t.Logf("worker: %d ms of CPU in 3 s at its limit; a job was %s after 5 s", 10*ticks, first.State)
	if ticks > 150 {
		t.Errorf("worker: %d ms of CPU in 3 s at its limit", 10*ticks)
	}
	for _, command := range []string{"api", "worker"} { // too few to begin with
		p := e2etest.Start(t, append(hosts.Env(), "EXPORTD_ADDR=127.0.0.1:0", "EXPORTD_OPS_ADDR=127.0.0.1:0"), limited(t, exportd, 12), command)
		if code := p.Wait(t, time.Minute); code != 1 || !strings.Contains(p.Stderr(), "too many open files") {
			t.Errorf("%s with 12 files: exit code %d, %s", command, code, p.Stderr())
		}
	}
	want := e2etest.Download(t, *file.CSVURL).Body
	for _, id := range jobs {
		j := s.Caller().Await(t, id, 2*time.Minute)
		if j.State != "succeeded" {
			t.Errorf("job %s is %s: %+v", id, j.State, j.Error)
		} else if got := e2etest.Download(t, *j.CSVURL).Body; !bytes.Equal(got, want) {
			t.Errorf("file of job %s: %s", id, firstDifference(got, want))
		}
	}
	alive(t, map[string]*e2etest.Process{"worker": w, "API": s.Process})
}
