package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// stopWithin is how long a process may take to end; a worker hands its work back sooner.
const stopWithin = 30 * time.Second

// process is a running exportd.
type process struct {
	cmd     *exec.Cmd
	cancel  context.CancelFunc
	reading sync.WaitGroup

	mu   sync.Mutex
	last []string // lines of standard error, for when it fails
}

// build compiles exportd, and exportd-dev beside it, into dir and returns the path of exportd.
func build(ctx context.Context, dir string) (string, error) {
	binary := filepath.Join(dir, "exportd")
	out, err := exec.CommandContext(ctx, "go", "build", "-tags", "nomsgpack", "-o", dir+"/", "exportd/cmd/exportd", "exportd/cmd/exportd-dev").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build exportd: %w\n%s", err, out)
	}
	return binary, nil
}

// devProgram is the path of the exportd-dev beside an exportd.
func devProgram(exportd string) string { return exportd + "-dev" }

// start runs a program with env beside the environment, without what exportd reads there. Each line that it
// writes is given to see, from one goroutine for standard output and one for standard error.
func start(ctx context.Context, env []string, see func(line string), program string, args ...string) (*process, error) {
	ctx, cancel := context.WithCancel(ctx)
	p := &process{cmd: exec.CommandContext(ctx, program, args...), cancel: cancel}
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "EXPORTD_") && !strings.Contains(kv, "_EMULATOR_HOST=") {
			p.cmd.Env = append(p.cmd.Env, kv)
		}
	}
	p.cmd.Env = append(p.cmd.Env, env...)
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(syscall.SIGTERM) }
	p.cmd.WaitDelay = stopWithin
	for _, open := range []func() (readCloser, error){
		func() (readCloser, error) { return p.cmd.StdoutPipe() },
		func() (readCloser, error) { return p.cmd.StderrPipe() },
	} {
		r, err := open()
		if err != nil {
			cancel()
			return nil, fmt.Errorf("start %s: %w", args[0], err)
		}
		p.reading.Go(func() {
			for lines := bufio.NewScanner(r); lines.Scan(); {
				p.keepLine(lines.Text())
				see(lines.Text())
			}
		})
	}
	if err := p.cmd.Start(); err != nil {
		cancel()
		return nil, fmt.Errorf("start %s: %w", args[0], err)
	}
	return p, nil
}

type readCloser interface {
	Read([]byte) (int, error)
	Close() error
}

// keptLines bounds what is kept of a process's output.
const keptLines = 20

func (p *process) keepLine(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = append(p.last, line)
	if len(p.last) > keptLines {
		p.last = p.last[1:]
	}
}

// said is the end of what the process wrote.
func (p *process) said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.last, "\n")
}

// stop asks the process to end, and waits for it.
func (p *process) stop() error {
	p.cancel()
	p.reading.Wait()
	err := p.cmd.Wait()
	if state := p.cmd.ProcessState; state != nil && state.ExitCode() == 0 {
		return nil // after our own signal the error is that of the context
	}
	return fmt.Errorf("%s: %w\n%s", p.cmd.Args[1], err, p.said())
}

// peak is the most memory that the process has had, VmHWM, in bytes. It is not what getrusage says after its
// end, which counts the memory of this process in before exec.
func (p *process) peak() (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, fmt.Errorf("read peak memory (Linux only): %w", err)
	}
	for l := range strings.Lines(string(b)) {
		var kib int64
		if n, _ := fmt.Sscanf(l, "VmHWM: %d kB", &kib); n == 1 {
			return kib << 10, nil
		}
	}
	return 0, fmt.Errorf("no VmHWM in the status of process %d", p.cmd.Process.Pid)
}
