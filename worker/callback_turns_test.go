package worker

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"exportd/internal/jobqueue"
	"exportd/internal/jobstore"
	"exportd/internal/webhook"
	"exportd/jobs"
)

// town is a store, a queue, the keys and all receivers of a worker, in memory, so that a
// whole pool runs on the clock of a bubble. A read or commit takes what it takes in production.
type town struct {
	store
	queue
	mu        sync.Mutex
	callbacks map[string]*jobs.Callback
	order     []string // ids, as they were made
	rung      []jobqueue.Delivery
	ring      chan struct{} // has a token while there may be something rung
	sent      []call
	inFlight  map[string]int // by org
	most      map[string]int
}

// call is a try as its receiver saw it.
type call struct {
	org  string
	path string
	at   time.Time
}

const (
	townCommit = 15 * time.Millisecond
	// hang is when the sender gives up on a receiver that takes connections and says nothing.
	hang = 10 * time.Second
)

func newTown() *town {
	return &town{callbacks: map[string]*jobs.Callback{}, ring: make(chan struct{}, 1), inFlight: map[string]int{}, most: map[string]int{}}
}

func (*town) Policy() jobs.Policy {
	return jobs.Policy{Skew: 5 * time.Second, RingAgain: 15 * time.Second, MaxInterruptions: 3}
}

// Partitions: the town has a rescuer of its own.
func (*town) Partitions(context.Context, int) (jobstore.Division, []jobstore.Partition, error) {
	return jobstore.Division{}, nil, jobs.ErrUnavailable
}
func (*town) WatchSwitches(ctx context.Context, fn func(jobstore.Switches)) error {
	fn(jobstore.Switches{})
	<-ctx.Done()
	return context.Cause(ctx)
}
func (*town) Switches(context.Context) (jobstore.Switches, error)    { return jobstore.Switches{}, nil }
func (*town) ShowAlive(context.Context, string, time.Duration) error { return nil }
func (*town) ShowGone(context.Context, string) error                 { return nil }
func (*town) Receivers(context.Context, string, ...string) ([]jobstore.Receiver, error) {
	return make([]jobstore.Receiver, 2), nil
}
func (*town) ChangeReceiver(context.Context, string, string, string, func(*jobstore.Receiver)) error {
	return nil
}
func (*town) Get(_ context.Context, id string) (*jobs.Job, error) {
	return &jobs.Job{ID: id, Kind: jobs.KindUsers, State: jobs.Failed}, nil
}
func (*town) CallbackKey(context.Context, string) (CallbackKey, error) {
	return CallbackKey{Secrets: []webhook.Secret{webhook.NewSecret()}}, nil
}
func (*town) SignedURL(context.Context, string, time.Duration, string) (string, error) {
	return "https://storage.example/f", nil
}
func (*town) Ack(context.Context, jobs.Queue, jobqueue.Delivery) error { return nil }
func (*town) Nack(context.Context, jobs.Queue, jobqueue.Delivery, time.Duration) error {
	return nil
}

// rescue rings once a second for what is due, as the rescuer does.
func (w *town) rescue(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Second):
		}
		for _, id := range w.due() {
			ring := false
			cb, err := w.UpdateCallback(ctx, id, "rescuer", func(tx *jobs.CallbackTx) (err error) {
				ring, err = tx.Wake()
				return err
			})
			if err == nil && ring {
				_ = w.Publish(ctx, jobs.QueueCallbacks, jobs.Message{JobID: cb.JobID, CallbackID: id})
			}
		}
	}
}

func (w *town) due() (ids []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, id := range w.order {
		if at := w.callbacks[id].WakeAt; !at.IsZero() && !at.After(time.Now()) {
			ids = append(ids, id)
		}
	}
	return ids
}

func (w *town) UpdateCallback(_ context.Context, id, actor string, fn func(*jobs.CallbackTx) error) (*jobs.Callback, error) {
	if actor != "rescuer" {
		<-time.After(townCommit)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	cb := *w.callbacks[id]
	cb.Tries = append([]jobs.CallbackAttempt(nil), cb.Tries...)
	if err := fn(&jobs.CallbackTx{Policy: w.Policy(), Now: time.Now(), Actor: actor, Callback: &cb}); err != nil {
		return nil, err
	}
	w.callbacks[id] = &cb
	copied := cb
	return &copied, nil
}

func (w *town) Publish(_ context.Context, _ jobs.Queue, m jobs.Message) error {
	w.mu.Lock()
	w.rung = append(w.rung, jobqueue.Delivery{Data: m.Encode()})
	w.mu.Unlock()
	select {
	case w.ring <- struct{}{}:
	default:
	}
	return nil
}

func (w *town) Pull(ctx context.Context, lane jobs.Queue, limit int) ([]jobqueue.Delivery, error) {
	if lane != jobs.QueueCallbacks {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	for {
		w.mu.Lock()
		n := min(limit, len(w.rung))
		got := w.rung[:n:n]
		w.rung = w.rung[n:]
		w.mu.Unlock()
		if n > 0 {
			return got, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-w.ring:
		}
	}
}

// Send is every receiver: those with the path /hangs never answer, /fails says 503 once, the
// others take what comes.
func (w *town) Send(_ context.Context, d webhook.Delivery) webhook.Attempt {
	_, path, _ := strings.Cut(strings.TrimPrefix(d.URL, "https://"), "/")
	org, what, _ := strings.Cut(path, "/")
	a := webhook.Attempt{StartedAt: time.Now(), Status: 200, Class: "http_200"}
	w.mu.Lock()
	tries := 0
	for _, c := range w.sent {
		if c.path == path {
			tries++
		}
	}
	w.sent = append(w.sent, call{org, path, time.Now()})
	w.inFlight[org]++
	w.most[org] = max(w.most[org], w.inFlight[org])
	w.mu.Unlock()
	switch {
	case strings.HasPrefix(what, "hangs"):
		<-time.After(hang)
		a.Status, a.Class = 0, webhook.ClassTimeout
	case strings.HasPrefix(what, "fails") && tries == 0:
		a.Status, a.Class = 503, "http_503"
	}
	w.mu.Lock()
	w.inFlight[org]--
	w.mu.Unlock()
	a.Duration = time.Since(a.StartedAt)
	return a
}

// end makes the callback of a job that has ended and rings for it.
func (w *town) end(org, origin, what string) {
	job := jobs.NewID()
	now := time.Now()
	cb := &jobs.Callback{
		ID: "msg_" + job + "_failed_1", Schema: jobs.SchemaVersion, JobID: job, OrgID: org, KeyID: "key_one1", Origin: origin,
		URL: origin + "/" + org + "/" + what, Event: "export.failed", CreatedAt: now, State: jobs.CallbackPending, NextAt: now, WakeAt: now.Add(2 * time.Second),
	}
	w.mu.Lock()
	w.callbacks[cb.ID] = cb
	w.order = append(w.order, cb.ID)
	w.mu.Unlock()
	_ = w.Publish(context.Background(), jobs.QueueCallbacks, jobs.Message{JobID: job, CallbackID: cb.ID})
}

// callsTo gives the times at which an org's receivers were called.
func (w *town) callsTo(org string) (at []time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.sent {
		if c.org == org {
			at = append(at, c.at)
		}
	}
	return at
}

// open runs a worker over the town until the bubble's test returns.
func (w *town) open(t *testing.T) (stop func()) {
	t.Helper()
	pool := New(Config{
		ID: "w1", Store: w, Queue: w, Log: zap.NewNop(), JobSlots: 1, PartSlots: 1,
		Callbacks: &CallbackConfig{Slots: 16, Sender: w, Keys: w, Files: w, URLLife: time.Hour, Rand: func() float64 { return 0.5 }},
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- pool.Run(ctx) }()
	var rescuer sync.WaitGroup
	rescuer.Go(func() { w.rescue(ctx) })
	return func() {
		cancel()
		rescuer.Wait()
		if err := <-done; err != nil {
			t.Errorf("Run() = %v", err)
		}
	}
}

const gateway = "https://gateway.example.com"

// TestCallbackTurns: however many callbacks of org A hang at a gateway that customers share,
// org B's to a receiver behind the same gateway that works come as if there were none, and so
// do its retries, to the second of the schedule. That holds beside 100 such orgs:
// what hangs is set aside after patience.
func TestCallbackTurns(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		orgs, each int
		within     time.Duration
	}{{0, 0, time.Second}, {1, 5, time.Second}, {1, 40, time.Second}, {1, 400, time.Second}, {15, 40, time.Second}, {100, 20, 2 * time.Second}} {
		t.Run(fmt.Sprintf("%dx%d", tt.orgs, tt.each), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { besideHung(t, tt.orgs, tt.each, tt.within) })
		})
	}
}

func besideHung(t *testing.T, orgs, each int, within time.Duration) {
	w := newTown()
	defer w.open(t)()
	for n := range each {
		for org := range orgs {
			w.end(fmt.Sprintf("A%d", org), gateway, fmt.Sprintf("hangs/%d", n))
		}
	}
	<-time.After(5 * time.Second) // they have all that they can get
	begun := time.Now()
	w.end("B", gateway, "works")
	w.end("B", gateway, "fails")
	for tick := 0; len(w.callsTo("B")) < 3 && tick < 120; tick++ {
		<-time.After(5 * time.Second)
	}
	at := w.callsTo("B")
	if len(at) != 3 {
		t.Fatalf("B was called %d times in 10 minutes, want 3: %v after", len(at), at)
	}
	first, second, retry := at[0].Sub(begun), at[1].Sub(begun), at[2].Sub(at[1])
	t.Logf("%d callbacks of each of %d orgs hang: B's come after %v and %v, its retry %v after the failure; A0 was called %d times, %d at once",
		each, orgs, first, second, retry, len(w.callsTo("A0")), w.most["A0"])
	// A commit before each, and a rescuer that looks once a second, are all that B waits for.
	if first > within || second > within || retry < 5*time.Second || retry > 6*time.Second+within {
		t.Errorf("B was called after %v and %v and again after %v, want within %v and after 5 s", first, second, retry, within)
	}
}
