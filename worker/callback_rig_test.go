package worker_test

import (
	"context"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cloud.google.com/go/firestore"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"exportd/internal/config"
	"exportd/internal/export"
	"exportd/internal/jobqueue"
	"exportd/internal/jobstore"
	"exportd/internal/localcloud/localcloudtest"
	"exportd/internal/objectstore"
	"exportd/internal/webhook"
	"exportd/jobs"
	"exportd/worker"
)

// clock is the machine's clock, put forward by hand.
type clock struct{ ahead atomic.Int64 }

func (c *clock) Now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }

// put moves the clock forward to at; it never goes back.
func (c *clock) put(at time.Time) {
	if d := at.Sub(c.Now()); d > 0 {
		c.ahead.Add(int64(d))
	}
}

// services are what a worker works with.
type services struct {
	clock     *clock
	firestore *firestore.Client
	store     *jobstore.Store
	queue     *jobqueue.Queue
	objects   *objectstore.Store
}

func settings() (config.Config, error) {
	return config.Load(func(name string) string {
		return map[string]string{"EXPORTD_ENV": "development", "EXPORTD_PROJECT_ID": localcloudtest.Project, "EXPORTD_ORG_QUEUED_JOBS": "0"}[name]
	}, nil)
}

// connect opens the services of an embedded cloud; close is the caller's to call.
func connect(ctx context.Context, client *firestore.Client, pubsub, storage string) (_ *services, closeAll func(), err error) {
	cfg, err := settings()
	if err != nil {
		return nil, nil, err
	}
	s := &services{clock: &clock{}, firestore: client}
	s.store = jobstore.New(jobstore.Config{Client: client, Policy: cfg.Policy(), Limits: cfg.Limits(), ReuseFor: cfg.ReuseFor, Now: s.clock.Now})
	if s.queue, err = jobqueue.Open(ctx, jobqueue.Config{ProjectID: cfg.ProjectID, Emulator: pubsub}); err != nil {
		return nil, nil, err
	}
	if s.objects, err = objectstore.Open(ctx, objectstore.Config{Bucket: cfg.Bucket, EmulatorHost: storage, ProjectID: cfg.ProjectID}); err != nil {
		return nil, nil, err
	}
	return s, func() { _ = s.queue.Close(); _ = s.objects.Close() }, nil
}

// rig is an embedded cloud with everything that a worker needs.
type rig struct {
	*services
	cloud *localcloudtest.Cloud
}

func newRig(t testing.TB) *rig {
	t.Helper()
	cloud := localcloudtest.Start(t)
	e := cloud.Endpoints()
	s, closeAll, err := connect(context.Background(), cloud.Firestore, e.PubSub, e.Storage)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(closeAll)
	if err := s.queue.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.objects.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	return &rig{services: s, cloud: cloud}
}

// devRules let callbacks go to this machine, over http.
var devRules = webhook.Rules{Dev: webhook.Dev{AllowHTTP: true, AllowCIDRs: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, AllowPorts: []uint16{0}}}

var secrets = []webhook.Secret{secretFrom("current"), secretFrom("previous")}

// secretFrom makes a webhook secret from a text.
func secretFrom(text string) webhook.Secret {
	s, err := webhook.DeriveSecret(text)
	if err != nil {
		panic(err) // an empty text
	}
	return s
}

// keyring knows one key.
type keyring struct{ revoked atomic.Bool }

func (k *keyring) CallbackKey(_ context.Context, keyID string) (worker.CallbackKey, error) {
	if keyID != "key_one1" || k.revoked.Load() {
		return worker.CallbackKey{}, jobs.ErrNotFound
	}
	return worker.CallbackKey{Secrets: secrets}, nil
}

func (s *services) sender() *webhook.Sender {
	return webhook.NewSender(webhook.SenderConfig{Guard: webhook.NewGuard(webhook.GuardConfig{Dev: devRules.Dev}), Rules: devRules, Now: s.clock.Now})
}

func (s *services) config() worker.Config {
	return worker.Config{
		ID: "w1", Store: s.store, Queue: s.queue, Exporter: oneFile{s.objects}, Log: zap.NewNop(),
		JobSlots: 2, PartSlots: 1, Drain: time.Second, Now: s.clock.Now,
		Callbacks: &worker.CallbackConfig{
			Slots: 16, Sender: s.sender(), Keys: &keyring{}, Files: s.objects, URLLife: time.Hour, Rand: func() float64 { return 0.5 },
		},
	}
}

// work runs a pool until the test ends or stop is called.
func (r *rig) work(t testing.TB, changes ...func(*worker.Config)) (stop func()) {
	t.Helper()
	cfg := r.config()
	for _, change := range changes {
		change(&cfg)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		if err := worker.New(cfg).Run(ctx); err != nil {
			t.Errorf("Run() = %v", err)
		}
	})
	stop = sync.OnceFunc(func() { cancel(); done.Wait() })
	t.Cleanup(stop)
	return stop
}

// oneFile exports three rows into one object.
type oneFile struct{ objects *objectstore.Store }

const fileText = "id\r\na\r\nb\r\nc\r\n"

func (oneFile) Plan(context.Context, *jobs.Job) (export.Plan, error) {
	return export.Plan{Snapshot: time.Now(), Rows: 3, Parts: []jobs.Range{{Rows: 3}}}, nil
}

func (e oneFile) Write(ctx context.Context, s export.Spec, _ *export.Progress) (jobs.PartResult, error) {
	w := e.objects.Create(ctx, s.Object, jobs.ObjectAttrs{})
	_, _ = io.WriteString(w, fileText) // its error is Commit's too
	o, err := w.Commit(ctx)
	return jobs.PartResult{Object: s.Object, Rows: 3, Size: o.Size, CRC32C: o.CRC32C}, err
}

func (oneFile) Compose(context.Context, *jobs.Job, []*jobs.Part, string) (jobs.Result, []string, error) {
	return jobs.Result{}, nil, jobs.ErrUnavailable
}
func (oneFile) Changes(context.Context, *jobs.Job, jobs.Result, string) (jobs.Result, error) {
	return jobs.Result{}, jobs.ErrUnavailable
}
func (oneFile) Sweep(context.Context, *jobs.Job) (int, error) { return 0, nil }
func (oneFile) Discard(context.Context, ...string) error      { return nil }

func (e oneFile) Lost(ctx context.Context, j *jobs.Job) (bool, error) {
	there, err := e.objects.Holds(ctx, j.Result.Object, j.Result.Size, j.Result.CRC32C)
	return !there, err
}

// submit makes a job that calls url back, and notifies for it.
func (r *rig) submit(t *testing.T, url string) string {
	t.Helper()
	sub, err := r.store.Submit(t.Context(), jobs.Submission{
		OrgID: "org-1", KeyID: "key_one1", Kind: "vip-users", Fresh: true, CallbackURL: url,
		Params: jobs.Params{"workspaceId": "ws1", "mediumId": "m1", "profile": jobs.ProfileRFC4180, "formulaGuard": true},
	})
	if err != nil {
		t.Fatalf("Submit() = %v", err)
	}
	if err := r.queue.Publish(t.Context(), jobs.QueueExports, jobs.Message{JobID: sub.Job.ID}); err != nil {
		t.Fatal(err)
	}
	return sub.Job.ID
}

// callback waits until the job's only callback fits.
func (r *rig) callback(t *testing.T, jobID string, within time.Duration, fits func(*jobs.Callback) bool) *jobs.Callback {
	t.Helper()
	var last *jobs.Callback
	eventually(t, within, func() bool {
		all, err := r.store.Callbacks(t.Context(), jobID)
		if err != nil || len(all) > 1 {
			t.Fatalf("Callbacks(%s) = %d, %v", jobID, len(all), err)
		}
		if len(all) == 1 {
			last = all[0]
		}
		return last != nil && fits(last)
	}, func() any { return last })
	return last
}

func inState(s jobs.CallbackState) func(*jobs.Callback) bool {
	return func(cb *jobs.Callback) bool { return cb.State == s }
}

// tried fits a delivery that has n tries behind it and none under way.
func tried(n int) func(*jobs.Callback) bool {
	return func(cb *jobs.Callback) bool { return cb.Attempt == n && cb.Lease.Token == "" }
}

func eventually(t testing.TB, within time.Duration, ok func() bool, state func() any) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatalf("not within %s: %+v", within, state())
		case <-tick.C:
		}
	}
}

// request is a callback as a receiver got it.
type request struct {
	at     time.Time
	header http.Header
	body   []byte
}

// receiver remembers what it is sent and answers as it is told.
type receiver struct {
	*httptest.Server
	mu   sync.Mutex
	got  []request
	told func(n int, w http.ResponseWriter, r *http.Request) // n counts from 1
}

// receive starts a receiver on an address of its own, so that it is a host of its own.
func receive(t *testing.T, ip string, answer func(n int, w http.ResponseWriter, r *http.Request)) *receiver {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", net.JoinHostPort(ip, "0"))
	if err != nil {
		t.Fatal(err)
	}
	rc := &receiver{told: answer}
	rc.Server = httptest.NewUnstartedServer(rc)
	_ = rc.Listener.Close()
	rc.Listener = l
	rc.Start()
	t.Cleanup(rc.Close)
	return rc
}

func (rc *receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body) // what did not come does not verify
	rc.mu.Lock()
	rc.got = append(rc.got, request{time.Now(), maps.Clone(r.Header), body})
	n := len(rc.got)
	rc.mu.Unlock()
	rc.told(n, w, r)
}

func (rc *receiver) requests() []request {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	return slices.Clone(rc.got)
}

func status(code int) func(int, http.ResponseWriter, *http.Request) {
	return func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

// spend sets how many attempts of the schedule a delivery has behind it and how many deliveries of its
// receiver were exhausted in a row, and makes it due.
func (r *rig) spend(t *testing.T, cb *jobs.Callback, tries, exhausted int) {
	t.Helper()
	err := r.store.ChangeReceiver(t.Context(), cb.OrgID, cb.Origin, cb.Origin, func(k *jobs.Receiver) {
		k.Exhausted, k.FailingSince, k.LastFailure = exhausted, r.clock.Now(), r.clock.Now()
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.store.UpdateCallback(t.Context(), cb.ID, "test", func(tx *jobs.CallbackTx) error {
		tx.Callback.Schedule = tries
		tx.Callback.NextAt, tx.Callback.WakeAt = tx.Now, tx.Now
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// ended writes a job that has failed and its callback, as the commit of its end does.
func (r *rig) ended(t *testing.T, org, url string) jobs.Message {
	t.Helper()
	now := r.clock.Now().UTC()
	until := now.Add(r.store.Policy().LeaseFor) // further off, or without its shard, a rescuer would take it
	j := &jobs.Job{
		ID: jobs.NewID(), Schema: jobs.SchemaVersion, OrgID: org, KeyID: "key_one1", Kind: "vip-users", State: jobs.Running, Phase: jobs.PhaseStart,
		CreatedAt: now, StartedAt: now, WakeAt: until, Attempt: 1, Lease: jobs.Lease{Token: "x", Until: until}, CallbackURL: url,
		Fingerprint: jobs.Fingerprint(org, "vip-users", 1, jobs.Params{}),
	}
	j.Shard = jobs.ShardOf(j.ID)
	if _, err := r.firestore.Collection("ExportJobs").Doc(j.ID).Create(t.Context(), j); err != nil {
		t.Fatal(err)
	}
	j, err := r.store.Update(t.Context(), j.ID, "test", func(tx *jobs.Tx) error {
		return tx.EndAttempt(j.Lease, jobs.Fail(jobs.CodeTooManyRows, jobs.Permanent, "too many rows", "", nil))
	})
	if err != nil {
		t.Fatal(err)
	}
	return jobs.Message{JobID: j.ID, CallbackID: jobs.CallbackID(j)}
}

// notifyAll notifies many messages side by side.
func notifyAll(t *testing.T, r *rig, messages []jobs.Message) {
	t.Helper()
	var g errgroup.Group
	g.SetLimit(32)
	for _, m := range messages {
		g.Go(func() error { return r.queue.Publish(t.Context(), jobs.QueueCallbacks, m) })
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
}
