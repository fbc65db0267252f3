package e2etest

import (
	"context"
	"net"
	"net/http"
	"os/exec"
	"testing"
	"time"
)

// GCloud finds Google's command line tool with its emulators, "" if it is not there.
func GCloud() string {
	path, err := exec.LookPath("gcloud")
	if err != nil {
		return ""
	}
	return path
}

// googleWithin is how long two Java programs may take to start on a busy machine.
const googleWithin = 2 * time.Minute

// GoogleEmulators starts Google's own emulators of Firestore and Pub/Sub and returns where they are; there is
// no Google emulator of Storage.
func GoogleEmulators(tb testing.TB, gcloud string) Hosts {
	tb.Helper()
	h := Hosts{Firestore: freeAddr(tb), PubSub: freeAddr(tb)}
	Start(tb, nil, gcloud, "emulators", "firestore", "start", "--host-port="+h.Firestore)
	Start(tb, nil, gcloud, "beta", "emulators", "pubsub", "start", "--host-port="+h.PubSub, "--data-dir="+tb.TempDir())
	for _, addr := range []string{h.Firestore, h.PubSub} {
		Until(tb, googleWithin, "Google's emulator on "+addr, func() bool {
			ctx, cancel := context.WithTimeout(tb.Context(), time.Second)
			defer cancel()
			r, err := Send(ctx, http.MethodGet, "http://"+addr+"/", nil, nil)
			return err == nil && r.Status == http.StatusOK
		})
	}
	return h
}

// freeAddr is a loopback address that was free a moment ago.
func freeAddr(tb testing.TB) string {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
