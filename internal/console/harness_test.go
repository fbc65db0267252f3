package console_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"exportd/api"
	"exportd/internal/apikey"
	"exportd/internal/console"
	"exportd/internal/identity"
	"exportd/internal/identity/identitytest"
	"exportd/internal/inmemory"
	"exportd/internal/localcloud/localcloudtest"
	"exportd/internal/vip"
	"exportd/jobs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, localcloudtest.LeakOptions()...) }

const secret = "a-secret-that-must-not-be-shown-anywhere"

// store is what tests do with jobs: in memory, or in the embedded cloud.
type store interface {
	api.Jobs
	api.Operations
	jobs.PartStore
	jobs.PartitionStore
	jobs.PresenceStore
	jobs.SwitchStore
	jobs.ReceiverStore
	jobs.DeadLetterStore
}

// desk is a console over the real API, on a store in memory unless it is said otherwise.
type desk struct {
	*httptest.Server
	tb      testing.TB
	store   store
	objects *inmemory.Objects
	console *console.Console
	busy    bool // time passes while jobs wait and run

	proxy    *identitytest.Proxy
	provider *identitytest.Provider
	again    func() *console.Console             // another process, with the same keyset
	roles    func(identity.Roles) identity.Roles // what that one's settings are

	mu      sync.Mutex
	down    bool             // ended sessions cannot be read
	watched map[*func()]bool // of sessions
	ended   map[string]bool
	keys    map[string]*apikey.Key
	nonces  map[string]bool
	history map[string][]apikey.AuditEntry
	now     time.Time
	sealer  *apikey.Sealer
	outage  int            // status that the API refuses everything with; 0 for none
	asked   map[string]int // how often, by method and path
	told    chan<- string  // of each request
}

// answer counts what the API is asked, and answers during an outage.
func (d *desk) answer(w http.ResponseWriter, r *http.Request) (goOn bool) {
	d.mu.Lock()
	status, told := d.outage, d.told
	d.asked[r.Method+" "+r.URL.Path]++
	d.mu.Unlock()
	if status != 0 {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, `{"error":{"code":"UNAVAILABLE","message":"temporarily unavailable"}}`)
	}
	select {
	case told <- r.URL.Path:
	default: // nobody waits for it
	}
	return status == 0
}

// fails has the API refuse everything with a status from now on, 0 for nothing any more, and waits until it
// has done so once.
func (d *desk) fails(status int) {
	told := make(chan string, 1)
	d.mu.Lock()
	d.outage, d.told = status, told
	d.mu.Unlock()
	select {
	case <-told:
	case <-time.After(30 * time.Second):
		d.tb.Fatal("nobody asks the API any more")
	}
	d.mu.Lock()
	d.told = nil
	d.mu.Unlock()
}

func (d *desk) clock() time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.now
}

func (d *desk) pass(by time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.now = d.now.Add(by)
}

func (d *desk) lookup(_ context.Context, id string) (*apikey.Key, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if k := d.keys[id]; k != nil {
		return k, nil
	}
	return nil, jobs.ErrNotFound
}

// change has a key be another one from now on.
func (d *desk) change(id string, fn func(*apikey.Key)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	k := *d.keys[id]
	fn(&k)
	d.keys[id] = &k
	d.tellSessions()
}

func (d *desk) useNonce(_ context.Context, keyID, text string, _ time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.nonces[keyID+text] {
		return apikey.ErrNonceUsed
	}
	d.nonces[keyID+text] = true
	return nil
}

func (d *desk) EndSession(_ context.Context, id string, _ time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.down {
		return jobs.ErrUnavailable
	}
	d.ended[id] = true
	d.tellSessions()
	return nil
}

func (d *desk) SessionEnded(_ context.Context, id string) (bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.down {
		return false, jobs.ErrUnavailable
	}
	return d.ended[id], nil
}

// admin is the keys' desk, as far as the console asks it.
type admin struct {
	api.KeyAdmin
	d *desk
}

func (a admin) List(_ context.Context, org string) (all []*apikey.Key, err error) {
	a.d.mu.Lock()
	defer a.d.mu.Unlock()
	for _, k := range a.d.keys {
		if org == "" || k.OrgID == org {
			all = append(all, k)
		}
	}
	slices.SortFunc(all, func(x, y *apikey.Key) int { return strings.Compare(x.ID, y.ID) })
	return all, nil
}

// records know every workspace and channel, and no rows.
type records struct{ api.Records }

func (records) Workspace(_ context.Context, orgID, id string) (vip.Workspace, error) {
	return vip.Workspace{ID: id, OrgID: orgID, IsVIP: true, ChannelIDs: []string{"ch1"}}, nil
}

func (records) Channel(_ context.Context, orgID, id string) (vip.Channel, error) {
	return vip.Channel{ID: id, OrgID: orgID}, nil
}

// roles are keys by what they may.
var roles = map[string][]apikey.Scope{
	"key_operator": {apikey.ScopeOps}, "key_viewer": {apikey.ScopeView}, "key_platform": {apikey.ScopePlatform}, "key_admin1": {apikey.ScopeAdmin},
	"key_reader": {apikey.ScopeRead, apikey.ScopeExport}, "key_reading_operator": {apikey.ScopeOps, apikey.ScopeRead},
}

func open(t *testing.T, changes ...func(*desk, *console.Config)) *desk {
	t.Helper()
	return openOn(t, func(policy jobs.Policy, now func() time.Time) store {
		return inmemory.NewStore(inmemory.Config{Policy: policy, Now: now})
	}, changes...)
}

// openOn is open on a store that is made for it.
func openOn(t testing.TB, made func(policy jobs.Policy, now func() time.Time) store, changes ...func(*desk, *console.Config)) *desk {
	t.Helper()
	d := &desk{tb: t, keys: map[string]*apikey.Key{}, ended: map[string]bool{}, watched: map[*func()]bool{}, asked: map[string]int{}, nonces: map[string]bool{}, now: time.Date(2026, 6, 15, 12, 1, 0, 0, time.UTC)}
	for id, scopes := range roles {
		d.keys[id] = &apikey.Key{ID: id, Name: "of " + id, OrgID: "org1", Scopes: scopes, State: apikey.Active, CreatedAt: d.now, Secrets: []apikey.SigningSecret{{Secret: apikey.NewSecret(secret)}}}
	}
	d.store = made(jobs.Policy{
		LeaseFor: 30 * time.Second, RenewEvery: 5 * time.Second, Skew: 5 * time.Second, NotifyAgain: 15 * time.Second, MaxAttempts: 8, MaxInterruptions: 50,
		BackoffMin: time.Second, BackoffMax: time.Minute, Window: 4, SnapshotLife: time.Hour, FileLife: 7 * 24 * time.Hour, RecordLife: 90 * 24 * time.Hour,
		SweepAfter: time.Minute, Jitter: func() float64 { return 0.5 },
	}, d.clock)
	d.objects = inmemory.NewObjects()
	server, err := api.New(api.Config{
		Keys: d.lookup, Nonces: d.useNonce, Admin: admin{d: d}, Records: records{}, Jobs: d.store, Queue: inmemory.NewQueue(), Objects: d.objects,
		Operations: d.store, Now: d.clock,
	})
	if err != nil {
		t.Fatal(err)
	}
	if d.sealer, err = apikey.PassingSealer(); err != nil {
		t.Fatal(err)
	}
	cfg := console.Config{
		API: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if d.answer(w, r) {
				server.ServeHTTP(w, r)
			}
		}), Keys: d.lookup, FreshKeys: d.lookup, Nonces: d.useNonce, Sealer: d.sealer, Now: d.clock, LookEvery: 10 * time.Millisecond, OwnLinks: true, LogsURL: "https://logs.example/?q={jobId}&r={requestId}",
		TraceURL: "https://logs.example/trace/{traceId}",
		As:       api.WithOperator, Sessions: d,
	}
	d.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { d.console.ServeHTTP(w, r) }))
	for _, change := range changes {
		change(d, &cfg)
	}
	d.again = func() *console.Console {
		cfg := cfg
		if d.roles != nil {
			cfg.Roles = d.roles(cfg.Roles)
		}
		c, err := console.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	d.console = d.again()
	d.Start()
	t.Cleanup(func() { d.console.Stop(); d.Server.Close(); d.console.Wait() })
	return d
}

// person is somebody with a browser.
type person struct {
	d      *desk
	client *http.Client
	agent  string
	host   string        // where they believe the console is; "" is where it is
	proxy  func() string // asserts who they are
	like   []string      // keys that may what they may
}

// visitor is somebody who has not signed in.
func (d *desk) visitor() *person {
	jar, err := cookiejar.New(nil)
	if err != nil {
		d.tb.Fatal(err)
	}
	c := &http.Client{Jar: jar, Transport: d.Client().Transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return &person{d: d, client: c, agent: "browser/1"}
}

// signedIn is somebody who has signed in by a key.
func (d *desk) signedIn(key string) *person {
	d.tb.Helper()
	p := d.visitor()
	if a := p.post("/console/sign-in", url.Values{"key": {key}, "secret": {secret}}); a.status != http.StatusSeeOther {
		d.tb.Fatalf("sign in as %s = %d %s", key, a.status, a.body)
	}
	return p
}

type reply struct {
	status int
	header http.Header
	body   string
}

// dress has a request be the person's.
func (p *person) dress(r *http.Request) {
	r.Header.Set("User-Agent", p.agent)
	if p.host != "" {
		r.Host = p.host
	}
	if p.proxy != nil {
		r.Header.Set(identity.HeaderIAP, p.proxy())
	}
}

func (p *person) do(r *http.Request) reply {
	p.d.tb.Helper()
	p.dress(r)
	w, err := p.client.Do(r)
	if err != nil {
		p.d.tb.Fatal(err)
	}
	defer w.Body.Close()
	body, err := io.ReadAll(w.Body)
	if err != nil {
		p.d.tb.Fatal(err)
	}
	return reply{w.StatusCode, w.Header, string(body)}
}

func (p *person) request(method, path string, form url.Values) *http.Request {
	p.d.tb.Helper()
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	r, err := http.NewRequestWithContext(context.Background(), method, p.d.URL+path, body)
	if err != nil {
		p.d.tb.Fatal(err)
	}
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	return r
}

func (p *person) get(path string) reply { return p.do(p.request(http.MethodGet, path, nil)) }

func (p *person) post(path string, form url.Values) reply {
	return p.do(p.request(http.MethodPost, path, form))
}

var (
	tokenField = regexp.MustCompile(`name="csrf" value="([^"]+)"`)
	onceField  = regexp.MustCompile(`name="once" value="([^"]+)"`)
)

// act opens the page of an action, says why and sends its form.
func (p *person) act(query, reason string) reply {
	p.d.tb.Helper()
	shown := p.get("/console/act?" + query)
	token, once := tokenField.FindStringSubmatch(shown.body), onceField.FindStringSubmatch(shown.body)
	if shown.status != http.StatusOK || token == nil || once == nil {
		p.d.tb.Fatalf("%s = %d %s", query, shown.status, shown.body)
	}
	return p.post("/console/act?"+query, url.Values{"csrf": {token[1]}, "once": {once[1]}, "reason": {reason}})
}

// token is that of the session's forms.
func (p *person) token() string {
	p.d.tb.Helper()
	m := tokenField.FindStringSubmatch(p.get("/console").body)
	if m == nil {
		p.d.tb.Fatal("the page has no form")
	}
	return m[1]
}

// submitted makes a job.
func (d *desk) submitted(org, callback string, params jobs.Params) *jobs.Job {
	d.tb.Helper()
	all := jobs.Params{"workspaceId": "ws1", "mediumId": "ch1", "profile": "rfc4180", "formulaGuard": true}
	for name, v := range params {
		all[name] = v
	}
	s, err := d.store.Submit(context.Background(), jobs.Submission{OrgID: org, KeyID: "key_reader", RequestID: "request-1", Kind: "vip-users", Params: all, Fresh: true, CallbackURL: callback})
	if err != nil {
		d.tb.Fatal(err)
	}
	return s.Job
}

// change runs transitions of a job.
func (d *desk) transit(id string, steps ...func(*jobs.Tx) error) *jobs.Job {
	d.tb.Helper()
	var j *jobs.Job
	for i, step := range steps {
		var err error
		if j, err = d.store.Update(context.Background(), id, "worker w1", step); err != nil {
			d.tb.Fatalf("step %d: %v", i, err)
		}
	}
	return j
}

// failed makes a job that has failed.
func (d *desk) failed(org, callback string, code jobs.Code, message, remedy string) *jobs.Job {
	d.tb.Helper()
	return d.failedBy(org, callback, code, message, remedy, "")
}

// failedBy makes a job that has failed by what exactly.
func (d *desk) failedBy(org, callback string, code jobs.Code, message, remedy, what string) *jobs.Job {
	d.tb.Helper()
	var l jobs.Lease
	return d.transit(d.submitted(org, callback, nil).ID,
		func(tx *jobs.Tx) (err error) { l, err = tx.Claim("w1"); return err },
		func(tx *jobs.Tx) error {
			return tx.EndAttempt(l, jobs.Fail(code, jobs.Permanent, message, remedy, nil).About(what))
		})
}

// causeOf is the cause of a job's failure.
func causeOf(j *jobs.Job) string { return j.Error.Cause().ID() }

// succeeded makes a job with a file of rows.
func (d *desk) succeeded(org, callback string, rows int64) *jobs.Job {
	d.tb.Helper()
	var l jobs.Lease
	j := d.submitted(org, callback, nil)
	if d.busy {
		d.pass(time.Duration(rows%37) * 211 * time.Millisecond)
	}
	return d.transit(j.ID,
		func(tx *jobs.Tx) (err error) { l, err = tx.Claim("w1"); return err },
		func(tx *jobs.Tx) error {
			if d.busy {
				tx.Job.Spent = jobs.Spent{Count: 90 * time.Millisecond, Scan: time.Duration(rows) * time.Millisecond / 4, Encode: time.Duration(rows) * time.Millisecond / 30, Upload: 700 * time.Millisecond}
				d.pass(time.Duration(rows)*time.Millisecond/4 + time.Second)
			}
			return nil
		},
		func(tx *jobs.Tx) error { return tx.Pin(l, d.clock(), rows) },
		func(tx *jobs.Tx) error {
			return tx.Succeed(l, jobs.Result{Object: tx.Job.ObjectPrefix() + "1/x.csv", Generation: 1, Rows: rows, Size: rows * 100, CRC32C: 7})
		})
}

// downloaded has a job's file downloaded by a link from addresses, and gives the link's id.
func (d *desk) downloaded(j *jobs.Job, agent string, from ...string) (linkID string) {
	d.tb.Helper()
	linkID = jobs.NewID()
	for i, address := range from {
		if err := d.store.NoteDownloads(context.Background(), jobs.NewDownload(j, linkID, "api key key_reader", address, agent, d.clock().Add(time.Duration(i)*time.Second))); err != nil {
			d.tb.Fatal(err)
		}
	}
	return linkID
}

// planned makes a job of parts, of which one has failed once.
func (d *desk) planned(org string, parts int, message string) *jobs.Job {
	d.tb.Helper()
	var l jobs.Lease
	ranges := make([]jobs.Range, parts)
	for i := range ranges {
		ranges[i] = jobs.Range{From: fmt.Sprint(i), To: fmt.Sprint(i + 1), Rows: 100}
	}
	j := d.transit(d.submitted(org, "", nil).ID,
		func(tx *jobs.Tx) (err error) { l, err = tx.Claim("w1"); return err },
		func(tx *jobs.Tx) error { return tx.Pin(l, d.clock(), int64(parts)*100) },
		func(tx *jobs.Tx) error { return tx.Plan(l, d.clock(), ranges, 0) })
	for i := range min(2, parts) {
		epoch := j.PlanEpoch
		if _, err := d.store.UpdatePart(context.Background(), j.ID, jobs.PartID(epoch, i), "worker w1", func(tx *jobs.Tx) (err error) { _, l, err = tx.ClaimPart(epoch, i, "w1"); return err }); err != nil {
			d.tb.Fatal(err)
		}
		if i == 0 {
			if _, err := d.store.UpdatePart(context.Background(), j.ID, jobs.PartID(epoch, i), "worker w1", func(tx *jobs.Tx) error {
				_, err := tx.EndPartAttempt(epoch, i, l, jobs.Fail(jobs.CodeUnavailable, jobs.Transient, message, "wait", nil))
				return err
			}); err != nil {
				d.tb.Fatal(err)
			}
		}
	}
	return j
}

// answered makes a try of a job's callback that failed with an answer.
func (d *desk) answered(j *jobs.Job, answer string) {
	d.tb.Helper()
	all, err := d.store.Callbacks(context.Background(), j.ID)
	if err != nil || len(all) == 0 {
		d.tb.Fatalf("callbacks of %s = %v, %v", j.ID, all, err)
	}
	var l jobs.Lease
	for _, step := range []func(tx *jobs.CallbackTx) error{
		func(tx *jobs.CallbackTx) (err error) { l, err = tx.Claim("w1"); return err },
		func(tx *jobs.CallbackTx) error {
			return tx.Record(l, jobs.CallbackResult{State: jobs.CallbackExhausted, Attempt: jobs.CallbackAttempt{At: d.clock(), Millis: 1000, Class: "status", Status: 500, Response: answer}})
		},
	} {
		if _, err := d.store.UpdateCallback(context.Background(), all[0].ID, "worker w1", step); err != nil {
			d.tb.Fatal(err)
		}
	}
}
