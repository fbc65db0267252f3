package e2e

import (
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"exportd/internal/e2e/e2etest"
)

// startFails is generous for a busy machine; a start that fails takes a moment.
const startFails = 45 * time.Second

// TestStartErrors: what an operator gets wrong is one clear message and exit code 1 (something failed) or 2
// (called or configured wrong).
func TestStartErrors(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = taken.Close() })
	addr := taken.Addr().String()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	nobody := []string{"FIRESTORE_EMULATOR_HOST=" + addr, "PUBSUB_EMULATOR_HOST=" + addr, "STORAGE_EMULATOR_HOST=" + addr}
	for _, tc := range []struct {
		name string
		env  []string
		args []string
		code int
		want []string // all of them, in the message
	}{
		{"taken port", nil, []string{"run", "--data-dir", t.TempDir(), "--addr", addr}, 1, []string{addr, "address already in use", "--addr 127.0.0.1:0", "--data-dir"}},
		{"taken port of the API", append(nobody, "EXPORTD_ADDR="+addr), []string{"api"}, 1, []string{addr, "address already in use"}},
		{"taken port of an emulator", nil, []string{"emulators", "--data-dir", t.TempDir(), "--firestore", addr}, 1, []string{addr, "address already in use"}},
		{"data folder that is a file", nil, []string{"run", "--data-dir", file, "--addr", "127.0.0.1:0"}, 1, []string{file}},
		{"data folder below a file", nil, []string{"emulators", "--data-dir", filepath.Join(file, "data")}, 1, []string{file}},
		{"data folder that nobody may make", nil, []string{"emulators", "--data-dir", "/proc/none"}, 1, []string{"/proc/none"}},
		{"many faults", []string{
			"EXPORTD_ENV=testing", "EXPORTD_WAIT_SECONDS=26", "EXPORTD_PART_ROWS=many", "EXPORTD_PITR=yes", "EXPORTD_ADDR=nowhere",
			"EXPORTD_PART_ROW=500", "FIRESTORE_EMULATOR_HOST=localhost",
		}, []string{"worker"}, 2, []string{
			"EXPORTD_ENV=", "development, production", "EXPORTD_WAIT_SECONDS=", "0 to 25", "EXPORTD_PART_ROWS=", "EXPORTD_PITR=", "true or false",
			"EXPORTD_ADDR=", "EXPORTD_PART_ROW:", "no such setting", "FIRESTORE_EMULATOR_HOST=", "host:port",
		}},
		{"nothing configured", nil, []string{"api"}, 2, []string{"EXPORTD_PROJECT_ID"}},
		{"production with emulators", append(nobody, "EXPORTD_ENV=production", "EXPORTD_PROJECT_ID=p", "EXPORTD_CALLBACK_ALLOW_HTTP=true"), []string{"api"}, 2,
			[]string{"EMULATOR_HOST", "EXPORTD_CALLBACK_ALLOW_HTTP"}},
		{"records shorter than files", append(nobody, "EXPORTD_RECORD_DAYS=1"), []string{"setup"}, 2, []string{"EXPORTD_RECORD_DAYS", "EXPORTD_FILE_DAYS"}},
		{"dev with a wrong environment", []string{"EXPORTD_LOG_LEVEL=loud", "EXPORTD_JOB_SLOTS=0"}, []string{"run", "--data-dir", t.TempDir(), "--addr", "127.0.0.1:0"}, 2,
			[]string{"EXPORTD_LOG_LEVEL", "EXPORTD_JOB_SLOTS"}},
		{"unknown command", nil, []string{"serve"}, 2, []string{"serve", "exportd --help"}},
		{"the embedded cloud in production", nil, []string{"exportd", "emulators"}, 2, []string{"emulators"}},
		{"unknown flag", nil, []string{"run", "--port", "1"}, 2, []string{"--port"}},
		{"surplus argument", nil, []string{"worker", "now"}, 2, []string{"now"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			program, name, args := exportd, "exportd: ", tc.args
			switch args[0] {
			case "exportd":
				args = args[1:]
			case "run", "emulators":
				program, name = e2etest.DevProgram(exportd), "exportd-dev: "
			}
			p := e2etest.Start(t, tc.env, program, args...)
			if code := p.Wait(t, startFails); code != tc.code {
				t.Errorf("exit code %d, want %d", code, tc.code)
			}
			message := p.Stderr()
			for _, part := range tc.want {
				if !strings.Contains(message, part) {
					t.Errorf("the message lacks %q:\n%s", part, message)
				}
			}
			if n := strings.Count(message, name); n != 1 {
				t.Errorf("%d messages, want one:\n%s", n, message)
			}
			for line := range strings.Lines(message) {
				if strings.HasPrefix(line, "\t") || strings.Contains(line, ".go:") {
					t.Errorf("a line of a stack trace: %q", line)
				}
			}
		})
	}
}

// TestInterruptedStart: Ctrl-C before a start is over is no failure to be read, and the next start goes on.
func TestInterruptedStart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := e2etest.Start(t, nil, e2etest.DevProgram(exportd), "run", "--data-dir", dir, "--addr", "127.0.0.1:0", "--demo-messages", "1000000")
	p.WaitLine(t, startFails, func(line string) string { return line }) // it fills the folder, which takes minutes
	p.Signal(syscall.SIGINT)
	if code := p.Wait(t, startFails); code != 130 || !strings.Contains(p.Stderr(), "interrupted before it was ready") || strings.Contains(p.Stderr(), "rpc error") {
		t.Errorf("interrupted, it ends with %d and says %q", code, p.Stderr())
	}
	second := e2etest.Start(t, nil, e2etest.DevProgram(exportd), "emulators", "--data-dir", dir)
	second.WaitLine(t, startFails, func(line string) string { return line })
	third := e2etest.Start(t, nil, e2etest.DevProgram(exportd), "run", "--data-dir", dir, "--addr", "127.0.0.1:0")
	if code := third.Wait(t, startFails); code != 1 || !strings.Contains(third.Stderr(), "--data-dir DIR") {
		t.Errorf("on a folder in use, it ends with %d and says %q", code, third.Stderr())
	}
}

// TestVersion: each program says which one it is, on standard output.
func TestVersion(t *testing.T) {
	t.Parallel()
	for _, program := range []string{exportd, e2etest.DevProgram(exportd)} {
		p := e2etest.Start(t, nil, program, "--version")
		if code := p.Wait(t, startFails); code != 0 {
			t.Errorf("%s --version: exit code %d", program, code)
		}
		if want := regexp.MustCompile(`^` + filepath.Base(program) + ` version \S+ \(commit ([0-9a-f]{12}( with changes)?|unknown), go1\.\S+\)\n$`); !want.MatchString(p.Stdout()) {
			t.Errorf("%s --version = %q", program, p.Stdout())
		}
	}
}

// TestHelp: help is on standard output, exit code 0, and has every setting.
func TestHelp(t *testing.T) {
	t.Parallel()
	for program, shown := range map[string][]string{
		exportd:                     {"EXPORTD_PART_ROWS", "FIRESTORE_EMULATOR_HOST", "api", "worker", "setup", "doctor", "exportd-dev run"},
		e2etest.DevProgram(exportd): {"EXPORTD_PART_ROWS", "run", "emulators"},
	} {
		for _, args := range [][]string{{"--help"}, {"help"}, nil} {
			p := e2etest.Start(t, nil, program, args...)
			if code := p.Wait(t, startFails); code != 0 {
				t.Errorf("%s %v: exit code %d", program, args, code)
			}
			for _, part := range shown {
				if !strings.Contains(p.Stdout(), part) {
					t.Errorf("%s %v does not show %s", program, args, part)
				}
			}
		}
	}
}
