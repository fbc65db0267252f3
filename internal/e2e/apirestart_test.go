package e2e

import (
	"bytes"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"exportd/internal/e2e/e2etest"
)

const heldPolls, heldStreams = 100, 50

// TestAPIRestart: an API that is stopped, or killed, with long-polls and event streams open ends each of them
// honestly: a stopped one with the job as it is and a stream that is whole, a killed one with a closed
// connection. The same callers come again to the API that is then at its address, and all get their result.
func TestAPIRestart(t *testing.T) {
	t.Parallel()
	_, hosts := e2etest.Emulators(t, exportd, t.TempDir())
	const rate = "EXPORTD_RATE_KEY_PER_SECOND=0"
	s := e2etest.Services(t, exportd, hosts, e2etest.Sizes{Users: 200, Messages: 500}, rate)
	addr := strings.TrimPrefix(s.APIURL, "http://")
	var ids []string
	for range 5 {
		ids = append(ids, s.Caller().Submit(t, "vip-messages", s.Messages(), "Cache-Control", "no-cache"))
	}
	for _, round := range []struct {
		name string
		end  syscall.Signal
		want map[string]int
	}{
		{"SIGTERM", syscall.SIGTERM, map[string]int{"200 queued": heldPolls, "stream ended": heldStreams}},
		{"SIGKILL", syscall.SIGKILL, map[string]int{"connection closed": heldPolls + heldStreams}},
	} {
		h := hold(t, s, ids)
		begun := time.Now()
		s.Process.Signal(round.end)
		code := s.Process.Wait(t, stopWithin)
		drained := time.Since(begun)
		got := h.ends()
		t.Logf("%s with %d long-polls and %d event streams open: exit code %d after %s, callers: %v", round.name, heldPolls, heldStreams, code, drained.Round(time.Millisecond), got)
		for how, n := range round.want {
			if got[how] != n {
				t.Errorf("%s: %d ended as %q, want %d", round.name, got[how], how, n)
			}
		}
		if round.end == syscall.SIGTERM && code != 0 {
			t.Errorf("SIGTERM: exit code %d, want 0", code)
		}
		s.Process = e2etest.Start(t, append(hosts.Env(), rate, "EXPORTD_ADDR="+addr, "EXPORTD_OPS_ADDR=127.0.0.1:0"), exportd, "api")
		s.Process.WaitLine(t, stopWithin, func(line string) string {
			if strings.Contains(line, addr) {
				return line
			}
			return ""
		})
	}
	h := hold(t, s, ids)
	e2etest.Worker(t, exportd, hosts)
	begun := time.Now()
	got := h.ends()
	t.Logf("after both: %v, %s after a worker began", got, time.Since(begun).Round(time.Millisecond))
	if got["200 succeeded"] != heldPolls || got["stream succeeded"] != heldStreams {
		t.Errorf("after both: %v, want %d and %d that succeeded", got, heldPolls, heldStreams)
	}
}

// holding is callers that wait for jobs.
type holding struct {
	wg sync.WaitGroup
	mu sync.Mutex
	by map[string]int
}

// hold has callers wait, and returns once the API says that all of them do.
func hold(t *testing.T, s *e2etest.Stack, ids []string) *holding {
	t.Helper()
	h := &holding{by: map[string]int{}}
	for i := range heldPolls + heldStreams {
		path, kind := "/exports/"+ids[i%len(ids)], ""
		if i >= heldPolls {
			path, kind = path+"/events", "stream"
		}
		h.wg.Go(func() {
			r, err := s.Caller().Try(t.Context(), http.MethodGet, path, nil, nil, "Prefer", "wait=25")
			how := "connection closed"
			switch state := lastState(r.Body); {
			case err != nil:
			case kind == "" || r.Status != http.StatusOK:
				how = strconv.Itoa(r.Status) + " " + state
			case state == "succeeded" || state == "failed":
				how = "stream " + state
			default:
				how = "stream ended"
			}
			h.mu.Lock()
			defer h.mu.Unlock()
			h.by[how]++
		})
	}
	want := "exportd_http_waits " + strconv.Itoa(heldPolls+heldStreams)
	ops := e2etest.OpsURL(t, s.Process)
	e2etest.Until(t, jobWithin, "all wait", func() bool {
		r, err := e2etest.Send(t.Context(), http.MethodGet, ops+"/metrics", nil, nil)
		return err == nil && strings.Contains(string(r.Body), want)
	})
	return h
}

// ends waits for the callers and counts how their requests ended.
func (h *holding) ends() map[string]int {
	h.wg.Wait()
	return h.by
}

// lastState is the state of a job that was told last.
func lastState(body []byte) string {
	_, rest, ok := bytes.Cut(body[max(0, bytes.LastIndex(body, []byte(`"state":`))):], []byte(`"state":"`))
	if !ok {
		return ""
	}
	state, _, _ := bytes.Cut(rest, []byte(`"`))
	return string(state)
}
