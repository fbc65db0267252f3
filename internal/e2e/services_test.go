package e2e

import (
	"bytes"
	"context"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"exportd/internal/e2e/e2etest"
)

// stopWithin bounds a graceful stop: the drain of 20 s, and a busy machine.
const stopWithin = 45 * time.Second

// TestServices: emulators, API and two workers as processes of their own, as in the README, through an outage
// of the emulators and the stop of workers.
func TestServices(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	// Without accounts, also where an image is tested: theirs are other ports after a restart.
	emulators, hosts := e2etest.Emulators(t, exportd, folder, "--control", "127.0.0.1:0", "--roles", "")
	s := e2etest.Services(t, exportd, hosts, e2etest.Sizes{Users: 300, Messages: 500})
	for range 2 { // setup is safe to repeat, and doctor finds nothing
		for _, command := range []string{"setup", "doctor"} {
			p := e2etest.Start(t, hosts.Env(), exportd, command)
			if code := p.Wait(t, startFails); code != 0 {
				t.Errorf("exportd %s: exit code %d\n%s%s", command, code, p.Stdout(), p.Stderr())
			}
		}
	}
	env := []string{"EXPORTD_PART_ROWS=100"}
	first, second := e2etest.Worker(t, exportd, hosts, env...), e2etest.Worker(t, exportd, hosts, env...)

	want, _ := e2etest.File("vip-messages", s.Stored(t, "vip-messages"), true)
	export := func(what string) {
		t.Helper()
		begun := time.Now()
		j, got := s.Caller().Export(t, "vip-messages", s.Messages())
		t.Logf("%s: %d rows in %d parts took %s", what, *j.TotalCount, j.Progress.PartsTotal, time.Since(begun))
		if !bytes.Equal(got, want) {
			t.Errorf("%s: %s", what, firstDifference(got, want))
		}
		if j.Progress.PartsTotal < 10 {
			t.Errorf("%s: %d parts of 100 rows for %d", what, j.Progress.PartsTotal, *j.TotalCount)
		}
	}
	export("two workers")

	oneDown(t, s)
	emulators.Kill()
	outage(t, s, folder)
	export("after the outage")
	drain(t, s, first)
	export("one worker")
	apiStops(t, s)
	secondSignal(t, second)
}

// drain: a worker that is told to stop ends the work that it has and goes; the other one does the rest, and
// no attempt is spent.
func drain(t *testing.T, s *e2etest.Stack, worker *e2etest.Process) {
	s.Faults(t, `{"rules": {"Firestore/RunQuery": {"rowsPerSecond": 100}}}`) // about a second for a part
	defer s.Faults(t, "{}")
	id := s.Caller().Submit(t, "vip-messages", s.Messages(), "Cache-Control", "no-cache")
	e2etest.Until(t, jobWithin, "parts to be under way", func() bool { return s.Caller().Job(t, id, "").Progress.RowsDone > 0 })
	worker.Signal(syscall.SIGTERM)
	if code := worker.Wait(t, stopWithin); code != 0 {
		t.Errorf("worker, SIGTERM: exit code %d, want 0", code)
	}
	if !strings.Contains(worker.Stderr(), "worker stopped") {
		t.Error("a worker that was told to stop does not say that it has")
	}
	if j := s.Caller().Await(t, id, jobWithin); j.State != "succeeded" || j.Attempt != 1 {
		t.Errorf("the job of the stopped worker is %s after %d attempts, want succeeded after 1", j.State, j.Attempt)
	}
}

// secondSignal: a worker whose work would take for ever ends at once at the second signal.
func secondSignal(t *testing.T, worker *e2etest.Process) {
	// The job that the API took last is what the worker is at, for minutes.
	worker.Signal(syscall.SIGTERM)
	worker.WaitLine(t, jobWithin, func(line string) string {
		if strings.Contains(line, "worker takes no new work") {
			return line
		}
		return ""
	})
	select {
	case <-worker.Done():
		t.Fatal("the worker stopped with work that cannot end")
	default:
	}
	worker.Signal(syscall.SIGTERM) // the drain alone would take 20 s
	if code := worker.Wait(t, stopWithin); code != 130 {
		t.Errorf("worker, second SIGTERM: exit code %d, want 130 at once", code)
	}
}

// oneDown: readyz names the service that cannot be used, and only that.
func oneDown(t *testing.T, s *e2etest.Stack) {
	for name, rules := range map[string]string{
		"firestore": `"Firestore/*": {"errorRate": 1}`,
		"pubsub":    `"Publisher/*": {"errorRate": 1}, "Subscriber/*": {"errorRate": 1}, "IAMPolicy/*": {"errorRate": 1}`,
		"storage":   `"Storage/*": {"errorRate": 1}`,
	} {
		s.Faults(t, `{"rules": {`+rules+`}}`)
		want := map[string]string{"clock": "ok", "disk": "ok", "firestore": "ok", "keyset": "ok", "pubsub": "ok", "storage": "ok"}
		want[name] = "unavailable"
		e2etest.Until(t, jobWithin, "readyz to say that "+name+" alone is down", func() bool {
			status, checks, err := s.Ready(t.Context())
			return err == nil && status == http.StatusServiceUnavailable && maps.Equal(checks, want)
		})
	}
	s.Faults(t, "{}")
}

// outage: the emulators are gone; then they are back on the same ports.
func outage(t *testing.T, s *e2etest.Stack, folder string) {
	c := s.Caller()
	e2etest.Until(t, jobWithin, "readyz to name what is down", func() bool {
		status, checks, err := s.Ready(t.Context())
		return err == nil && status == http.StatusServiceUnavailable && len(checks) == 6 &&
			!slices.Contains([]string{checks["firestore"], checks["pubsub"], checks["storage"]}, "ok")
	})
	var asked sync.WaitGroup
	for _, path := range []string{"/workspaces", "/vip-messages", "/vip-messages/export"} {
		query := s.Messages()
		if path == "/workspaces" {
			query = nil
		}
		asked.Go(func() {
			r, err := c.Try(t.Context(), http.MethodGet, path, query, nil)
			if err != nil || r.Status != http.StatusServiceUnavailable || r.Header.Get("Retry-After") == "" || !bytes.Contains(r.Body, []byte("message")) {
				t.Errorf("%s in an outage: %d %.300s, Retry-After %q, %v", path, r.Status, r.Body, r.Header.Get("Retry-After"), err)
			}
		})
	}
	asked.Wait()
	if r, err := e2etest.Send(t.Context(), http.MethodGet, s.APIURL+"/healthz", nil, nil); err != nil || r.Status != http.StatusOK {
		t.Errorf("healthz in an outage: %d %v", r.Status, err)
	}
	args := []string{"--firestore", s.Firestore, "--pubsub", s.PubSub, "--storage", s.Storage, "--control", s.Control}
	waitFree(t, s.Firestore, s.PubSub, s.Storage, s.Control)
	e2etest.Emulators(t, exportd, folder, args...)
	e2etest.Until(t, jobWithin, "readyz to be well again", func() bool {
		status, _, err := s.Ready(t.Context())
		return err == nil && status == http.StatusOK
	})
	// The clients' own connections come back one by one.
	e2etest.Until(t, jobWithin, "a list after the outage", func() bool {
		return c.Get(t, "/vip-messages", s.Messages()).Status == http.StatusOK
	})
}

// waitFree waits until nobody listens on the addresses.
func waitFree(t *testing.T, addrs ...string) {
	t.Helper()
	for _, addr := range addrs {
		e2etest.Until(t, jobWithin, addr+" to be free", func() bool {
			l, err := (&net.ListenConfig{}).Listen(context.WithoutCancel(t.Context()), "tcp", addr)
			if err == nil {
				_ = l.Close()
			}
			return err == nil
		})
	}
}

// apiStops: the API stops while a request waits for a job, and answers it.
func apiStops(t *testing.T, s *e2etest.Stack) {
	s.Faults(t, `{"rules": {"Storage/*": {"delayRate": 1, "delayMs": 30000}}}`)
	// Few enough rows for one part: once they are counted, the worker reads and uploads them.
	id := s.Caller().Submit(t, "vip-users", s.Users("birthdayMonth", "2"), "Cache-Control", "no-cache")
	e2etest.Until(t, jobWithin, "the job to be under way", func() bool { return s.Caller().Job(t, id, "").Progress.RowsTotal != nil })
	type answer struct {
		response e2etest.Response
		err      error
	}
	waiting := make(chan answer, 1)
	ops := e2etest.OpsURL(t, s.Process)
	go func() {
		r, err := s.Caller().Try(context.WithoutCancel(t.Context()), http.MethodGet, "/exports/"+id, nil, nil, "Prefer", "wait=25")
		waiting <- answer{r, err}
	}()
	for at, want := range map[string]int{s.APIURL: http.StatusNotFound, ops: http.StatusOK} {
		if r, err := e2etest.Send(t.Context(), http.MethodGet, at+"/metrics", nil, nil); err != nil || r.Status != want {
			t.Errorf("%s/metrics: %d %v, want %d", at, r.Status, err, want)
		}
	}
	e2etest.Until(t, jobWithin, "the request to wait", func() bool {
		r, err := e2etest.Send(t.Context(), http.MethodGet, ops+"/metrics", nil, nil)
		return err == nil && bytes.Contains(r.Body, []byte("\nexportd_http_waits 1\n"))
	})
	s.Process.Signal(syscall.SIGTERM)
	if code := s.Process.Wait(t, stopWithin); code != 0 {
		t.Errorf("api, SIGTERM: exit code %d, want 0", code)
	}
	a := <-waiting
	if a.err != nil || a.response.Status != http.StatusOK || !bytes.Contains(a.response.Body, []byte(id)) {
		t.Errorf("a request that waited when the API stopped: %d, %v", a.response.Status, a.err)
	}
}
