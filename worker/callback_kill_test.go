package worker_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"cloud.google.com/go/firestore"

	"exportd/internal/localcloud"
	"exportd/internal/localcloud/localcloudtest"
	"exportd/internal/webhook"
	"exportd/jobs"
	"exportd/worker"
)

// doomedEnv has this test binary run a worker that dies after its first callback. It holds the addresses of
// Firestore, Pub/Sub and Storage.
const doomedEnv = "EXPORTD_TEST_DOOMED_WORKER"

// doomedSender kills the process when a receiver has got a callback, before that is recorded.
type doomedSender struct{ *webhook.Sender }

func (s doomedSender) Send(ctx context.Context, d webhook.Delivery) webhook.Attempt {
	s.Sender.Send(ctx, d)
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {} // SIGKILL is on its way
}

func doomedWorker() int {
	hosts := strings.Split(os.Getenv(doomedEnv), ",")
	ctx := context.Background()
	client, err := firestore.NewClient(ctx, localcloudtest.Project, localcloud.GRPCOptions(hosts[0])...)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	s, _, err := connect(ctx, client, hosts[1], hosts[2])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	cfg := s.config()
	cfg.ID, cfg.Callbacks.Sender = "doomed", doomedSender{s.sender()}
	_ = worker.New(cfg).Run(ctx) // never returns
	return 1
}

// TestCallbackAfterKill: a worker killed with SIGKILL between delivery and recording. The event is delivered
// again with the same id, never zero times.
func TestCallbackAfterKill(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	rc := receive(t, "127.0.0.1", status(http.StatusOK))
	e := r.cloud.Endpoints()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	doomed := exec.CommandContext(ctx, os.Args[0], "-test.run=^$")
	doomed.Env = append(os.Environ(), doomedEnv+"="+strings.Join([]string{e.Firestore, e.PubSub, e.Storage}, ","))
	doomed.Stderr = os.Stderr
	if err := doomed.Start(); err != nil {
		t.Fatal(err)
	}
	id := r.submit(t, rc.URL)
	err := doomed.Wait()
	if ws, ok := doomed.ProcessState.Sys().(syscall.WaitStatus); !ok || ws.Signal() != syscall.SIGKILL {
		t.Fatalf("worker ended with %v, want SIGKILL", err)
	}
	cb := r.callback(t, id, time.Minute, inState(jobs.CallbackPending))
	if len(rc.requests()) != 1 || len(cb.Attempts) != 1 || cb.Attempts[0].Class != jobs.AttemptUnderWay {
		t.Fatalf("after the kill: %d requests, tries %+v; want 1 of each, under way", len(rc.requests()), cb.Attempts)
	}
	r.clock.put(cb.WakeAt)
	r.work(t)
	cb = r.callback(t, id, time.Minute, inState(jobs.CallbackDelivered))
	got := rc.requests()
	if len(got) != 2 || got[0].header.Get(webhook.HeaderID) != cb.ID || got[1].header.Get(webhook.HeaderID) != cb.ID {
		t.Errorf("receiver got %d requests, want 2 with the id %s", len(got), cb.ID)
	}
	if len(cb.Attempts) != 2 || cb.Attempts[0].Class != jobs.AttemptInterrupted || cb.Schedule != 1 {
		t.Errorf("tries = %+v at place %d of the schedule, want the first interrupted and not counted", cb.Attempts, cb.Schedule)
	}
}
