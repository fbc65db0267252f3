//go:build chromium

package browser

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"
)

// answersWithin is how long one step may take, as a page that is loaded, judged or drawn, whatever else the
// browser tells meanwhile: the largest page takes half a minute on a busy machine.
const answersWithin = 3 * time.Minute

// chromium is a browser driven by the DevTools protocol over a pipe: JSON messages that end with a zero byte
// (https://chromedevtools.github.io/devtools-protocol/), for which no library is needed.
type chromium struct {
	t      testing.TB
	cmd    *exec.Cmd
	to     *os.File
	from   *bufio.Reader
	pipe   *os.File // that from reads
	events []message
	last   int
	url    string        // of the page that was opened last, for errors
	within time.Duration // answersWithin
}

type message struct {
	ID        int             `json:"id,omitempty"`
	SessionID string          `json:"sessionId,omitempty"`
	Method    string          `json:"method,omitempty"`
	Params    json.RawMessage `json:"params,omitempty"`
	Result    json.RawMessage `json:"result,omitempty"`
	Error     json.RawMessage `json:"error,omitempty"`
}

func start(t testing.TB) *chromium {
	t.Helper()
	name := ""
	for _, known := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(known); err == nil {
			name = path
			break
		}
	}
	if name == "" {
		t.Fatal("no Chromium on this machine: apt-get install --no-install-recommends chromium")
	}
	// Not the test's own: some of the browser's processes write for a moment after it was ended.
	folder, err := os.MkdirTemp("", "chromium-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	args := []string{
		"--headless", "--hide-scrollbars", "--remote-debugging-pipe", "--user-data-dir=" + folder, "--no-first-run", "--disable-gpu", "--disable-dev-shm-usage",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-backgrounding-occluded-windows", "--disable-renderer-backgrounding", "--no-proxy-server",
	}
	if os.Geteuid() == 0 {
		args = append(args, "--no-sandbox") // it refuses to run as root with one
	}
	theirIn, to := pipe(t)
	from, theirOut := pipe(t)
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.ExtraFiles = []*os.File{theirIn, theirOut} // 3 and 4, where it expects them
	if err := cmd.Start(); err != nil {
		t.Fatalf("start Chromium: %v", err)
	}
	_, _ = theirIn.Close(), theirOut.Close()
	b := &chromium{t: t, cmd: cmd, to: to, from: bufio.NewReaderSize(from, 1<<20), pipe: from, within: answersWithin}
	t.Cleanup(b.stop)
	return b
}

func pipe(t testing.TB) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = r.Close(), w.Close() })
	return r, w
}

// call waits for the answer to a command; sessionID is that of a tab, or empty.
func (b *chromium) call(sessionID, method string, params, to any) {
	b.t.Helper()
	raw, err := json.Marshal(params)
	if err != nil {
		b.t.Fatal(err)
	}
	if params == nil {
		raw = nil
	}
	s := b.begin(fmt.Sprintf("%s %.200s", method, raw))
	b.last++
	raw, err = json.Marshal(message{ID: b.last, SessionID: sessionID, Method: method, Params: raw})
	if err == nil {
		_, err = b.to.Write(append(raw, 0))
	}
	if err != nil {
		b.fail(s, err)
	}
	for {
		m := b.read(s)
		switch {
		case m.ID != b.last:
			b.events = append(b.events, m)
			continue
		case m.Error != nil:
			b.t.Fatalf("%s at %s: %s", method, b.url, m.Error)
		case to != nil:
			if err := json.Unmarshal(m.Result, to); err != nil {
				b.t.Fatalf("%s: %v", method, err)
			}
		}
		return
	}
}

// until waits for an event, which may have come already.
func (b *chromium) until(sessionID, method string) {
	b.t.Helper()
	b.untilSuch(sessionID, method, func(json.RawMessage) bool { return true })
}

// untilSuch waits for an event that fits.
func (b *chromium) untilSuch(sessionID, method string, fits func(params json.RawMessage) bool) {
	b.t.Helper()
	s := b.begin(method)
	for i := 0; ; i++ {
		if i == len(b.events) {
			b.events = append(b.events, b.read(s))
		}
		if b.events[i].SessionID == sessionID && b.events[i].Method == method && fits(b.events[i].Params) {
			return
		}
	}
}

// step is something that is waited for.
type step struct {
	what  string
	begun time.Time
}

// begin bounds a step as a whole.
func (b *chromium) begin(what string) step {
	b.t.Helper()
	s := step{what, time.Now()}
	until := s.begun.Add(b.within)
	if err := errors.Join(b.to.SetWriteDeadline(until), b.pipe.SetReadDeadline(until)); err != nil {
		b.t.Fatalf("bound %s: %v", what, err)
	}
	return s
}

func (b *chromium) read(s step) (m message) {
	b.t.Helper()
	raw, err := b.from.ReadBytes(0)
	if err == nil {
		err = json.Unmarshal(raw[:len(raw)-1], &m)
	}
	if err != nil {
		b.fail(s, err)
	}
	return m
}

// fail ends the test with what was waited for, and where.
func (b *chromium) fail(s step, err error) {
	b.t.Helper()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		b.t.Fatalf("Chromium has not done %s within %s at %s; %d events came since the page was asked for", s.what, b.within, b.url, len(b.events))
	}
	b.t.Fatalf("Chromium at %s, doing %s for %s: %v", b.url, s.what, time.Since(s.begun).Round(time.Second), err)
}

// stop ends the browser and waits until it is gone.
func (b *chromium) stop() {
	if b.cmd == nil {
		return
	}
	_ = b.cmd.Process.Kill()
	_ = b.cmd.Wait()
	b.cmd = nil
}
