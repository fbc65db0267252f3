package api

import (
	"context"
	"encoding/json"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/firestore"

	"exportd/internal/apikey"
	"exportd/internal/jobstore"
	"exportd/internal/localcloud/localcloudtest"
	"exportd/internal/webhook"
	"exportd/jobs"
)

// damageSample is of the damages of each document; all of them take some minutes.
var damageSample = flag.Int("damage.sample", 12, "try so many damages of each document, 0 for all")

// damageBench is a Server over real stores.
type damageBench struct {
	*bench
	cloud    *localcloudtest.Cloud
	store    *jobstore.Store
	keys     *apikey.Store
	receiver string // where callbacks go
}

func newDamageBench(t *testing.T, change ...func(*Config)) *damageBench {
	t.Helper()
	b := &damageBench{cloud: localcloudtest.Start(t)}
	policy := testPolicy
	policy.LeaseFor, policy.Skew = 30*time.Second, 5*time.Second
	b.store = jobstore.New(jobstore.Config{Client: b.cloud.Firestore, Policy: policy, ReuseFor: time.Minute, Now: func() time.Time { return noon }})
	var err error
	if b.keys, err = apikey.NewStore(apikey.StoreConfig{Client: b.cloud.Firestore}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.keys.Close)
	receiver := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(receiver.Close)
	b.receiver = receiver.URL + "/x"
	b.bench = newBench(t, append(change, func(c *Config) {
		c.Jobs, c.Operations, c.Admin = b.store, b.store, b.keys
		c.IPRate, c.KeyRate = Rate{PerSecond: 1e6, Burst: 1e6}, Rate{PerSecond: 1e6, Burst: 1e6}
		c.CallbackRules = webhook.Rules{Dev: webhook.Dev{AllowHTTP: true, AllowCIDRs: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, AllowPorts: []uint16{0}}}
	})...)
	if b.pings, err = newBuckets(Rate{PerSecond: 1e6, Burst: 1e6}); err != nil {
		t.Fatal(err)
	}
	return b
}

// patient is a document that is damaged, and the requests that read it.
type patient struct {
	ref *firestore.DocumentRef
	ids *strings.Replacer // of the paths' parameters
	own bool              // it is a job, or of one: org1's
}

func (b *damageBench) must(err error) {
	b.tb.Helper()
	if err != nil {
		b.tb.Fatal(err)
	}
}

func (b *damageBench) update(id string, fn func(*jobs.Tx) error) {
	b.tb.Helper()
	_, err := b.store.Update(b.tb.Context(), id, "test", fn)
	b.must(err)
}

// job makes a job of org1 in a state.
func (b *damageBench) job(state jobs.State) string {
	b.tb.Helper()
	got, err := b.store.Submit(b.tb.Context(), jobs.Submission{OrgID: "org1", KeyID: "key_one1", Kind: "vip-users", Fresh: true, CallbackURL: b.receiver,
		Params: jobs.Params{"workspaceId": "ws1", "mediumId": "ch1", "profile": jobs.ProfileRFC4180}})
	b.must(err)
	id := got.Job.ID
	var l jobs.Lease
	if state != jobs.Queued {
		b.update(id, func(tx *jobs.Tx) (err error) { l, err = tx.Claim("w"); return err })
	}
	switch state {
	case jobs.Running:
		b.update(id, func(tx *jobs.Tx) error {
			return tx.Plan(l, noon, []jobs.Range{{To: "a", Rows: 2}, {From: "a", Rows: 2}}, 0)
		})
		b.update(id, func(tx *jobs.Tx) error { _, _, err := tx.ClaimPart(tx.Job.PlanEpoch, 0, "w"); return err })
	case jobs.Succeeded:
		b.update(id, func(tx *jobs.Tx) error { return tx.Pin(l, noon, 3) })
		b.update(id, func(tx *jobs.Tx) error {
			return tx.Succeed(l, jobs.Result{Object: tx.Job.ResultName(), Rows: 3, Size: 9})
		})
	case jobs.Failed:
		b.update(id, func(tx *jobs.Tx) error {
			return tx.EndAttempt(l, jobs.Fail(jobs.CodeTooManyRows, jobs.Permanent, "too many", "", nil))
		})
	}
	return id
}

// patients are the kinds of documents that the API reads.
var patients = map[string]func(b *damageBench) patient{
	"job queued":    func(b *damageBench) patient { return b.jobPatient(jobs.Queued, "") },
	"job running":   func(b *damageBench) patient { return b.jobPatient(jobs.Running, "") },
	"job failed":    func(b *damageBench) patient { return b.jobPatient(jobs.Failed, "") },
	"job succeeded": func(b *damageBench) patient { return b.jobPatient(jobs.Succeeded, "") },
	"part":          func(b *damageBench) patient { return b.jobPatient(jobs.Running, "parts") },
	"event":         func(b *damageBench) patient { return b.jobPatient(jobs.Failed, "events") },
	"callback":      func(b *damageBench) patient { return b.jobPatient(jobs.Failed, "callbacks") },
	"batch": func(b *damageBench) patient {
		batch, err := b.store.CreateBatch(b.tb.Context(), jobs.BatchRequest{Reason: "r", Mode: jobs.RerunFresh, MaxPerSecond: 5, Filter: jobs.BatchFilter{State: jobs.Failed}})
		b.must(err)
		return patient{ref: b.cloud.Firestore.Collection("ExportBatches").Doc(batch.ID), ids: strings.NewReplacer("{batchId}", batch.ID)}
	},
	"pause": func(b *damageBench) patient {
		b.must(b.store.SetPaused(b.tb.Context(), jobs.QueueParts, true, "me", "to look"))
		return patient{ref: b.cloud.Firestore.Collection("ExportLeases").Doc("queue-" + string(jobs.QueueParts)), ids: strings.NewReplacer("{queue}", string(jobs.QueueParts))}
	},
	"receiver": func(b *damageBench) patient {
		b.must(b.store.ChangeReceiver(b.tb.Context(), "org1", "https://x.example", "https://x.example", func(r *jobs.Receiver) {
			*r = jobs.Receiver{FailingSince: noon, LastFailure: noon, Suspended: true, SuspendedAt: noon, Why: "fails"}
		}))
		return patient{ref: b.first("ExportCallbackReceivers"), ids: strings.NewReplacer()}
	},
	"key": func(b *damageBench) patient {
		k, err := b.keys.Create(b.tb.Context(), apikey.Draft{OrgID: "org1", Name: "n", Scopes: []apikey.Scope{apikey.ScopeRead}}, apikey.By{Actor: "a", Reason: "r"})
		b.must(err)
		return patient{ref: b.cloud.Firestore.Collection(apikey.Collection).Doc(k.ID), ids: strings.NewReplacer("{keyId}", k.ID)}
	},
}

func (b *damageBench) first(collection string) *firestore.DocumentRef {
	b.tb.Helper()
	docs, err := b.cloud.Firestore.Collection(collection).Limit(1).Documents(b.tb.Context()).GetAll()
	if err != nil || len(docs) == 0 {
		b.tb.Fatalf("no document in %s, %v", collection, err)
	}
	return docs[0].Ref
}

func (b *damageBench) jobPatient(state jobs.State, of string) patient {
	id := b.job(state)
	ref := b.cloud.Firestore.Collection("ExportJobs").Doc(id)
	switch of {
	case "parts":
		ref = ref.Collection("parts").Doc(jobs.PartID(1, 0))
	case "events":
		ref = b.first("ExportJobs/" + id + "/events")
	case "callbacks":
		ref = b.cloud.Firestore.Collection("ExportCallbacks").Doc(jobs.CallbackID(&jobs.Job{ID: id, State: jobs.Failed, Epoch: 1}))
	}
	return patient{ref: ref, ids: strings.NewReplacer("{jobId}", id), own: true}
}

// bodies are what POSTs need; the others take {"reason": ...}.
var bodies = map[string]string{
	"/ops/jobs/rerun":                      `{"reason":"r","filter":{"state":"failed"}}`,
	"/ops/callbacks/redeliver":             `{"reason":"r","filter":{"state":"exhausted"},"dryRun":true}`,
	"/ops/receivers/resume":                `{"reason":"r","orgId":"org1","origin":"https://x.example"}`,
	"/admin/keys":                          "-",
	"/admin/keys/{keyId}/revoke":           `{"reason":"r"}`,
	"/admin/keys/{keyId}/budget":           `{"reason":"r","rowsPerDay":5}`,
	"/exports/{jobId}/cancel":              "",
	"/exports/{jobId}/callback/test":       "",
	"/exports/{jobId}/events":              "-", // ends with the job: askStream
	"/vip-users/export":                    "-", // makes a job: TestDamagedAttachments
	"/vip-messages/export":                 "-",
	"/metrics":                             "-",
	"/docs/{file}":                         "-",
	"/ops/queues/{queue}/pause":            `{"reason":"r"}`,
	"/ops/jobs/{jobId}/callback/redeliver": `{"reason":"r"}`,
}

// TestDamagedDocuments: whatever a document holds, each operation of openapi.yaml that reads it answers as
// openapi.yaml says, never with a 500 or another org's data.
func TestDamagedDocuments(t *testing.T) {
	t.Parallel()
	for name, make := range patients {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newDamageBench(t)
			whole, err := make(b).ref.Get(t.Context())
			b.must(err)
			wounds := localcloudtest.Wounds(whole.Data(), *damageSample)
			for _, wound := range wounds {
				p := make(b)
				if name == "receiver" { // there is one, which another damage may have hidden
					_, err := p.ref.Set(context.Background(), whole.Data())
					b.must(err)
				}
				_, err := p.ref.Update(context.Background(), wound.Update())
				b.must(err)
				what := name + ": " + wound.Field + " = " + wound.What
				b.askAll(t, p, what)
				if p.own {
					b.askStream(t, p, what)
				}
			}
			t.Logf("%d damages", len(wounds))
		})
	}
}

// leftAlone reports whether an answer says that the job is left to another build: its damage is to be of
// another version.
func leftAlone(what string, w *httptest.ResponseRecorder) bool {
	return strings.HasSuffix(what, ": schema = 7") && w.Code == http.StatusServiceUnavailable && w.Header().Get("Retry-After") != ""
}

// askAll makes every request that reads the document.
func (b *damageBench) askAll(t *testing.T, p patient, what string) {
	t.Helper()
	asked := 0
	ask := func(key string, o contractOperation) int {
		path, body := o.route.Path, bodies[o.route.Path]
		if body == "" && o.method == http.MethodPost && strings.HasPrefix(path, "/ops/") {
			body = `{"reason":"r"}`
		}
		r := request(t, key, o.method, p.ids.Replace(path))
		if o.method == http.MethodPost && body != "" {
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
		}
		w := b.do(r)
		asked++
		if w.Code >= 500 && !leftAlone(what, w) {
			t.Errorf("%s: %s = %d: %.200s", what, o.name, w.Code, w.Body)
		}
		if w.Body.Len() > 1<<20 {
			t.Errorf("%s: %s answers %d bytes", what, o.name, w.Body.Len())
		}
		if p.own && key == "key_one1" && o.name == "GET /exports/{jobId}" {
			b.judgeJob(t, w.Code, w.Body.Bytes(), what)
		}
		return w.Code
	}
	// Those that only look come first: what changes the document mends it.
	operations := slices.Clone(contract.operations)
	slices.SortStableFunc(operations, func(a, b contractOperation) int { return weight(a) - weight(b) })
	for _, o := range operations {
		path := p.ids.Replace(o.route.Path)
		if !o.signed() || bodies[o.route.Path] == "-" && o.method == http.MethodPost || bodies[o.route.Path] == "-" || strings.Contains(path, "{") || strings.HasPrefix(path, "/vip-") {
			continue
		}
		switch {
		case strings.HasPrefix(path, "/ops/"):
			ask("key_ops1", o)
		case strings.HasPrefix(path, "/admin/"):
			ask("key_admn", o)
			if o.method == http.MethodGet {
				ask("key_adm1", o)
			}
		default:
			if code := ask("key_two2", o); p.own && strings.Contains(o.route.Path, "{jobId}") && code != http.StatusNotFound {
				t.Errorf("%s: %s answers another org %d", what, o.name, code)
			}
			ask("key_one1", o)
		}
	}
	if asked < 10 {
		t.Fatalf("%d requests were made", asked)
	}
}

// askStream opens the job's event stream and hangs up once it has told how the job stands.
func (b *damageBench) askStream(t *testing.T, p patient, what string) {
	t.Helper()
	ctx, hangUp := context.WithCancel(t.Context())
	defer hangUp()
	l, end := b.openStream(ctx, t, p.ids.Replace("{jobId}"))
	ended := make(chan []event, 1)
	go func() { ended <- end() }()
	for n := 0; n < 2; {
		select {
		case <-l.flushed:
			n++
			continue
		case events := <-ended: // refused, or the end of a job
			ended <- events
		case <-time.After(30 * time.Second):
			t.Errorf("%s: the event stream says nothing", what)
		}
		break
	}
	hangUp()
	events := <-ended
	if l.Code >= 500 {
		t.Errorf("%s: the event stream = %d", what, l.Code)
	}
	for _, e := range events {
		b.judgeJob(t, http.StatusOK, []byte(e.data), what)
	}
}

func weight(o contractOperation) int {
	switch o.method {
	case http.MethodGet:
		return 0
	case http.MethodDelete:
		return 2
	}
	return 1
}

// judgeJob: a job is shown as it is, or as failed for its record; where its orgId is damaged it is nobody's.
func (b *damageBench) judgeJob(t *testing.T, code int, body []byte, what string) {
	t.Helper()
	if code == http.StatusNotFound && strings.Contains(what, ": orgId = ") || code == http.StatusServiceUnavailable && strings.Contains(what, ": schema = 7") {
		return
	}
	var job struct {
		State jobs.State
		Error *struct {
			Code    jobs.Code
			Message string
		}
	}
	if err := json.Unmarshal(body, &job); err != nil || !job.State.Valid() || (job.State == jobs.Failed) != (job.Error != nil) || job.Error != nil && (job.Error.Message == "" || job.Error.Code == "") {
		t.Errorf("%s: the job is shown by %d as %.300s", what, code, body)
	}
}
