package e2etest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Build compiles exportd, and exportd-dev beside it, into dir and returns the path of exportd. With race they
// have the race detector in them; a race that it finds fails the test that runs them. Where an image is
// tested, exportd is the image's.
func Build(dir string, race bool) (string, error) {
	if FromImage() {
		return buildBeside(dir)
	}
	args := []string{"build", "-tags", "nomsgpack", "-o", dir + "/"}
	if race {
		args = append(args, "-race")
	}
	out, err := exec.Command("go", append(args, "exportd/cmd/exportd", "exportd/cmd/exportd-dev")...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build exportd: %w\n%s", err, out)
	}
	return dir + "/exportd", nil
}

// DevProgram is the path of the exportd-dev beside an exportd.
func DevProgram(exportd string) string { return exportd + "-dev" }

// Process is a process that a test started.
type Process struct {
	cmd            *exec.Cmd
	stdout, stderr *output
	done           chan struct{} // closed when it has ended and its output is read
}

// Start starts a program with args and, besides the test's own environment without what exportd reads, the
// variables env ("NAME=value"). At the end of the test the process and its children are killed, and a data
// race, panic or stack trace in its output is an error.
func Start(tb testing.TB, env []string, program string, args ...string) *Process {
	tb.Helper()
	return startAs(tb, nil, "", asAccount(program, env, args), program, args...)
}

// startAs is Start as another user, where one is given, in a folder that the user can enter.
func startAs(tb testing.TB, user *syscall.Credential, folder string, env []string, program string, args ...string) *Process {
	tb.Helper()
	p := &Process{cmd: exec.Command(program, args...), stdout: newOutput(), stderr: newOutput(), done: make(chan struct{})}
	p.cmd.Env, p.cmd.SysProcAttr, p.cmd.Dir = append(environ(), env...), attributes(), folder
	p.cmd.SysProcAttr.Credential = user
	p.cmd.Stdout, p.cmd.Stderr = p.stdout, p.stderr
	// A child that keeps the pipes open must not keep Wait from returning.
	p.cmd.WaitDelay = 5 * time.Second
	started := make(chan error, 1)
	go func() {
		// Linux sends the death signal when the thread that started the process ends.
		runtime.LockOSThread()
		defer close(p.done)
		err := p.cmd.Start()
		started <- err
		if err == nil {
			_ = p.cmd.Wait() // ExitCode tells
		}
		p.stdout.close()
		p.stderr.close()
	}()
	if err := <-started; err != nil {
		tb.Fatalf("start %s: %v", program, err)
	}
	tb.Cleanup(func() {
		p.Kill()
		if tb.Failed() {
			tb.Logf("%s %s: exit code %d\n%s", program, strings.Join(args, " "), p.cmd.ProcessState.ExitCode(), tail(p.Stderr(), 8000))
		}
		if trace := Trace(p.Stdout() + p.Stderr()); trace != "" {
			tb.Errorf("%s %s: %s", program, strings.Join(args, " "), trace)
		}
	})
	return p
}

// environ is the test's environment without what exportd and Google's clients read.
func environ() []string {
	var env []string
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "EXPORTD_") && !strings.Contains(kv, "_EMULATOR_HOST=") && !strings.HasPrefix(kv, "GORACE=") {
			env = append(env, kv)
		}
	}
	return env
}

// Trace returns what in a program's output no user should ever see: the report of a data race, a panic or a
// stack trace. "" if there is none.
func Trace(out string) string {
	for _, sign := range []string{"WARNING: DATA RACE", "panic:", "fatal error:", "goroutine 1 [", "runtime error:"} {
		if i := strings.Index(out, sign); i >= 0 {
			return out[i:min(len(out), i+4000)]
		}
	}
	return ""
}

func tail(s string, n int) string { return s[max(0, len(s)-n):] }

// Pid is the id of the process.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Signal sends a signal to the process alone.
func (p *Process) Signal(s syscall.Signal) { _ = p.cmd.Process.Signal(s) } // an error means that it has ended

// Kill ends the process and its children at once, as kill -9 does, and waits for that.
func (p *Process) Kill() {
	select {
	case <-p.done:
	default:
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) // no such process: just ended
	}
	<-p.done
}

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait waits for the process to end by itself and returns its exit code, -1 for one that a signal ended. The
// test fails if it does not end in time.
func (p *Process) Wait(tb testing.TB, within time.Duration) int {
	tb.Helper()
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(within):
		p.Signal(syscall.SIGQUIT) // its goroutines show what it waits for
		p.Kill()
		tb.Fatalf("%v still runs after %s", p.cmd.Args, within)
		return -1
	}
}

// Stdout is what the process has written to standard output so far.
func (p *Process) Stdout() string { return p.stdout.String() }

// Stderr is what the process has written to standard error so far.
func (p *Process) Stderr() string { return p.stderr.String() }

// WaitLine waits for a line on standard output or error of which find returns more than "", and returns that.
// The test fails when the process ends or the time is over before.
func (p *Process) WaitLine(tb testing.TB, within time.Duration, find func(line string) string) string {
	tb.Helper()
	deadline := time.After(within)
	for _, o := range []*output{p.stdout, p.stderr} {
		defer o.wake() // lets the readers end
	}
	found := make(chan string, 2)
	stop := make(chan struct{})
	defer close(stop)
	for _, o := range []*output{p.stdout, p.stderr} {
		go func() { found <- o.find(find, stop) }()
	}
	for range 2 {
		select {
		case s := <-found:
			if s != "" {
				return s
			}
		case <-deadline:
			tb.Fatalf("%v: no such line within %s; it wrote:\n%s%s", p.cmd.Args, within, p.Stdout(), tail(p.Stderr(), 4000))
		}
	}
	tb.Fatalf("%v ended before the line came; it wrote:\n%s%s", p.cmd.Args, p.Stdout(), tail(p.Stderr(), 4000))
	return ""
}

// output collects what a process writes and wakes those who wait for more.
type output struct {
	mu     sync.Mutex
	more   *sync.Cond
	buf    bytes.Buffer
	closed bool
}

func newOutput() *output {
	o := &output{}
	o.more = sync.NewCond(&o.mu)
	return o
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.more.Broadcast()
	return o.buf.Write(b)
}

func (o *output) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	o.more.Broadcast()
}

func (o *output) wake() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.more.Broadcast()
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// find looks at whole lines until match likes one, the output ends, or stop is closed.
func (o *output) find(match func(string) string, stop <-chan struct{}) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	from := 0
	for {
		r := bufio.NewReader(bytes.NewReader(o.buf.Bytes()[from:]))
		for {
			line, err := r.ReadString('\n')
			if errors.Is(err, io.EOF) && !o.closed {
				break // half a line
			}
			if s := match(strings.TrimSuffix(line, "\n")); s != "" {
				return s
			}
			if err != nil {
				break
			}
			from += len(line)
		}
		select {
		case <-stop:
			return ""
		default:
		}
		if o.closed {
			return ""
		}
		o.more.Wait()
	}
}
