package e2e

import (
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"exportd/internal/connection/connectiontest"
	"exportd/internal/e2e/e2etest"
)

// TestSilence: the ways to all three services go on to take bytes, and nothing comes back. A worker that is
// told to stop then ends, with work in hand, within its drain and a bound; and when the ways are good again
// API and workers find them by connections of their own. Both once stood still until they were restarted, and
// workers did not end for over 42 s.
func TestSilence(t *testing.T) {
	t.Parallel()
	_, direct := e2etest.Emulators(t, exportd, t.TempDir(), "--control", "127.0.0.1:0")
	firestore, pubsub, storage := connectiontest.Start(t, direct.Firestore), connectiontest.Start(t, direct.PubSub), connectiontest.Start(t, direct.Storage)
	s := e2etest.Services(t, exportd, direct, e2etest.Sizes{Users: 200, Messages: 2000})
	hosts := direct
	hosts.Firestore, hosts.PubSub, hosts.Storage = firestore.Addr, pubsub.Addr, storage.Addr
	var api *e2etest.Process
	api, s.APIURL = e2etest.API(t, exportd, hosts, "EXPORTD_WAIT_SECONDS=0")
	env := []string{"EXPORTD_DRAIN_SECONDS=1", "EXPORTD_PART_ROWS=100"}
	first := e2etest.Worker(t, exportd, hosts, env...)
	export := func() { s.Caller().Export(t, "vip-messages", s.Messages()) }
	export()
	second := e2etest.Worker(t, exportd, hosts, env...)

	s.Caller().Submit(t, "vip-messages", s.Messages(), "Cache-Control", "no-cache") // work in hand
	for _, p := range []*connectiontest.Proxy{firestore, pubsub, storage} {
		p.Silence()
	}
	begun := time.Now()
	second.Signal(syscall.SIGTERM)
	second.Wait(t, time.Second+10*time.Second+3*time.Second+slack) // drain, handing back, connections
	t.Logf("a worker ended %s after SIGTERM", time.Since(begun).Round(100*time.Millisecond))

	list := func() bool {
		r, err := s.Caller().Try(t.Context(), http.MethodGet, "/exports", nil, nil)
		return err == nil && r.Status == http.StatusOK
	}
	for time.Since(begun) < 12*time.Second { // callers, who get 503 within 10 s each
		list()
	}
	dials := firestore.Dials()
	for _, p := range []*connectiontest.Proxy{firestore, pubsub, storage} {
		p.Heal()
	}
	healed := time.Now()
	e2etest.Until(t, recoverWithin, "the API answers", list)
	t.Logf("the API answered %s after healing", time.Since(healed).Round(100*time.Millisecond))
	var id string
	e2etest.Until(t, recoverWithin, "an export is taken", func() bool { // 503 asks to try again
		r, err := s.Caller().Try(t.Context(), http.MethodGet, "/vip-messages/export", s.Messages(), nil, "Cache-Control", "no-cache", "Prefer", "respond-async")
		if err != nil || r.Status != http.StatusAccepted {
			return false
		}
		var job struct{ JobID string }
		r.JSON(t, &job)
		id = job.JobID
		return true
	})
	t.Logf("an export was taken %s after healing", time.Since(healed).Round(100*time.Millisecond))
	if j := s.Caller().Await(t, id, recoverWithin); j.State != "succeeded" {
		t.Errorf("export after healing is %s", j.State)
	}
	t.Logf("an export was done %s after healing, by %d new connections to Firestore", time.Since(healed).Round(100*time.Millisecond), firestore.Dials()-dials)
	if d := time.Since(healed); d > recoverWithin {
		t.Errorf("recovery took %s", d)
	}
	if text := api.Stderr() + first.Stderr(); !strings.Contains(text, "made anew") && !strings.Contains(text, "unavailable") {
		t.Errorf("nothing of the silence is in the logs: %.2000s", text)
	}
}

const (
	// slack is for a busy machine.
	slack = time.Minute
	// recoverWithin: pings after 20 s and 10 s for their answer, 5 s to connect again, and a worker's pause
	// of 12 s; the lease of the work in hand lapses meanwhile. Without what bounds them it would be a quarter
	// of an hour.
	recoverWithin = 50*time.Second + 2*slack
)
