package worker_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"exportd/internal/export"
	"exportd/internal/inmemory"
	"exportd/internal/panics"
	"exportd/internal/telemetry"
	"exportd/internal/webhook"
	"exportd/jobs"
	"exportd/worker"
)

// mine panics at the first calls of one kind.
type mine struct {
	at    string
	times int

	mu      sync.Mutex
	met     int
	writing int // of parts: with one slot for them, a part that is changed meanwhile is renewed
}

// pass is called at each call, by its name and who makes it.
func (m *mine) pass(at string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.writing > 0 {
		at = strings.Replace(at, "UpdatePart worker", "renew", 1)
	}
	if at == m.at && m.met < m.times {
		m.met++
		panic("stepped on a mine")
	}
}

func (m *mine) write(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.writing += n
}

// who is the kind of an actor: "worker w1" is "worker".
func who(actor string) string { kind, _, _ := strings.Cut(actor, " "); return kind }

// minedStore has a mine at each kind of call that a loop of a pool makes.
type minedStore struct {
	*inmemory.Store
	*mine
}

func (s minedStore) Update(ctx context.Context, id, actor string, fn func(*jobs.Tx) error) (*jobs.Job, error) {
	return s.Store.Update(ctx, id, actor, func(tx *jobs.Tx) error { s.pass("Update " + who(actor)); return fn(tx) })
}

func (s minedStore) UpdatePart(ctx context.Context, id, part, actor string, fn func(*jobs.Tx) error) (*jobs.Job, error) {
	return s.Store.UpdatePart(ctx, id, part, actor, func(tx *jobs.Tx) error { s.pass("UpdatePart " + who(actor)); return fn(tx) })
}

func (s minedStore) UpdateCallback(ctx context.Context, id, actor string, fn func(*jobs.CallbackTx) error) (*jobs.Callback, error) {
	return s.Store.UpdateCallback(ctx, id, actor, func(tx *jobs.CallbackTx) error { s.pass("UpdateCallback " + who(actor)); return fn(tx) })
}

func (s minedStore) HoldPartition(ctx context.Context, index int, owner string) (bool, error) {
	s.pass("HoldPartition")
	return s.Store.HoldPartition(ctx, index, owner)
}

func (s minedStore) Due(ctx context.Context, kind jobs.DueKind, shards []int, now time.Time, limit int, after *jobs.DueCursor) (jobs.DuePage, error) {
	s.pass("Due " + kind.String())
	return s.Store.Due(ctx, kind, shards, now, limit, after)
}

func (s minedStore) DueBatches(ctx context.Context, now time.Time, limit int) ([]*jobs.Batch, error) {
	s.pass("DueBatches")
	return s.Store.DueBatches(ctx, now, limit)
}

func (s minedStore) Suspects(ctx context.Context, a jobs.Audit, after string) ([]jobs.Message, []string, string, error) {
	s.pass("Suspects")
	return s.Store.Suspects(ctx, a, after)
}

func (s minedStore) PurgePointers(ctx context.Context, now time.Time) error {
	s.pass("PurgePointers")
	return s.Store.PurgePointers(ctx, now)
}

func (s minedStore) ShowAlive(ctx context.Context, w jobs.Worker, ttl time.Duration) error {
	s.pass("ShowAlive")
	return s.Store.ShowAlive(ctx, w, ttl)
}

func (s minedStore) WatchSwitches(ctx context.Context, fn func(jobs.Switches)) error {
	return s.Store.WatchSwitches(ctx, func(now jobs.Switches) { s.pass("WatchSwitches"); fn(now) })
}

func (s minedStore) Receivers(ctx context.Context, orgID string, addresses ...string) ([]jobs.Receiver, error) {
	s.pass("Receivers")
	return s.Store.Receivers(ctx, orgID, addresses...)
}

type minedQueue struct {
	*inmemory.Queue
	*mine
}

func (q minedQueue) Pull(ctx context.Context, lane jobs.Queue, limit int) ([]jobs.PulledMessage, error) {
	q.pass("Pull " + string(lane))
	return q.Queue.Pull(ctx, lane, limit)
}

func (q minedQueue) Ack(ctx context.Context, lane jobs.Queue, d jobs.PulledMessage) error {
	q.pass("Ack " + string(lane))
	return q.Queue.Ack(ctx, lane, d)
}

// slowly is thinAir that takes as long as three renewals for each part.
type slowly struct {
	thinAir
	*mine
}

func (e *slowly) Write(ctx context.Context, s export.Spec, p *export.Progress) (jobs.PartResult, error) {
	if s.Final {
		return e.thinAir.Write(ctx, s, p)
	}
	e.write(1)
	defer e.write(-1)
	select {
	case <-time.After(25 * time.Second):
	case <-ctx.Done():
	}
	return e.thinAir.Write(ctx, s, p)
}

// minedReceiver takes callbacks, with the keys and links that they need.
type minedReceiver struct{ *mine }

func (r minedReceiver) Send(ctx context.Context, d webhook.Delivery) webhook.Attempt {
	a := webhook.Attempt{StartedAt: time.Now(), Status: http.StatusNoContent, Class: "http_204"}
	if err := d.Compose(ctx, &d); err != nil {
		a = webhook.Attempt{StartedAt: a.StartedAt, Class: webhook.ClassInternalError, Err: err}
	}
	r.pass("Send")
	return a
}

func (r minedReceiver) CallbackKey(context.Context, string) (worker.CallbackKey, error) {
	r.pass("CallbackKey")
	return worker.CallbackKey{}, nil
}

func (minedReceiver) SignedURL(context.Context, string, time.Duration, string) (string, error) {
	return "https://files.test/x", nil
}

// TestPanicInEachLoop: wherever the loops of a worker panic, all of its work goes on and ends right: an
// export of one part, one of many, one whose message was lost, and their callbacks. Each panic is counted at
// its place, and has a line by which Error Reporting groups it.
func TestPanicInEachLoop(t *testing.T) {
	t.Parallel()
	for at, where := range map[string]panics.Place{
		"Pull exports": panics.Queue, "Pull parts": panics.Queue, "Pull callbacks": panics.Queue,
		"Update worker": panics.Message, "UpdatePart worker": panics.Message, "Ack exports": panics.Message, "Ack parts": panics.Message,
		"renew":                 panics.Heartbeat,
		"UpdateCallback worker": panics.Callback, "Receivers": panics.Callback, "Send": panics.Callback, "CallbackKey": panics.Callback,
		"HoldPartition": panics.Rescuer, "Due jobs": panics.Rescuer, "Due ended": panics.Rescuer, "DueBatches": panics.Rescuer, "Suspects": panics.Rescuer, "PurgePointers": panics.Rescuer,
		"Update rescuer": panics.Due,
		"ShowAlive":      panics.Signs, "WatchSwitches": panics.Signs,
	} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { mined(t, &mine{at: at, times: 2}, where) })
		})
	}
}

func mined(t *testing.T, m *mine, where panics.Place) {
	cfg, err := settings()
	if err != nil {
		t.Fatal(err)
	}
	store, queue := inmemory.NewStore(inmemory.Config{Policy: cfg.Policy(), ReuseFor: time.Minute}), inmemory.NewQueue()
	var log bytes.Buffer
	logger, err := telemetry.NewLogger(&log, telemetry.LogConfig{Level: "info", Service: "exportd-worker", Version: "1.2.3"})
	if err != nil {
		t.Fatal(err)
	}
	told, receiver := panics.NewReporter(logger), minedReceiver{m}
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	pool := worker.New(worker.Config{
		ID: "w1", Store: minedStore{store, m}, Queue: minedQueue{queue, m}, Exporter: &slowly{mine: m}, Log: logger, JobSlots: 2, PartSlots: 1, Drain: time.Second, Panics: told,
		Callbacks: &worker.CallbackConfig{Slots: 2, Sender: receiver, Keys: receiver, Files: receiver, URLLife: time.Hour, Rand: func() float64 { return .5 }},
	})
	running.Go(func() { _ = pool.Run(ctx) })
	var ids []string
	for i, parts := range []int64{1, 3, 2} {
		id := accept(t, store, jobs.Submission{OrgID: "org", CallbackURL: "https://receiver.test/hook"}, "w", parts)
		if ids = append(ids, id); i < 2 { // the last one's message is lost
			notify(t, queue, id)
		}
	}
	for _, id := range ids {
		if err := store.Watch(ctx, id, func(j *jobs.Job) bool { return j.State.Ended() }); err != nil {
			t.Fatal(err)
		}
		if j, err := store.Get(ctx, id); err != nil || j.State != jobs.Succeeded {
			t.Errorf("the job is %s, %+v, %v", j.State, j.Error, err)
		}
		for delivered := false; !delivered; {
			<-time.After(time.Second)
			all, err := store.Callbacks(ctx, id)
			if err != nil || len(all) != 1 {
				t.Fatalf("%d callbacks, %v", len(all), err)
			}
			delivered = all[0].State == jobs.CallbackDelivered
		}
	}
	<-time.After(12 * time.Minute) // pointers are purged, signs are shown again
	if err := pool.Alive(); err != nil {
		t.Errorf("Alive() = %v", err)
	}
	if free, all := pool.Slots(jobs.QueueParts); free != all {
		t.Errorf("%d of %d slots are free", free, all)
	}
	if alive, err := store.Alive(ctx); err != nil || !slices.Equal(alive, []jobs.Worker{{ID: "w1", Slots: jobs.Slots{Jobs: 2, Parts: 1}}}) {
		t.Errorf("there are the workers %+v, %v", alive, err)
	}
	stop()
	running.Wait()
	if m.met != m.times {
		t.Errorf("%d of %d mines were met", m.met, m.times)
	}
	checkTold(t, told, where, m.times, log.String())
}

// checkTold: so many panics were counted, at one place, and each has a line.
func checkTold(t *testing.T, told prometheus.Collector, where panics.Place, n int, log string) {
	t.Helper()
	counts := prometheus.NewRegistry()
	counts.MustRegister(told)
	families, err := counts.Gather()
	if err != nil || len(families) != 1 || len(families[0].GetMetric()) != len(panics.Places) {
		t.Fatalf("%v, %v", families, err)
	}
	for _, m := range families[0].GetMetric() {
		at, want := m.GetLabel()[0].GetValue(), 0
		if at == string(where) {
			want = n
		}
		if got := m.GetCounter().GetValue(); got != float64(want) {
			t.Errorf("%v panics at %s, want %d", got, at, want)
		}
	}
	lines := 0
	for text := range strings.Lines(log) {
		var line struct {
			Severity, Message, Where string
			Stack                    string `json:"stack_trace"`
			Type                     string `json:"@type"`
			ServiceContext           struct{ Service, Version string }
		}
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Fatal(err)
		}
		if line.Severity != "ERROR" {
			continue
		}
		lines++
		if line.Message != "panic" || line.Where != string(where) || !strings.HasPrefix(line.Stack, "panic: stepped on a mine\n\ngoroutine ") || !strings.Contains(line.Stack, "(*mine).pass(") ||
			!strings.HasSuffix(line.Type, "ReportedErrorEvent") || line.ServiceContext.Service != "exportd-worker" || line.ServiceContext.Version != "1.2.3" {
			t.Errorf("it cannot be grouped: %s", text)
		}
	}
	if lines != n {
		t.Errorf("%d lines of %d panics:\n%s", lines, n, log)
	}
}
