package e2e

import (
	"cmp"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"exportd/internal/e2e/e2etest"
)

// floodFor is how long each kind of flood lasts; `make flood` gives it a minute.
var floodFor = flag.Duration("flood", 500*time.Millisecond, "how long each kind of flood lasts in TestFlood")

// floodCores has the floods on a core of their own, as they would be on the network's other side.
var floodCores = flag.Bool("floodcores", false, "in TestFlood, the floods run on one core and everything else on another")

// floodFrom is whom the floods come from; callers are at 127.0.0.1.
var floodFrom = flag.String("floodfrom", "127.0.0.2", "the address of TestFlood's floods; 127.0.0.1 is the callers' own, who share its limits then: refusals are shown, not held against them")

const (
	floodConns = 4
	// floodMemory is what the API may come to; its manifest allows twice as much.
	floodMemory = 128 << 20
	// floodLog is what it may write about one kind of flood: strangerLines a second of api, each below a
	// kilobyte, and what the listener itself says.
	floodLogPerSecond, floodLogAtOnce = 20 << 10, 128 << 10
	// floodSlower bounds the p99 of signed requests beside a flood, as a ratio to that alone. It is held
	// where there is time to measure it.
	floodSlower, floodMeasured = 3, 20 * time.Second
)

// TestFlood sends what strangers may send, as fast as four connections go: the API's memory and log stay
// small, no answer is a fault of the service, and callers are served beside it.
func TestFlood(t *testing.T) {
	binary, err := measured()
	if err != nil {
		t.Fatal(err)
	}
	cloud, hosts := e2etest.Emulators(t, binary, t.TempDir())
	s := e2etest.Services(t, binary, hosts, e2etest.Sizes{Users: 200, Messages: 500}, "EXPORTD_RATE_KEY_PER_SECOND=0")
	addr := strings.TrimPrefix(s.APIURL, "http://")
	floodCore, ourCore := "", ""
	if *floodCores {
		floodCore, ourCore = "0", "1"
		pin(t, cloud, ourCore)
		pin(t, s.Process, ourCore)
		pinPid(t, os.Getpid(), ourCore)
	}
	caller := s.Caller()
	alone := percentile99(asks(t, caller, max(*floodFor, 2*time.Second)))
	shared := *floodFrom == "127.0.0.1"
	t.Logf("%-16s %8s %8s  %9s %9s  %s", "flood", "requests", "statuses", "peak MiB", "log KiB", "p99 of signed requests beside it / alone")
	for _, f := range floods {
		t.Run(f.name, func(t *testing.T) {
			logged := strangersLog(s.Process)
			flooders := flooding{Kind: f.name, Addr: addr, Known: s.APIKey, From: *floodFrom, For: *floodFor}.start(t, floodCore)
			served, refused := asksBeside(t, caller, shared)
			beside := percentile99(served)
			statuses, requests := statuses(t, flooders), 0
			for status, n := range statuses {
				requests += n
				if status > 0 && (status < 400 || status >= 500 && status != http.StatusHTTPVersionNotSupported) {
					t.Errorf("status %d", status)
				}
			}
			logged = strangersLog(s.Process) - logged
			peak := peakRSS(t, s.Process)
			ratio := float64(beside) / float64(alone)
			t.Logf("%-16s %8d %v  %9.1f %9.1f  %.2fx (%v / %v)", f.name, requests, statuses, float64(peak)/(1<<20), float64(logged)/1024, ratio, beside, alone)
			if shared {
				t.Logf("%-16s %d of the callers' requests were 429, %d were served", f.name, refused, len(served))
			}
			if requests == 0 {
				t.Error("no request came through")
			}
			if peak > floodMemory {
				t.Errorf("the API came to %d MiB, want at most %d", peak>>20, floodMemory>>20)
			}
			if most := floodLogAtOnce + int(floodLogPerSecond*floodFor.Seconds()); logged > most {
				t.Errorf("%d bytes of log, want at most %d", logged, most)
			}
			if *floodFor >= floodMeasured && ratio > floodSlower {
				t.Errorf("signed requests take %.2f times as long, want at most %d", ratio, floodSlower)
			}
		})
	}
}

// pin has a process run on one core; "" is any.
func pin(t *testing.T, p *e2etest.Process, core string) {
	t.Helper()
	pinPid(t, p.Pid(), core)
}

func pinPid(t *testing.T, pid int, core string) {
	t.Helper()
	if core == "" {
		return
	}
	if out, err := exec.CommandContext(t.Context(), "taskset", "-a", "-c", "-p", core, strconv.Itoa(pid)).CombinedOutput(); err != nil {
		t.Fatalf("taskset: %v: %s", err, out)
	}
}

// strangersLog is the size of the lines that are not of a known key's requests.
func strangersLog(p *e2etest.Process) (n int) {
	for line := range strings.Lines(p.Stderr()) {
		if !strings.Contains(line, `"key_id"`) {
			n += len(line)
		}
	}
	return n
}

// asks makes a hundred signed requests a second and returns how long each took.
func asks(t *testing.T, caller *e2etest.Client, d time.Duration) []time.Duration {
	return asksOf(t, d, func() (e2etest.Response, error) {
		return caller.Try(t.Context(), http.MethodGet, "/workspaces", nil, nil)
	})
}

// asksBeside is asks beside a flood, whose limits they may share.
func asksBeside(t *testing.T, caller *e2etest.Client, shared bool) (served []time.Duration, refused int) {
	if !shared {
		return asks(t, caller, *floodFor), 0
	}
	var limited []bool
	all := asksOf(t, *floodFor, func() (e2etest.Response, error) {
		r, err := caller.Try(t.Context(), http.MethodGet, "/workspaces", nil, nil)
		if err == nil && r.Status == http.StatusTooManyRequests {
			refused++
			r.Status = http.StatusOK
			limited = append(limited, true)
			return r, nil
		}
		limited = append(limited, false)
		return r, err
	})
	for i, took := range all {
		if !limited[i] {
			served = append(served, took)
		}
	}
	return served, refused
}

// asksOf is asks with requests of another kind. Each must be answered by 200.
func asksOf(t *testing.T, d time.Duration, try func() (e2etest.Response, error)) (times []time.Duration) {
	due := time.NewTicker(10 * time.Millisecond)
	defer due.Stop()
	for end := time.Now().Add(d); time.Now().Before(end); {
		<-due.C
		begun := time.Now()
		r, err := try()
		if err != nil || r.Status != http.StatusOK {
			t.Errorf("a signed request: status %d, %v: %.200s", r.Status, err, r.Body)
		}
		times = append(times, time.Since(begun))
	}
	return times
}

func percentile99(times []time.Duration) time.Duration {
	slices.SortFunc(times, cmp.Compare)
	if len(times) == 0 {
		return 0
	}
	return times[len(times)*99/100]
}

// peakRSS is the most memory that a process has had, in bytes.
func peakRSS(t *testing.T, p *e2etest.Process) int {
	t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Pid()))
	if err != nil {
		t.Skipf("peak memory: %v", err)
	}
	_, rest, _ := strings.Cut(string(raw), "VmHWM:")
	kib, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatalf("peak memory: %v", err)
	}
	return kib << 10
}
