package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/firestore"

	"exportd/internal/apikey"
	"exportd/internal/localcloud/localcloudtest"
	"exportd/jobs"
)

// live is a recorder that tells of each flush: of the begin of an event stream, and of its events.
type live struct {
	*httptest.ResponseRecorder
	flushed chan struct{}
}

func (l *live) Flush() {
	select {
	case l.flushed <- struct{}{}:
	default: // nobody counts so many
	}
}

// openStream opens a job's event stream; the function waits for its end and gives its events.
func (b *damageBench) openStream(ctx context.Context, t *testing.T, id string) (l *live, end func() []event) {
	t.Helper()
	l = &live{httptest.NewRecorder(), make(chan struct{}, 16)}
	r := request(t, "key_one1", http.MethodGet, "/exports/"+id+"/events").WithContext(ctx)
	var served sync.WaitGroup
	served.Go(func() { b.ServeHTTP(l, r) })
	return l, func() []event {
		served.Wait()
		contract.check(b.tb, r, l.Result())
		return readEvents(t, l.Body.String())
	}
}

// TestDamagedStreams: whoever follows a job whose document is damaged meanwhile is told of its end as of any
// other's, never what the document holds, and nothing of another org's job.
func TestDamagedStreams(t *testing.T) {
	t.Parallel()
	for _, state := range []jobs.State{jobs.Queued, jobs.Running} {
		t.Run(string(state), func(t *testing.T) {
			t.Parallel()
			b := newDamageBench(t)
			whole, err := b.jobPatient(state, "").ref.Get(t.Context())
			b.must(err)
			wounds := localcloudtest.Wounds(whole.Data(), *damageSample)
			wounds = append(wounds, localcloudtest.Wound{Field: "orgId", What: "org2", Value: "org2"}, localcloudtest.Wound{Field: "state", What: "x", Value: "x"},
				localcloudtest.Wound{Field: "partsDone", What: "2e9", Value: 2_000_000_000})
			for _, wound := range wounds {
				b.followDamaged(t, b.jobPatient(state, ""), wound)
			}
			t.Logf("%d streams", len(wounds))
		})
	}
}

// followDamaged opens a stream, damages its job, and has the job ended if that did not end it.
func (b *damageBench) followDamaged(t *testing.T, p patient, wound localcloudtest.Wound) {
	t.Helper()
	what, id := "job: "+wound.Field+" = "+wound.What, p.ref.ID
	ctx, hangUp := context.WithTimeout(t.Context(), time.Minute)
	defer hangUp()
	l, end := b.openStream(ctx, t, id)
	for range 2 { // its begin, and the job as it was
		select {
		case <-l.flushed:
		case <-ctx.Done():
			t.Fatalf("%s: the stream does not begin", what)
		}
	}
	waited := make(chan *httptest.ResponseRecorder, 1)
	go func() {
		waited <- b.do(request(t, "key_one1", http.MethodGet, "/exports/"+id, "Prefer", "wait=25").WithContext(ctx))
	}()
	_, err := p.ref.Update(context.Background(), wound.Update())
	b.must(err)
	foreign := wound.Field == "schema" && wound.What == "7" // its own build ends it
	if w := b.do(request(t, "key_one1", http.MethodPost, "/exports/"+id+"/cancel")); w.Code >= 500 && !leftAlone(what, w) {
		t.Errorf("%s: cancel = %d: %.200s", what, w.Code, w.Body)
	}
	if foreign {
		hangUp()
	}
	events, w := end(), <-waited
	if ctx.Err() != nil && !foreign {
		t.Errorf("%s: the stream does not end", what)
		return
	}
	if wound.Field == "orgId" && w.Code != http.StatusNotFound {
		t.Errorf("%s: whoever waited for it is answered %d: %.200s", what, w.Code, w.Body)
	}
	if !foreign || w.Code != statusClientGone { // who was still waiting when the stream was hung up is not answered
		b.judgeJob(t, w.Code, w.Body.Bytes(), what)
	}
	var last struct{ State jobs.State }
	for _, e := range events {
		if len(e.data) > 64<<10 {
			t.Errorf("%s: an event of %d bytes", what, len(e.data))
		}
		b.judgeJob(t, http.StatusOK, []byte(e.data), what)
		_ = json.Unmarshal([]byte(e.data), &last)
	}
	if !last.State.Ended() && wound.Field != "orgId" && !foreign {
		t.Errorf("%s: the last of %d events says %q", what, len(events), last.State)
	}
	if wound.Field == "orgId" && len(events) > 1 {
		t.Errorf("%s: of a job that is nobody's or another org's, it was told %s", what, events[1].data)
	}
}

// TestDamagedAttachments: an export request that would attach to a job, by what it asks for or by its
// Idempotency-Key, gets one that is whole, whatever the documents on the way hold.
func TestDamagedAttachments(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"ExportFingerprints", "ExportIdempotency", "ExportJobs"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newDamageBench(t)
			n := 0
			ask := func(key string) (code int, id string, state jobs.State) {
				header := []string{"Idempotency-Key", key}
				if name == "ExportJobs" {
					header = nil // a key gives the same job also when that has failed
				}
				w := b.get(t, fmt.Sprintf("/vip-messages/export?workspaceId=ws1&mediumId=ch1&from=2026-06-01T00:00:%02dZ&to=2026-06-%02d", n%60, 2+n/60%28), header...)
				var job struct {
					JobID string
					State jobs.State
				}
				_ = json.Unmarshal(w.Body.Bytes(), &job)
				return w.Code, job.JobID, job.State
			}
			code, _, _ := ask("whole")
			if code != http.StatusAccepted {
				t.Fatalf("an export = %d", code)
			}
			whole, err := b.first(name).Get(t.Context())
			b.must(err)
			wounds := localcloudtest.Wounds(whole.Data(), *damageSample)
			for _, wound := range wounds {
				n++
				what, key := name+": "+wound.Field+" = "+wound.What, fmt.Sprint("k", n)
				_, first, _ := ask(key)
				ref := b.cloud.Firestore.Collection(name).Doc(b.pointer(t, name, first))
				_, err := ref.Update(context.Background(), wound.Update())
				b.must(err)
				for range 2 {
					code, id, state := ask(key)
					if code == http.StatusServiceUnavailable && wound.Field == "schema" && wound.What == "7" {
						continue
					}
					if code != http.StatusAccepted || id == "" || state != jobs.Queued && state != jobs.Running {
						t.Errorf("%s: the same export = %d with a job that is %q", what, code, state)
					}
				}
			}
			t.Logf("%d damages", len(wounds))
		})
	}
}

// pointer gives the id of the document of a collection that leads to a job.
func (b *damageBench) pointer(t *testing.T, collection, jobID string) string {
	t.Helper()
	if collection == "ExportJobs" {
		return jobID
	}
	docs, err := b.cloud.Firestore.Collection(collection).Documents(t.Context()).GetAll()
	b.must(err)
	for _, doc := range docs {
		if got, _ := doc.DataAt("jobId"); got == jobID {
			return doc.Ref.ID
		}
	}
	t.Fatalf("no document of %s leads to the job", collection)
	return ""
}

// TestDamagedCaller: a caller whose own key record is damaged is refused or served as its key was made; no
// route that it may ask fails by it.
func TestDamagedCaller(t *testing.T) {
	t.Parallel()
	var keys *apikey.Store
	b := newDamageBench(t, func(c *Config) {
		c.Keys = func(ctx context.Context, id string) (*apikey.Key, error) { return keys.Fresh(ctx, id) }
	})
	keys = b.keys
	made, err := keys.Create(t.Context(), apikey.Draft{OrgID: "org1", Name: "n", Scopes: []apikey.Scope{apikey.ScopeRead, apikey.ScopeExport}}, apikey.By{Actor: "a", Reason: "r"})
	b.must(err)
	ref := b.cloud.Firestore.Collection(apikey.Collection).Doc(made.ID)
	whole, err := ref.Get(t.Context())
	b.must(err)
	const filter = "?workspaceId=ws1&mediumId=ch1"
	const window = "&from=2026-06-01&to=2026-06-02"
	id := b.job(jobs.Succeeded)
	_, err = b.cloud.Firestore.Collection("ExportJobs").Doc(id).Update(t.Context(), []firestore.Update{{Path: "keyId", Value: made.ID}})
	b.must(err)
	routes := []string{
		"GET /workspaces", "GET /channels", "GET /vip-users" + filter, "GET /vip-messages" + filter + window, "GET /vip-labels/overview" + filter + window, "GET /vip-users/export" + filter,
		"GET /exports", "GET /exports/" + id, "GET /exports/" + id + "/events", "GET /exports/" + id + "/csv", "POST /exports/" + id + "/callback/test", "GET /limits",
	}
	answers := map[int]int{}
	wounds := localcloudtest.Wounds(whole.Data(), 3*(*damageSample))
	for _, wound := range append([]localcloudtest.Wound{{Field: "name", What: "the same", Value: "n"}}, wounds...) {
		_, err := ref.Set(context.Background(), whole.Data())
		b.must(err)
		_, err = ref.Update(context.Background(), wound.Update())
		b.must(err)
		for _, route := range routes {
			method, path, _ := strings.Cut(route, " ")
			r := request(t, made.ID, method, path)
			r.Header.Set("x-signature", apikey.Sign(made.Secrets[0].Secret.Reveal(), testDate))
			w := b.do(r)
			answers[w.Code]++
			if w.Code >= 500 || wound.What == "the same" && w.Code >= 400 {
				t.Errorf("%s = %s: %s = %d: %.200s", wound.Field, wound.What, route, w.Code, w.Body)
			}
			if w.Code < 400 && wound.Field == "orgId" && strings.Contains(path, id) {
				t.Errorf("%s = %s: %s answers another org %d", wound.Field, wound.What, route, w.Code)
			}
		}
	}
	t.Logf("%d damages, answers by status: %v", len(wounds), answers)
}
