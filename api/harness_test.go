package api

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"exportd/internal/apikey"
	"exportd/internal/inmemory"
	"exportd/internal/localcloud/localcloudtest"
	"exportd/internal/records"
	"exportd/internal/vip"
	"exportd/jobs"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, append(localcloudtest.LeakOptions(), goleak.Cleanup(contract.report))...)
}

// noon is the tests' clock.
var noon = time.Date(2026, 6, 15, 12, 0, 0, 0, time.UTC)

const (
	testSecret = "a-secret-that-must-not-be-logged"
	testDate   = "2026-06-15T12:00:00Z"
)

// bench is a Server over in-memory stand-ins for everything behind the interfaces of this package. What they
// cannot show (Firestore, Pub/Sub, Storage) is shown end to end elsewhere, with real servers.
type bench struct {
	*Server
	tb      testing.TB
	records *fakeRecords
	jobs    *fakeJobs
	queue   *fakeQueue
	objects *fakeObjects
	keys    *fakeKeys
	log     *bytes.Buffer
}

func newBench(t *testing.T, change ...func(*Config)) *bench {
	t.Helper()
	b := &bench{tb: t, records: &fakeRecords{}, queue: &fakeQueue{}, objects: &fakeObjects{}, log: new(bytes.Buffer)}
	b.jobs = &fakeJobs{workers: []jobs.Worker{{ID: "of a build that tells no slots"}}, jobs: map[string]*jobs.Job{}, byKey: map[string]string{}, changed: make(chan struct{}), memory: inmemory.NewStore(inmemory.Config{Policy: jobs.Policy{RecordLife: 90 * 24 * time.Hour, LeaseFor: time.Minute, MaxAttempts: 3}, Now: func() time.Time { return noon }})}
	key := func(id, org string, scopes ...apikey.Scope) *apikey.Key {
		return &apikey.Key{ID: id, OrgID: org, State: apikey.Active, Scopes: scopes,
			Secrets: []apikey.SigningSecret{{Secret: apikey.NewSecret(testSecret)}}}
	}
	keys := []*apikey.Key{
		key("key_one1", "org1", apikey.ScopeRead, apikey.ScopeExport),
		key("key_two2", "org2", apikey.ScopeRead, apikey.ScopeExport),
		key("key_none", "org1"),
		key("key_read", "org1", apikey.ScopeRead),
		key("key_ops1", "org3", apikey.ScopeOps),
		key("key_hook", "org1", apikey.ScopeExport),
		key("key_dead", "org1", apikey.ScopeRead, apikey.ScopeExport),
		key("key_admn", "org3", apikey.ScopePlatform),
		key("key_adm1", "org1", apikey.ScopeAdmin),
	}
	keys[5].CallbackHosts = []string{"hooks.customer.com"}
	keys[5].DefaultCallbackURL = "https://hooks.customer.com/default"
	keys[6].State = apikey.Disabled
	b.keys = &fakeKeys{keys: keys}
	var mu sync.Mutex
	cfg := Config{
		Keys: b.keys.Lookup, Admin: b.keys,
		Records: b.records, Jobs: b.jobs, Queue: b.queue, Objects: b.objects, Operations: b.jobs,
		Now:         func() time.Time { return noon },
		DefaultWait: -1,
		// The tests' requests are signed by version 1; TestPrivileged is about who may do so.
		PrivilegedV1: true,
		Logger: zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()),
			zapcore.AddSync(lockedWriter{&mu, b.log}), zapcore.DebugLevel)),
	}
	for _, f := range change {
		f(&cfg)
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatalf("New = %v", err)
	}
	t.Cleanup(s.drain)
	b.Server = s
	return b
}

type lockedWriter struct {
	mu *sync.Mutex
	w  io.Writer
}

func (l lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

// request makes a request signed by a key; header is pairs of name and value.
func request(t testing.TB, key, method, target string, header ...string) *http.Request {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, target, nil)
	r.Header.Set("x-api-key", key)
	r.Header.Set("x-date", testDate)
	r.Header.Set("x-signature", apikey.Sign(testSecret, testDate))
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	return r
}

func (b *bench) do(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	b.ServeHTTP(w, r)
	contract.check(b.tb, r, w.Result())
	return w
}

// get asks as key_one1, which may read and export in org1.
func (b *bench) get(t testing.TB, target string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	return b.do(request(t, "key_one1", http.MethodGet, target, header...))
}

func decode(t testing.TB, w *httptest.ResponseRecorder) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
		t.Fatalf("answer %d is not a JSON object: %v: %.200s", w.Code, err, w.Body)
	}
	return v
}

func wantStatus(t testing.TB, w *httptest.ResponseRecorder, want int) {
	t.Helper()
	if w.Code != want {
		t.Fatalf("status = %d, want %d: %.300s", w.Code, want, w.Body)
	}
}

// fakeRecords has workspace ws1 with channel ch1 for org1, the same with a 2 for org2, and for org1 plain
// (not VIP) and loose (a channel connected to nothing).
type fakeRecords struct {
	mu    sync.Mutex
	calls int
	err   error // what everything answers, if not nil

	query    vip.Query // of the last Page or LabelCounts
	after    *vip.Position
	offset   int
	limit    int
	page     records.Page
	counts   []records.LabelCount
	total    int64 // of LabelCounts; 0 is 7
	blocking bool  // block until the context ends
	counting bool  // LabelCounts alone blocks
	crowd    bool  // LabelCounts finds too many labels
	paging   bool  // Page alone blocks
	pages    int   // calls of Page
	rows     int64 // of Count; 0 is 7
}

func (f *fakeRecords) call(ctx context.Context) error {
	f.mu.Lock()
	f.calls++
	f.mu.Unlock()
	if f.blocking {
		<-ctx.Done()
		return ctx.Err()
	}
	return f.err
}

func (f *fakeRecords) Workspace(ctx context.Context, org, id string) (vip.Workspace, error) {
	switch org + "/" + id {
	case "org1/ws1":
		return vip.Workspace{ID: id, OrgID: "org1", IsVIP: true, ChannelIDs: []string{"ch1"}}, f.call(ctx)
	case "org2/ws2":
		return vip.Workspace{ID: id, OrgID: "org2", IsVIP: true, ChannelIDs: []string{"ch2"}}, f.call(ctx)
	case "org1/plain":
		return vip.Workspace{ID: id, OrgID: "org1", ChannelIDs: []string{"ch1"}}, f.call(ctx)
	}
	return vip.Workspace{}, errors.Join(f.call(ctx), jobs.ErrNotFound)
}

func (f *fakeRecords) Channel(ctx context.Context, org, id string) (vip.Channel, error) {
	for _, ch := range f.channels() {
		if ch.OrgID == org && ch.ID == id {
			return ch, f.call(ctx)
		}
	}
	return vip.Channel{}, errors.Join(f.call(ctx), jobs.ErrNotFound)
}

func (*fakeRecords) channels() []vip.Channel {
	none := []string{}
	return []vip.Channel{{ID: "ch1", OrgID: "org1", WorkspaceIDs: none}, {ID: "loose", OrgID: "org1", WorkspaceIDs: none},
		{ID: "ch2", OrgID: "org2", WorkspaceIDs: none}, {ID: "ch3", OrgID: "org1", WorkspaceIDs: []string{"ws1"}}}
}

func (f *fakeRecords) Workspaces(ctx context.Context, _ string, _ int) ([]vip.Workspace, error) {
	return nil, f.call(ctx)
}

func (f *fakeRecords) Channels(ctx context.Context, org, _ string, _ int) ([]vip.Channel, error) {
	return slices.DeleteFunc(f.channels(), func(c vip.Channel) bool { return c.OrgID != org }), f.call(ctx)
}

func (f *fakeRecords) Page(ctx context.Context, q vip.Query, after *vip.Position, offset, limit, _ int, _ records.RowEncoder) (records.Page, error) {
	f.mu.Lock()
	f.query, f.after, f.offset, f.limit = q, after, offset, limit
	f.pages++
	f.mu.Unlock()
	if f.paging {
		<-ctx.Done()
		return records.Page{}, ctx.Err()
	}
	return f.page, f.call(ctx)
}

func (f *fakeRecords) Count(ctx context.Context, _ vip.Query, _ vip.Range, at time.Time) (int64, time.Time, error) {
	return cmp.Or(f.rows, 7), at, f.call(ctx)
}

func (f *fakeRecords) LabelCounts(ctx context.Context, q vip.Query) ([]records.LabelCount, int64, error) {
	f.mu.Lock()
	f.query = q
	f.mu.Unlock()
	if f.counting {
		<-ctx.Done()
		return nil, 0, ctx.Err()
	}
	err := f.call(ctx)
	if err == nil && f.total > records.OverviewRows {
		err = records.ErrTooManyRows
	}
	if f.crowd {
		return nil, 7, records.ErrTooManyLabels
	}
	return f.counts, cmp.Or(f.total, 7), err
}

// fakeJobs keeps jobs in a map. Nothing works on them: tests call set.
type fakeJobs struct {
	mu           sync.Mutex
	calls        int
	err          error
	jobs         map[string]*jobs.Job
	changed      chan struct{} // closed at each change
	submitted    []jobs.Submission
	byKey        map[string]string // ids of jobs by idempotency key
	attach       *jobs.Job         // what Submit finds
	list         jobs.List         // of the last List
	page         jobs.JobPage
	callbacks    []*jobs.Callback
	events       []jobs.Event
	parts        []*jobs.Part
	batches      []*jobs.Batch
	paused       map[jobs.Queue]jobs.Pause
	callbackList jobs.CallbackList // of the last ListCallbacks
	receivers    []jobs.Receiver
	rollups      []*jobs.Rollup
	crowd        bool // hours have more orgs than are looked at
	rollupReads  int
	topReads     int
	workers      []jobs.Worker
	aliveReads   int
	aliveErr     error
	running      []*jobs.Job // as of Unfinished
	queued       []*jobs.Job
	noted        atomic.Int64 // calls of NoteDownloads
	cannotNote   bool
	// memory is what knows causes, and what operators did.
	memory *inmemory.Store
}

// set stores a copy of j, with what every job has.
func (f *fakeJobs) set(j jobs.Job) *jobs.Job {
	complete(&j)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.jobs[j.ID] = &j
	close(f.changed)
	f.changed = make(chan struct{})
	return &j
}

func complete(j *jobs.Job) {
	j.Kind, j.Params = cmp.Or(j.Kind, "vip-users"), j.Params.With(jobs.ParamProfile, j.Params.Profile()).With(jobs.ParamFormulaGuard, j.Params.FormulaGuard())
	j.OrgID = cmp.Or(j.OrgID, "org1")
	j.Fingerprint = jobs.Fingerprint(j.OrgID, j.Kind, 1, j.Params)
}

// whole adds what a job in its state has: transitions are refused on a job that makes no sense.
func whole(j *jobs.Job) {
	complete(j)
	or := func(t *time.Time) {
		if t.IsZero() {
			*t = noon
		}
	}
	or(&j.CreatedAt)
	switch {
	case j.State == jobs.Running:
		or(&j.StartedAt)
		j.Lease.Token = cmp.Or(j.Lease.Token, "t")
	case j.State.Ended():
		or(&j.FinishedAt)
	}
	switch j.State {
	case jobs.Succeeded, jobs.Expired:
		or(&j.SnapshotTime)
		j.Counted, j.RowsTotal, j.FileExpiresAt = true, j.Result.Rows, j.FinishedAt.Add(time.Hour)
		j.Result.Object = j.ObjectPrefix() + "1/users.csv"
	default:
		j.Result = jobs.Result{}
	}
	if j.State == jobs.Failed {
		j.Error = cmp.Or(j.Error, &jobs.JobError{Code: jobs.CodeInternal})
	}
	if !j.State.Ended() {
		j.FinishedAt = time.Time{}
	}
	j.Counted = !j.SnapshotTime.IsZero()
}

// fail makes everything fail from now on.
func (f *fakeJobs) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *fakeJobs) look(id string) (*jobs.Job, chan struct{}, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	j, ok := f.jobs[id]
	switch {
	case f.err != nil:
		return nil, nil, f.err
	case !ok:
		return nil, nil, jobs.ErrNotFound
	}
	c := *j
	return &c, f.changed, nil
}

func (f *fakeJobs) Submit(_ context.Context, s jobs.Submission) (jobs.Submitted, error) {
	if f.err != nil {
		return jobs.Submitted{}, f.err
	}
	f.submitted = append(f.submitted, s)
	if j, ok := f.byKey[s.IdempotencyKey]; ok && s.IdempotencyKey != "" && s.Attaches(f.jobs[j], noon) {
		return jobs.Submitted{Job: f.jobs[j], Reused: true}, nil
	}
	if f.attach != nil && f.attach.ID != s.Except {
		return jobs.Submitted{Job: f.attach, Reused: true}, nil
	}
	j := f.set(jobs.Job{ID: jobs.NewID(), Schema: jobs.SchemaVersion, OrgID: s.OrgID, KeyID: s.KeyID, Kind: s.Kind, Params: s.Params,
		State: jobs.Queued, CreatedAt: noon, WakeAt: noon, CallbackURL: s.CallbackURL})
	if s.Rerun != nil {
		j.RerunOf = s.Rerun.Of
	}
	f.byKey[s.IdempotencyKey] = j.ID
	return jobs.Submitted{Job: j}, nil
}

func (f *fakeJobs) Find(_ context.Context, s jobs.Submission) (*jobs.Job, error) {
	if f.err != nil || f.attach == nil || f.attach.ID == s.Except {
		return nil, f.err
	}
	return f.attach, nil
}

func (f *fakeJobs) ReuseFor() time.Duration { return 42 * time.Second }

func (f *fakeJobs) Get(_ context.Context, id string) (*jobs.Job, error) {
	j, _, err := f.look(id)
	return j, err
}

func (f *fakeJobs) GetOf(_ context.Context, orgID, id string) (*jobs.Job, error) {
	j, _, err := f.look(id)
	if err == nil && j.OrgID != orgID {
		return nil, jobs.ErrNotFound
	}
	return j, err
}

func (f *fakeJobs) Watch(ctx context.Context, id string, fn func(*jobs.Job) bool) error {
	for {
		j, changed, err := f.look(id)
		if err != nil || fn(j) {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (f *fakeJobs) Policy() jobs.Policy { return testPolicy }

func (f *fakeJobs) List(_ context.Context, l jobs.List) (jobs.JobPage, error) {
	f.calls++
	f.list = l
	page := f.page
	page.Jobs = nil
	for _, j := range f.page.Jobs {
		c := *j // tests share them
		if complete(&c); l.Kind == "" || c.Kind == l.Kind {
			page.Jobs = append(page.Jobs, &c)
		}
	}
	return page, f.err
}

func (f *fakeJobs) Update(_ context.Context, id, actor string, fn func(*jobs.Tx) error) (*jobs.Job, error) {
	j, _, err := f.look(id)
	if err != nil {
		return nil, err
	}
	whole(j)
	tx := jobs.NewTx(testPolicy, noon, actor, j, func(string) (*jobs.Part, error) { return nil, jobs.ErrNotFound })
	if err := fn(tx); err != nil {
		return nil, err
	}
	f.events = append(f.events, tx.Events...)
	return f.set(*j), nil
}

func (f *fakeJobs) Progress(context.Context, *jobs.Job) (rows, bytes int64, err error) {
	return 40, 4000, f.err
}

func (f *fakeJobs) Callbacks(context.Context, string) ([]*jobs.Callback, error) {
	return f.callbacks, f.err
}

func (f *fakeJobs) Events(context.Context, string) ([]jobs.Event, error) { return f.events, f.err }

func (f *fakeJobs) Parts(context.Context, *jobs.Job) ([]*jobs.Part, error) { return f.parts, f.err }

type fakeQueue struct {
	notified []jobs.Message
	err      error
}

func (f *fakeQueue) Publish(_ context.Context, _ jobs.Queue, m jobs.Message) error {
	f.notified = append(f.notified, m)
	return f.err
}

const signedURLPrefix = "https://storage.example/signed?X-Goog-Signature="

type fakeObjects struct {
	err error
	ttl time.Duration

	deleted []string // prefixes

	mu    sync.Mutex
	lost  map[string]bool
	away  error // of Holds
	looks int
}

func (f *fakeObjects) SignedURL(_ context.Context, object string, ttl time.Duration, filename string) (string, error) {
	f.ttl = ttl
	return signedURLPrefix + strings.ReplaceAll(object+filename, "/", "_"), f.err
}

func (f *fakeObjects) Holds(_ context.Context, object string, _ int64, _ uint32) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.looks++
	return !f.lost[object], f.away
}

func (f *fakeObjects) DeletePrefix(_ context.Context, prefix string) (int, error) {
	f.deleted = append(f.deleted, prefix)
	return 1, f.err
}

// testPolicy has what the transitions that the API makes need.
var testPolicy = jobs.Policy{
	NotifyAgain: time.Minute, MaxAttempts: 8, SnapshotLife: time.Hour, FileLife: 7 * 24 * time.Hour, RecordLife: 90 * 24 * time.Hour,
	SweepAfter: time.Minute, Jitter: func() float64 { return 0 },
}

// succeeded is a finished job of org1.
func succeeded() jobs.Job {
	return jobs.Job{
		ID: jobs.NewID(), Schema: jobs.SchemaVersion, OrgID: "org1", Kind: "vip-users", State: jobs.Succeeded, Attempt: 1,
		CreatedAt: noon.Add(-time.Minute), StartedAt: noon.Add(-time.Minute), FinishedAt: noon.Add(-20 * time.Second),
		Counted: true, RowsTotal: 3, WakeAt: noon.Add(24 * time.Hour), FileExpiresAt: noon.Add(24 * time.Hour),
		Result: jobs.Result{Object: "exports/org1/x/final.csv", Rows: 3, Size: 99, CRC32C: 1},
	}
}

func (f *fakeJobs) BudgetDays(ctx context.Context, keyIDs []string) ([]jobs.BudgetDay, error) {
	return f.memory.BudgetDays(ctx, keyIDs)
}

func (f *fakeJobs) Alive(context.Context) ([]jobs.Worker, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.aliveReads++
	return f.workers, f.aliveErr
}

func (f *fakeJobs) Unfinished(_ context.Context, _ string, most int) (running, queued []*jobs.Job, err error) {
	return f.running[:min(most, len(f.running))], f.queued[:min(most, len(f.queued))], f.err
}

func (f *fakeJobs) Usage(context.Context, string) (running, queued int64, err error) {
	return 2, 5, f.err
}
