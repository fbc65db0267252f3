//go:build conformance

package conformance

import (
	"bytes"
	"context"
	"flag"
	"net"
	"net/http"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"exportd/internal/machinetest"
)

var (
	atFirestore = flag.String("firestore", "", "HOST:PORT of Google's Firestore emulator for TestGoogle, instead of one that it starts")
	atPubSub    = flag.String("pubsub", "", "likewise of Pub/Sub's")
)

// googleWithin is how long two Java programs may take to start on a busy machine.
const googleWithin = 2 * time.Minute

// TestGoogle does on Google's emulators what the other tests do on the embedded cloud. Where something else
// comes of it than in production, the table says why. There is no emulator of Cloud Storage.
func TestGoogle(t *testing.T) {
	hosts := map[string]string{"firestore": *atFirestore, "pubsub": *atPubSub}
	if *atFirestore == "" || *atPubSub == "" {
		gcloud, err := exec.LookPath("gcloud")
		if err != nil {
			machinetest.Lacks(t, "gcloud with its emulators")
		}
		for service, given := range hosts {
			if given != "" {
				continue
			}
			hosts[service] = freeAddr(t)
			startGoogle(t, hosts[service], gcloud, "beta", "emulators", service, "start", "--host-port="+hosts[service])
		}
		for _, addr := range hosts {
			awaitGoogle(t, addr)
		}
	}
	t.Run("calls", func(t *testing.T) { makeCalls(t, hosts, true) })
	doRows(t, hosts, true)
}

// startGoogle runs an emulator until the test ends. gcloud starts Java as a child, so the group is ended.
func startGoogle(t *testing.T, addr, gcloud string, args ...string) {
	t.Helper()
	var out bytes.Buffer
	cmd := exec.Command(gcloud, args...)
	if args[2] == "pubsub" {
		cmd.Args = append(cmd.Args, "--data-dir="+t.TempDir())
	}
	cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = &out, &out, &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // it may have ended
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("emulator on %s:\n%s", addr, out.Bytes()[max(0, out.Len()-1000):])
		}
	})
}

// awaitGoogle returns when an emulator answers.
func awaitGoogle(t *testing.T, addr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), googleWithin)
	defer cancel()
	for tick := time.NewTicker(100 * time.Millisecond); ; {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		if resp, err := http.DefaultClient.Do(req); err == nil {
			_ = resp.Body.Close()
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("no emulator answers on %s", addr)
		}
	}
}

// freeAddr is a loopback address that was free a moment ago.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
