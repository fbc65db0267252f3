package worker_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cloud.google.com/go/firestore"

	"exportd/internal/localcloud"
	"exportd/internal/localcloud/localcloudtest"
	"exportd/worker"
)

// damageEnv has this test binary run a worker that takes its clock from standard input: a line gives by how
// many seconds it is ahead. It holds the addresses of the services.
const damageEnv = "EXPORTD_TEST_DAMAGE_WORKER"

func damageWorker() int {
	hosts := strings.Split(os.Getenv(damageEnv), ",")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	client, err := firestore.NewClient(ctx, localcloudtest.Project, localcloud.GRPCOptions(hosts[0])...)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	s, closeAll, err := connect(ctx, client, hosts[1], hosts[2])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer closeAll()
	exporter, closeReader, err := openExporter(ctx, s, hosts[0])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer closeReader()
	go func() {
		defer cancel()
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
			n, _ := strconv.ParseInt(in.Text(), 10, 64)
			s.clock.ahead.Store(n * int64(time.Second))
		}
	}()
	cfg := s.config()
	cfg.Exporter, cfg.JobSlots, cfg.PartSlots = exporter, 4, 4
	_ = worker.New(cfg).Run(ctx)
	return 0
}

// damageProcess is a worker in a process of its own.
type damageProcess struct {
	cmd   *exec.Cmd
	clock io.WriteCloser
	ended atomic.Bool
	done  chan error
}

func (r *damageRig) startWorker(t *testing.T, hosts ...string) *damageProcess {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), damageEnv+"="+strings.Join(hosts, ","), "GOMEMLIMIT=1GiB")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w := &damageProcess{cmd: cmd, clock: in, done: make(chan error, 1)}
	go func() {
		err := cmd.Wait()
		w.ended.Store(true)
		w.done <- err
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = in.Close()
	})
	return w
}

func (w *damageProcess) stop(t *testing.T) {
	t.Helper()
	_ = w.clock.Close()
	if err := <-w.done; err != nil {
		t.Errorf("the worker ended with %v", err)
	}
}

// peak is the most memory that the process had, as the kernel counts it.
func (w *damageProcess) peak(t *testing.T) int64 {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", w.cmd.Process.Pid))
	if err != nil {
		t.Skip(err) // no Linux
	}
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "VmHWM:" {
			n, _ := strconv.ParseInt(f[1], 10, 64)
			return n << 10
		}
	}
	return 0
}
