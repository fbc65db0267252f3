package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"exportd/internal/e2e/e2etest"
)

// process is a member of the fleet that is started again after each kill.
type process struct {
	name string
	bin  string // of the cloud; others run one of the fleet's builds
	args []string
	env  []string
	log  *os.File

	mu     sync.Mutex
	builds *builds // nil: bin alone
	build  int     // which of them
	cmd    *exec.Cmd
	exited chan struct{}
	ready  func(ctx context.Context, stdout io.Reader) error
}

func (p *process) start(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	bin := p.bin
	if p.builds != nil {
		bin = p.builds.paths[p.build]
		p.builds.started[p.build]++
	}
	cmd := exec.Command(bin, p.args...)
	cmd.Env = append(os.Environ(), p.env...)
	cmd.Stderr = p.log
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	p.cmd, p.exited = cmd, make(chan struct{})
	exited := p.exited
	if err := p.ready(ctx, stdout); err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		close(exited)
		return fmt.Errorf("%s did not get ready: %w", p.name, err)
	}
	go func() {
		_, _ = io.Copy(io.Discard, stdout)
		_ = cmd.Wait() // killed by us, mostly
		close(exited)
	}()
	return nil
}

// signal sends a signal to the running process.
func (p *process) signal(s syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cmd.Process.Signal(s)
}

// kill ends the process at once and waits for it.
func (p *process) kill() {
	_ = p.signal(syscall.SIGKILL) // gone already is as well
	<-p.gone()
}

// gone is closed when the process that was started last has ended.
func (p *process) gone() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.exited
}

// fleet is the embedded cloud, the APIs and the workers.
type fleet struct {
	dir     string
	hosts   map[string]string // *_EMULATOR_HOST and CONTROL_HOST
	cloud   *process
	apis    []*process
	workers []*process
	apiURLs []string
	builds  *builds
}

// freePort finds a port that is free now.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

const (
	apiCount    = 2
	workerCount = 4
	readyWithin = 30 * time.Second
)

func newFleet(ctx context.Context, o options) (*fleet, error) {
	f := &fleet{dir: o.dir, hosts: map[string]string{}}
	var err error
	if f.builds, err = findBuilds(ctx, o); err != nil {
		return nil, err
	}
	args := []string{"emulators", "--json", "--data-dir", filepath.Join(o.dir, "cloud")}
	for _, name := range []string{"firestore", "pubsub", "storage", "control"} {
		addr, err := freePort()
		if err != nil {
			return nil, err
		}
		args = append(args, "--"+name, addr)
		f.hosts[name] = addr
	}
	env := []string{
		"FIRESTORE_EMULATOR_HOST=" + f.hosts["firestore"], "PUBSUB_EMULATOR_HOST=" + f.hosts["pubsub"], "STORAGE_EMULATOR_HOST=" + f.hosts["storage"],
		"EXPORTD_LEASE_SECONDS=4", "EXPORTD_DRAIN_SECONDS=1", fmt.Sprintf("EXPORTD_PART_ROWS=%d", o.partRows), "EXPORTD_PART_WINDOW=8",
		"EXPORTD_JOB_SLOTS=3", "EXPORTD_PART_SLOTS=4", "EXPORTD_ORG_RUNNING_JOBS=0", "EXPORTD_ORG_QUEUED_JOBS=0", "EXPORTD_REUSE_SECONDS=0",
		"EXPORTD_WAIT_SECONDS=0", "EXPORTD_LOG_LEVEL=info",
		"EXPORTD_CALLBACK_ALLOW_HTTP=true", "EXPORTD_CALLBACK_ALLOW_CIDRS=127.0.0.0/8", "EXPORTD_CALLBACK_ALLOW_PORTS=0",
	}
	indexes, err := f.builds.indexes(ctx, o.dir)
	if err != nil {
		return nil, err
	}
	if indexes != "" {
		args = append(args, "--indexes", indexes)
	}
	if f.cloud, err = f.process(e2etest.DevProgram(o.bin), "cloud", args, env, waitForLine); err != nil {
		return nil, err
	}
	if err := f.cloud.start(ctx); err != nil {
		return nil, err
	}
	setup := exec.CommandContext(ctx, o.bin, "setup")
	setup.Env = append(os.Environ(), env...)
	if out, err := setup.CombinedOutput(); err != nil {
		return f, fmt.Errorf("exportd setup: %w: %s", err, out)
	}
	for i := range apiCount {
		addr, err := freePort()
		if err != nil {
			return f, err
		}
		url := "http://" + addr
		p, err := f.process(o.bin, fmt.Sprintf("api%d", i), []string{"api"}, append(env, "EXPORTD_ADDR="+addr), func(ctx context.Context, _ io.Reader) error { return waitForURL(ctx, url+"/healthz") })
		if err != nil {
			return f, err
		}
		p.builds, p.build = f.builds, f.builds.first(i, apiCount)
		f.apis, f.apiURLs = append(f.apis, p), append(f.apiURLs, url)
	}
	for i := range workerCount {
		name := fmt.Sprintf("worker%d", i)
		p, err := f.process(o.bin, name, []string{"worker"}, append(env, "EXPORTD_WORKER_ID="+name), func(context.Context, io.Reader) error { return nil })
		if err != nil {
			return f, err
		}
		p.builds, p.build = f.builds, f.builds.first(i, workerCount)
		f.workers = append(f.workers, p)
	}
	for _, p := range append(f.apis, f.workers...) {
		if err := p.start(ctx); err != nil {
			return f, err
		}
	}
	return f, nil
}

func (f *fleet) process(bin, name string, args, env []string, ready func(context.Context, io.Reader) error) (*process, error) {
	log, err := os.OpenFile(filepath.Join(f.dir, name+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	return &process{name: name, bin: bin, args: args, env: env, log: log, ready: ready}, nil
}

// all is every process, the cloud last: it is what the others need to stop cleanly.
func (f *fleet) all() []*process {
	return append(append(f.apis[:len(f.apis):len(f.apis)], f.workers...), f.cloud)
}

// dump has every process write its goroutines to its log and end.
func (f *fleet) dump() {
	for _, p := range f.all() {
		_ = p.signal(syscall.SIGQUIT) // gone already is as well
	}
	written := time.After(dumpWithin)
	for _, p := range f.all() {
		select {
		case <-p.gone():
		case <-written:
			return
		}
	}
}

// dumpWithin is more than writing goroutines takes; whoever does not end is killed.
const dumpWithin = 20 * time.Second

// crashes are the processes that ended by themselves or had a race. Each was started again, and nothing else
// may have shown it.
func (f *fleet) crashes() (found []string) {
	for _, p := range f.all() {
		log, err := os.ReadFile(p.log.Name())
		if err != nil {
			found = append(found, err.Error())
			continue
		}
		if trace := e2etest.Trace(string(log)); trace != "" {
			found = append(found, fmt.Sprintf("%s: %s", p.name, trace))
		}
	}
	return found
}

// close kills what runs.
func (f *fleet) close() {
	for _, p := range f.all() {
		if p != nil && p.cmd != nil {
			p.kill()
		}
		if p != nil {
			_ = p.log.Close()
		}
	}
}

// waitForLine waits for the line of addresses that exportd-dev emulators prints.
func waitForLine(ctx context.Context, stdout io.Reader) error {
	got := make(chan error, 1)
	go func() {
		line, err := bufio.NewReader(stdout).ReadString('\n')
		if err == nil && !strings.Contains(line, "FIRESTORE_EMULATOR_HOST") {
			err = fmt.Errorf("it printed %q", line)
		}
		got <- err
	}()
	select {
	case err := <-got:
		return err
	case <-time.After(readyWithin):
		return errors.New("it printed nothing")
	case <-ctx.Done():
		return ctx.Err()
	}
}

func waitForURL(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		if res, err := http.DefaultClient.Do(req); err == nil {
			_ = res.Body.Close()
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// setFaults tells the cloud what to do wrong; an empty rule set ends it.
func (f *fleet) setFaults(ctx context.Context, config any) error {
	body, err := json.Marshal(config)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, "http://"+f.hosts["control"]+"/faults", strings.NewReader(string(body)))
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(res.Body, 1000))
		return fmt.Errorf("set faults: %s: %s", res.Status, text)
	}
	return nil
}
