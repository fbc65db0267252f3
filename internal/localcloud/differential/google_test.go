package differential

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"
)

const googleName = "Google's emulator"

// googleWithin is how long a Java program may take to start on a busy machine, and to end.
const googleWithin = 3 * time.Minute

// googles returns the address of Google's emulator, "" if there is none. A short run leaves it out, as it
// takes longer to start than the rest takes.
func googles(t *testing.T) string {
	t.Helper()
	if *googleFlag != "" {
		return map[bool]string{false: *googleFlag}[*googleFlag == "-"]
	}
	gcloud, err := exec.LookPath("gcloud")
	if err != nil {
		t.Log("gcloud is not installed: without Google's emulator")
		return ""
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	var said said
	cmd := exec.CommandContext(t.Context(), gcloud, "emulators", "firestore", "start", "--host-port="+addr)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // it starts others
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = googleWithin
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() { <-ended }) // the test's context has ended before
	deadline := time.After(googleWithin)
	for tick := time.Tick(200 * time.Millisecond); ; {
		if up(t, addr) {
			return addr
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("Google's emulator ended: %v\n%s", err, said.String())
		case <-deadline:
			t.Fatalf("Google's emulator does not answer after %s:\n%s", googleWithin, said.String())
		case <-tick:
		}
	}
}

func up(t *testing.T, addr string) bool {
	t.Helper()
	// One that is not up yet may take a request, and never answer.
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	return err == nil && resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
}

// said is what a program has written.
type said struct {
	mu  sync.Mutex
	all bytes.Buffer
}

// Write implements io.Writer.
func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all.Write(p)
}

// String implements fmt.Stringer.
func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all.String()
}
