package e2e

import (
	"bufio"
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"exportd/internal/e2e/e2etest"
)

// floodFor is how long each kind of flood lasts; `make flood` gives it a minute.
var floodFor = flag.Duration("flood", 500*time.Millisecond, "how long each kind of flood lasts in TestFlood")

const (
	floodConns = 4
	// floodMemory is what the API may come to; its manifest allows twice as much.
	floodMemory = 128 << 20
	// floodLog is what it may write about one kind of flood: strangerLines a second of api, each
	// below a kilobyte, and what the listener itself says.
	floodLogPerSecond, floodLogAtOnce = 20 << 10, 128 << 10
	// floodSlower bounds the p99 of signed requests beside a flood, as a ratio to that alone. It is held
	// where there is time to measure it.
	floodSlower, floodMeasured = 3, 20 * time.Second
)

func noise(n int) string {
	b := make([]byte, n/2)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// floods write one request of a stranger; half says that it is none that is answered.
var floods = []struct {
	name  string
	half  bool
	write func(w io.Writer, known string) error
}{
	{"methods", false, func(w io.Writer, _ string) error {
		return say(w, "%s /workspaces HTTP/1.1\r\nHost: x\r\n\r\n", "M"+strings.ToUpper(noise(50_000)))
	}},
	{"paths", false, func(w io.Writer, _ string) error {
		return say(w, "GET /%s HTTP/1.1\r\nHost: x\r\n\r\n", noise(8_000))
	}},
	{"headers", false, func(w io.Writer, _ string) error {
		var b strings.Builder
		for range 40 {
			b.WriteString("X-" + noise(20) + ": " + noise(1_000) + "\r\n")
		}
		return say(w, "GET /workspaces HTTP/1.1\r\nHost: x\r\n%s\r\n", b.String())
	}},
	{"hosts", false, func(w io.Writer, _ string) error {
		return say(w, "GET /workspaces HTTP/1.1\r\nHost: %s.example\r\n\r\n", noise(60))
	}},
	{"unknown keys", false, func(w io.Writer, _ string) error { return say(w, "%s", signedAs("/workspaces", "key_"+noise(24))) }},
	{"bad signatures", false, func(w io.Writer, known string) error { return say(w, "%s", signedAs("/workspaces", known)) }},
	{"odd queries", false, func(w io.Writer, known string) error {
		return say(w, "%s", signedAs("/vip-messages?"+strings.Repeat("from=%25&", 500)+noise(2_000), known))
	}},
	{"X-Forwarded-For", false, func(w io.Writer, _ string) error {
		return say(w, "GET /workspaces HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: %s\r\n\r\n", strings.Repeat("10.0.0.1,", 3_500))
	}},
	{"half requests", true, func(w io.Writer, _ string) error {
		return say(w, "POST /exports/x/cancel HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n%s", noise(20_000))
	}},
	{"h2 resets", true, func(w io.Writer, _ string) error {
		frames := "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"
		for stream := byte(1); stream < 200; stream += 2 {
			id := string([]byte{0, 0, 0, stream})
			frames += "\x00\x00\x03\x01\x05" + id + "\x82\x84\x86" + "\x00\x00\x04\x03\x00" + id + "\x00\x00\x00\x08"
		}
		_, err := io.WriteString(w, frames)
		return err
	}},
}

func say(w io.Writer, format string, args ...any) error {
	_, err := fmt.Fprintf(w, format, args...)
	return err
}

// signedAs is a request that claims a key, with a signature that it did not make.
func signedAs(target, key string) string {
	return "GET " + target + " HTTP/1.1\r\nHost: x\r\nx-api-key: " + key +
		"\r\nx-date: " + time.Now().UTC().Format("2006-01-02T15:04:05.000Z") + "\r\nx-signature: " + noise(64) + "\r\n\r\n"
}

// TestFlood sends what strangers may send, as fast as four connections go: the API's memory
// and log stay small, no answer is a fault of the service, and callers are served beside it.
func TestFlood(t *testing.T) {
	dir := t.TempDir()
	binary, err := e2etest.Build(dir, false) // memory is measured
	if err != nil {
		t.Fatal(err)
	}
	_, hosts := e2etest.Emulators(t, binary, dir+"/data")
	s := e2etest.Services(t, binary, hosts, e2etest.Sizes{Users: 200, Messages: 500}, "EXPORTD_RATE_KEY_PER_SECOND=0")
	addr := strings.TrimPrefix(s.APIURL, "http://")
	caller := s.Caller()
	alone := asks(t, caller, max(*floodFor, 2*time.Second))
	t.Logf("%-16s %8s %8s  %9s %9s  %s", "flood", "requests", "statuses", "peak MiB", "log KiB", "p99 of signed requests beside it / alone")
	for _, f := range floods {
		logged := strangersLog(s.Process)
		var wg sync.WaitGroup
		end := time.Now().Add(*floodFor)
		tallies := make([]map[int]int, floodConns)
		for i := range tallies {
			wg.Go(func() { tallies[i] = flood(addr, s.APIKey, f.half, f.write, end) })
		}
		beside := asks(t, caller, *floodFor)
		wg.Wait()
		statuses, requests := map[int]int{}, 0
		for _, tally := range tallies {
			for status, n := range tally {
				statuses[status] += n
				requests += n
			}
		}
		logged = strangersLog(s.Process) - logged
		peak := peakRSS(t, s.Process)
		ratio := float64(percentile99(beside)) / float64(percentile99(alone))
		t.Logf("%-16s %8d %v  %9.1f %9.1f  %.2fx (%v / %v)", f.name, requests, statuses, float64(peak)/(1<<20), float64(logged)/1024, ratio, percentile99(beside), percentile99(alone))
		if requests == 0 {
			t.Errorf("%s: no request came through", f.name)
		}
		for status := range statuses {
			if status != 0 && (status < 400 || status >= 500 && status != http.StatusHTTPVersionNotSupported) {
				t.Errorf("%s: status %d", f.name, status)
			}
		}
		if peak > floodMemory {
			t.Errorf("%s: the API came to %d MiB, want at most %d", f.name, peak>>20, floodMemory>>20)
		}
		if most := floodLogAtOnce + int(floodLogPerSecond*floodFor.Seconds()); logged > most {
			t.Errorf("%s: %d bytes of log, want at most %d", f.name, logged, most)
		}
		if *floodFor >= floodMeasured && ratio > floodSlower {
			t.Errorf("%s: signed requests take %.2f times as long, want at most %d", f.name, ratio, floodSlower)
		}
	}
}

// stranger dials from an address that is not the caller's: each has a limit of its own.
var stranger = net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}

// strangersLog is the size of the lines that are not of a known key's requests.
func strangersLog(p *e2etest.Process) (n int) {
	for line := range strings.Lines(p.Stderr()) {
		if !strings.Contains(line, `"key_id"`) {
			n += len(line)
		}
	}
	return n
}

// flood writes requests on a connection, and on new ones where it is closed, and counts answers by
// status; 0 is a connection that was closed.
func flood(addr, known string, half bool, write func(io.Writer, string) error, end time.Time) map[int]int {
	statuses := map[int]int{}
	for time.Now().Before(end) {
		c, err := stranger.Dial("tcp", addr)
		if err != nil {
			statuses[-1]++
			return statuses
		}
		_ = c.SetDeadline(end.Add(5 * time.Second))
		answers := bufio.NewReader(c)
		for time.Now().Before(end) {
			if err := write(c, known); err != nil {
				break
			}
			if half {
				statuses[0]++
				break
			}
			r, err := http.ReadResponse(answers, nil)
			if err != nil {
				statuses[0]++
				break
			}
			_, err = io.Copy(io.Discard, r.Body)
			_ = r.Body.Close()
			statuses[r.StatusCode]++
			if err != nil || r.Close {
				break
			}
		}
		_ = c.Close()
	}
	return statuses
}

// asks makes a hundred signed requests a second and returns how long each took.
func asks(t *testing.T, caller *e2etest.Client, d time.Duration) (times []time.Duration) {
	due := time.NewTicker(10 * time.Millisecond)
	defer due.Stop()
	for end := time.Now().Add(d); time.Now().Before(end); {
		<-due.C
		begun := time.Now()
		r, err := caller.Try(t.Context(), http.MethodGet, "/workspaces", nil, nil)
		if err != nil || r.Status != http.StatusOK {
			t.Errorf("a signed request: status %d, %v", r.Status, err)
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
