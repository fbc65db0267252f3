package pubsubserver

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2"
)

const crashDir = "PUBSUBSERVER_CRASH_DIR" // set for the child process of TestKill

// TestCrashChild is the process that TestKill kills. It serves until then.
func TestCrashChild(t *testing.T) {
	dir := os.Getenv(crashDir)
	if dir == "" {
		return // an ordinary run
	}
	s, err := Open(Options{Dir: dir})
	if err != nil {
		t.Fatalf("Open() = %v", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("listen: %v", err)
	}
	fmt.Println("listening", l.Addr())
	_ = s.Serve(l)
}

// spawn runs the server in another process.
func spawn(t *testing.T, dir string) (*exec.Cmd, string) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestCrashChild$", "-test.v")
	cmd.Env = append(os.Environ(), crashDir+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatalf("pipe: %v", err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start child: %v", err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if addr, ok := strings.CutPrefix(lines.Text(), "listening "); ok {
			return cmd, addr
		}
	}
	t.Fatal("the child does not listen")
	return nil, ""
}

// Every message whose publish was answered before the process was killed is delivered by its successor.
func TestKill(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cmd, addr := spawn(t, dir)
	r := &running{client: connect(t, addr)}
	r.create(t, nil)

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var mu sync.Mutex
	answered := map[string]bool{}
	enough := make(chan struct{})
	var publishers sync.WaitGroup
	p := r.publisher()
	p.PublishSettings.Timeout = 2 * time.Second // how long the client tries again after the kill
	for range 8 {
		publishers.Go(func() {
			for ctx.Err() == nil {
				id, err := p.Publish(ctx, &pubsub.Message{Data: []byte("x")}).Get(ctx)
				if err != nil {
					continue // as a busy machine answers late too
				}
				mu.Lock()
				if answered[id] = true; len(answered) == 500 {
					close(enough)
				}
				mu.Unlock()
			}
		})
	}
	next(t, enough, "500 answers")
	if err := cmd.Process.Kill(); err != nil {
		t.Fatalf("kill: %v", err)
	}
	_ = cmd.Wait()
	cancel()
	publishers.Wait()
	p.Stop()

	after := start(t, Options{Dir: dir})
	for _, m := range after.receive(t, len(after.subs[testSub].all)) {
		delete(answered, m.ID)
	}
	if len(answered) != 0 {
		t.Errorf("%d messages were answered for and are lost", len(answered))
	}
}
