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

	"exportd/internal/webhook"
	"exportd/jobs"
)

// town is a store, a queue, the keys and all receivers of a worker, in memory, so that a whole pool runs on
// the clock of a bubble. A read or commit takes what it takes in production.
type town struct {
	Store
	Queue
	mu        sync.Mutex
	callbacks map[string]*jobs.Callback
	order     []string // ids, as they were made
	notified  []jobs.PulledMessage
	notify    chan struct{} // has a token while there may be something notified
	sent      []call
	inFlight  map[string]int // by org
	most      map[string]int
}

// call is an attempt as its receiver saw it.
type call struct {
	org  string
	path string
	at   time.Time
}

const (
	townCommit = 15 * time.Millisecond
	townQueue  = 10 * time.Millisecond
	// hang is when the sender gives up on a receiver that takes connections and says nothing.
	hang = 10 * time.Second
)

func newTown() *town {
	return &town{callbacks: map[string]*jobs.Callback{}, notify: make(chan struct{}, 1), inFlight: map[string]int{}, most: map[string]int{}}
}

func (*town) Policy() jobs.Policy {
	return jobs.Policy{Skew: 5 * time.Second, NotifyAgain: 15 * time.Second, MaxInterruptions: 3}
}

// Partitions: the town has a rescuer of its own.
func (*town) Partitions(context.Context, int) (jobs.Division, []jobs.Partition, error) {
	return jobs.Division{}, nil, jobs.ErrUnavailable
}
func (*town) WatchSwitches(ctx context.Context, fn func(jobs.Switches)) error {
	fn(jobs.Switches{})
	<-ctx.Done()
	return context.Cause(ctx)
}
func (*town) Switches(context.Context) (jobs.Switches, error)             { return jobs.Switches{}, nil }
func (*town) ShowAlive(context.Context, jobs.Worker, time.Duration) error { return nil }
func (*town) ShowGone(context.Context, string) error                      { return nil }
func (*town) Receivers(context.Context, string, ...string) ([]jobs.Receiver, error) {
	return make([]jobs.Receiver, 2), nil
}
func (*town) ChangeReceiver(context.Context, string, string, string, func(*jobs.Receiver)) error {
	return nil
}
func (*town) Get(_ context.Context, id string) (*jobs.Job, error) {
	return &jobs.Job{ID: id, Kind: "vip-users", State: jobs.Failed}, nil
}
func (*town) CallbackKey(context.Context, string) (CallbackKey, error) {
	s, err := webhook.DeriveSecret("the key's")
	return CallbackKey{Secrets: []webhook.Secret{s}}, err
}
func (*town) SignedURL(context.Context, string, time.Duration, string) (string, error) {
	return "https://storage.example/f", nil
}
func (*town) Ack(context.Context, jobs.Queue, jobs.PulledMessage) error {
	<-time.After(townQueue)
	return nil
}
func (*town) Nack(context.Context, jobs.Queue, jobs.PulledMessage, time.Duration) error {
	return nil
}

// rescue wakes once a second what is due, as the rescuer does. It takes no time, so that as many messages as
// can be wait.
func (w *town) rescue(ctx context.Context, p *Pool) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Second):
		}
		for _, m := range w.due() {
			_ = p.wakeCallback(ctx, ctx, jobs.Due{Message: m})
		}
	}
}

func (w *town) due() (notified []jobs.Message) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, id := range w.order {
		if at := w.callbacks[id].WakeAt; !at.IsZero() && !at.After(time.Now()) {
			notified = append(notified, jobs.Message{JobID: w.callbacks[id].JobID, CallbackID: id})
		}
	}
	return notified
}

func (w *town) UpdateCallback(_ context.Context, id, actor string, fn func(*jobs.CallbackTx) error) (*jobs.Callback, error) {
	if !strings.HasPrefix(actor, "rescuer") {
		<-time.After(townCommit)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	cb := *w.callbacks[id]
	cb.Attempts = append([]jobs.CallbackAttempt(nil), cb.Attempts...)
	if err := fn(&jobs.CallbackTx{Policy: w.Policy(), Now: time.Now(), Actor: actor, Callback: &cb}); err != nil {
		return nil, err
	}
	w.callbacks[id] = &cb
	copied := cb
	return &copied, nil
}

func (w *town) Publish(_ context.Context, _ jobs.Queue, m jobs.Message) error {
	w.mu.Lock()
	w.notified = append(w.notified, jobs.PulledMessage{Data: m.Encode()})
	w.mu.Unlock()
	select {
	case w.notify <- struct{}{}:
	default:
	}
	return nil
}

func (w *town) Pull(ctx context.Context, lane jobs.Queue, limit int) ([]jobs.PulledMessage, error) {
	if lane != jobs.QueueCallbacks {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	for {
		w.mu.Lock()
		n := min(limit, len(w.notified))
		got := w.notified[:n:n]
		w.notified = w.notified[n:]
		w.mu.Unlock()
		if n > 0 {
			<-time.After(townQueue)
			return got, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-w.notify:
		}
	}
}

// Send is every receiver: those with the path /hangs never answer, /fails says 503 once, the others take what
// comes.
func (w *town) Send(ctx context.Context, d webhook.Delivery) webhook.Attempt {
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
		a.Status, a.Class = 0, webhook.ClassTimeout
		select {
		case <-time.After(hang):
		case <-ctx.Done():
			a.Class = webhook.ClassInterrupted
		}
	case strings.HasPrefix(what, "fails") && tries == 0:
		a.Status, a.Class = 503, "http_503"
	}
	w.mu.Lock()
	w.inFlight[org]--
	w.mu.Unlock()
	a.Duration = time.Since(a.StartedAt)
	return a
}

// end makes the callback of a job that has ended and notifies for it.
func (w *town) end(org, origin, what string) {
	_ = w.Publish(context.Background(), jobs.QueueCallbacks, w.ended(org, origin, what))
}

// endHere does so for a job that the worker itself has ended.
func (w *town) endHere(p *Pool, org, origin, what string) {
	m := w.ended(org, origin, what)
	p.beginCallback(context.Background(), context.Background(), origin, org, m)
}

func (w *town) ended(org, origin, what string) jobs.Message {
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
	return jobs.Message{JobID: job, CallbackID: cb.ID}
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
func (w *town) open(t *testing.T) (pool *Pool, stop func()) {
	t.Helper()
	pool = New(Config{
		ID: "w1", Store: w, Queue: w, Log: zap.NewNop(), JobSlots: 1, PartSlots: 1,
		Callbacks: &CallbackConfig{Slots: 16, Sender: w, Keys: w, Files: w, URLLife: time.Hour, Rand: func() float64 { return 0.5 }},
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- pool.Run(ctx) }()
	var rescuer sync.WaitGroup
	rescuer.Go(func() { w.rescue(ctx, pool) })
	return pool, func() {
		cancel()
		rescuer.Wait()
		if err := <-done; err != nil {
			t.Errorf("Run() = %v", err)
		}
	}
}

const gateway = "https://gateway.example.com"

// TestCallbackTurns: however many callbacks of however many orgs hang at a gateway that customers share,
// another org's to a receiver behind the same gateway that works come as if there were none, and so do its
// retries, to the second of the schedule. What hangs is set aside after quickWithin, or broken off where too
// many hang. What another org can wait for are messages that were notified before its own, 5,000 a second;
// not where a worker knows by itself that its callback is due: having ended the job, or as a rescuer.
func TestCallbackTurns(t *testing.T) {
	t.Parallel()
	const soon = 100 * time.Millisecond
	for _, tt := range []struct {
		orgs, each     int
		notified, here time.Duration // within which callbacks come by messages, and of jobs that the worker ends
	}{
		{0, 0, soon, soon}, {1, 5, soon, soon}, {1, 40, soon, soon}, {1, 400, soon, soon}, {15, 40, soon, soon},
		{100, 20, soon, soon}, {100, 40, soon, soon}, {100, 50, soon, soon}, {300, 5, soon, soon},
		{100, 200, 4 * time.Second, soon},           // messages are still waiting
		{1000, 5, 5 * time.Second, 5 * time.Second}, // each of these is tried once before it is known, 128 a second
	} {
		t.Run(fmt.Sprintf("%dx%d", tt.orgs, tt.each), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { besideHung(t, tt.orgs, tt.each, tt.notified, tt.here) })
		})
	}
}

// besideHung has callbacks of org B come by messages, and those of org C of jobs that the worker ends.
func besideHung(t *testing.T, orgs, each int, notified, here time.Duration) {
	w := newTown()
	pool, stop := w.open(t)
	defer stop()
	for n := range each {
		for org := range orgs {
			w.end(fmt.Sprintf("A%d", org), gateway, fmt.Sprintf("hangs/%d", n))
		}
	}
	<-time.After(5 * time.Second) // they have all that they can get
	begun := time.Now()
	for _, what := range []string{"works", "fails"} {
		w.end("B", gateway, what)
		w.endHere(pool, "C", gateway, what)
	}
	for tick := 0; len(w.callsTo("B"))+len(w.callsTo("C")) < 6 && tick < 120; tick++ {
		<-time.After(5 * time.Second)
	}
	for org, within := range map[string]time.Duration{"B": notified, "C": here} {
		at := w.callsTo(org)
		if len(at) != 3 {
			t.Fatalf("%s was called %d times in 10 minutes, want 3: %v after", org, len(at), at)
		}
		first, second, retry := at[0].Sub(begun), at[1].Sub(begun), at[2].Sub(at[1])
		t.Logf("%d callbacks of each of %d orgs hang: %s's come after %v and %v, its retry %v after the failure; A0 was called %d times, %d at once",
			each, orgs, org, first, second, retry, len(w.callsTo("A0")), w.most["A0"])
		// Two commits and a way through the queue, and a rescuer that looks once a second, are all that they
		// wait for.
		if first > within || second > within || retry < 5*time.Second || retry > 6*time.Second+100*time.Millisecond {
			t.Errorf("%s was called after %v and %v and again after %v, want within %v and after 5 s", org, first, second, retry, within)
		}
	}
}
