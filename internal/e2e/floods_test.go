package e2e

import (
	"bufio"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"exportd/internal/e2e/e2etest"
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
		return say(w, "%s /workspaces HTTP/1.1\r\nHost: localhost\r\n\r\n", "M"+strings.ToUpper(noise(50_000)))
	}},
	{"paths", false, func(w io.Writer, _ string) error {
		return say(w, "GET /%s HTTP/1.1\r\nHost: localhost\r\n\r\n", noise(8_000))
	}},
	{"headers", false, func(w io.Writer, _ string) error {
		var b strings.Builder
		for range 40 {
			b.WriteString("X-" + noise(20) + ": " + noise(1_000) + "\r\n")
		}
		return say(w, "GET /workspaces HTTP/1.1\r\nHost: localhost\r\n%s\r\n", b.String())
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
		return say(w, "GET /workspaces HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: %s\r\n\r\n", strings.Repeat("10.0.0.1,", 3_500))
	}},
	{"half requests", true, func(w io.Writer, _ string) error {
		return say(w, "POST /exports/x/cancel HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000\r\n\r\n%s", noise(20_000))
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
	return "GET " + target + " HTTP/1.1\r\nHost: localhost\r\nx-api-key: " + key +
		"\r\nx-date: " + time.Now().UTC().Format("2006-01-02T15:04:05.000Z") + "\r\nx-signature: " + noise(64) + "\r\n\r\n"
}

// flooding is a flood of a kind by a process of its own: strangers do not share the callers' scheduler.
type flooding struct {
	Kind, Addr, Known string
	From              string // its own address
	For               time.Duration
}

const floodingVar = "EXPORTD_TEST_FLOODING"

// floodingMain is the whole of a test binary's process that TestFlood starts.
func floodingMain(raw string) int {
	var f flooding
	if err := json.Unmarshal([]byte(raw), &f); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	statuses := map[int]int{}
	for _, kind := range floods {
		if kind.name != f.Kind {
			continue
		}
		var wg sync.WaitGroup
		end := time.Now().Add(f.For)
		tallies := make([]map[int]int, floodConns)
		for i := range tallies {
			wg.Go(func() { tallies[i] = f.flood(kind.half, kind.write, end) })
		}
		wg.Wait()
		for _, tally := range tallies {
			for status, n := range tally {
				statuses[status] += n
			}
		}
	}
	if err := json.NewEncoder(os.Stdout).Encode(statuses); err != nil {
		return 1
	}
	return 0
}

// start begins it; statuses waits for its end.
func (f flooding) start(t *testing.T, core string) *e2etest.Process {
	t.Helper()
	raw, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	p := e2etest.Start(t, []string{floodingVar + "=" + string(raw)}, os.Args[0])
	pin(t, p, core)
	return p
}

func statuses(t *testing.T, p *e2etest.Process) (tally map[int]int) {
	t.Helper()
	if code := p.Wait(t, 30*time.Second); code != 0 {
		t.Fatalf("flooding: exit code %d: %s%s", code, p.Stdout(), p.Stderr())
	}
	if err := json.Unmarshal([]byte(p.Stdout()), &tally); err != nil {
		t.Fatalf("flooding wrote %q: %v", p.Stdout(), err)
	}
	return tally
}

// flood writes requests on a connection, and on new ones where it is closed, and counts answers by status; 0
// is a connection that was closed, -1 one that was refused.
func (f flooding) flood(half bool, write func(io.Writer, string) error, end time.Time) map[int]int {
	statuses := map[int]int{}
	from := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(f.From)}, Deadline: end}
	for time.Now().Before(end) {
		c, err := from.Dial("tcp", f.Addr)
		if err != nil {
			statuses[-1]++ // reset before it had begun, or dropped until the end
			continue
		}
		_ = c.SetDeadline(end.Add(5 * time.Second))
		answers := bufio.NewReader(c)
		for time.Now().Before(end) {
			if err := write(c, f.Known); err != nil {
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
