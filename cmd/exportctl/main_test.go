package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"exportd/internal/e2e/e2etest"
)

var update = flag.Bool("update", false, "write the golden files anew")

// Paths of the binaries under test, built once.
var exportdBinary, exportctlBinary string

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	flag.Parse()
	dir, err := os.MkdirTemp("", "exportctl-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if !testing.Short() {
		if exportdBinary, err = e2etest.Build(dir, false); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		exportctlBinary = filepath.Join(dir, "exportctl")
		if out, err := exec.Command("go", "build", "-o", exportctlBinary, ".").CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build exportctl: %v\n%s", err, out)
			return 1
		}
	}
	return e2etest.Run(m)
}

// output is a buffer that may be read while a command writes to it.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// call is a command line to run in this process.
type call struct {
	vars     map[string]string
	stdin    string
	terminal bool // all three are terminals, 100 columns wide
	noColor  bool
	now      func() time.Time
}

// result is what came of it.
type result struct {
	code           int
	stdout, stderr string
}

func (c call) environment(stdout, stderr io.Writer) environment {
	vars := map[string]string{"HOME": "/nonexistent", "LANG": "C.UTF-8"}
	for k, v := range c.vars {
		vars[k] = v
	}
	if c.noColor {
		vars["NO_COLOR"] = "1"
	}
	now := c.now
	if now == nil {
		now = time.Now
	}
	return environment{
		getenv: func(name string) string { return vars[name] }, stdin: strings.NewReader(c.stdin), stdout: stdout, stderr: stderr,
		stdinTerminal: c.terminal, stdoutTerminal: c.terminal, stderrTerminal: c.terminal,
		width: func() int {
			if c.terminal {
				return 100
			}
			return 0
		},
		readSecret: func() ([]byte, error) { return []byte("typed-secret"), nil },
		now:        now,
	}
}

func (c call) run(ctx context.Context, args ...string) result {
	var stdout, stderr output
	code := run(ctx, c.environment(&stdout, &stderr), args)
	return result{code, stdout.String(), stderr.String()}
}

// want fails the test unless a command ended with code, and returns what it printed.
func (r result) want(t *testing.T, code int) result {
	t.Helper()
	if r.code != code {
		t.Fatalf("exit code %d, want %d\nstdout: %s\nstderr: %s", r.code, code, r.stdout, r.stderr)
	}
	return r
}

// says fails the test unless standard error has all texts.
func (r result) says(t *testing.T, texts ...string) result {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(r.stderr, text) {
			t.Errorf("stderr does not say %q:\n%s", text, r.stderr)
		}
	}
	return r
}

// shows fails the test unless standard output has all texts.
func (r result) shows(t *testing.T, texts ...string) result {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(r.stdout, text) {
			t.Errorf("stdout does not show %q:\n%s", text, r.stdout)
		}
	}
	return r
}

// eventually asks until ok says yes.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("not in time: %s", what)
		}
	}
}

// golden compares with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (-update writes it anew)\ngot:\n%s\nwant:\n%s", path, got, want)
	}
}
