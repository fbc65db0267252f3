package api

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"exportd/internal/apikey"
	"exportd/internal/jobstore"
	"exportd/internal/webhook"
	"exportd/jobs"
)

func (f *fakeJobs) ListCallbacks(_ context.Context, l jobs.CallbackList) ([]*jobs.Callback, string, error) {
	f.calls++
	f.callbackList = l
	from := 0
	if l.PageToken != "" {
		from = 1 + slices.IndexFunc(f.callbacks, func(cb *jobs.Callback) bool { return cb.ID == l.PageToken })
		if from == 0 {
			return nil, "", jobstore.ErrPageToken
		}
	}
	var page []*jobs.Callback
	for _, cb := range f.callbacks[from:] {
		if l.State != "" && cb.State != l.State || l.Origin != "" && cb.Origin != l.Origin || l.OrgID != "" && cb.OrgID != l.OrgID {
			continue
		}
		if len(page) == l.PageSize {
			return page, page[len(page)-1].ID, f.err
		}
		page = append(page, cb)
	}
	return page, "", f.err
}

func (f *fakeJobs) UpdateCallback(_ context.Context, id, actor string, fn func(*jobs.CallbackTx) error) (*jobs.Callback, error) {
	for _, cb := range f.callbacks {
		if cb.ID == id {
			tx := &jobs.CallbackTx{Policy: testPolicy, Now: noon, Actor: actor, Callback: cb}
			err := fn(tx)
			f.events = append(f.events, tx.Events...)
			return cb, err
		}
	}
	return nil, jobs.ErrNotFound
}

func (f *fakeJobs) SuspendedReceivers(context.Context) ([]jobs.Receiver, error) {
	return f.receivers, f.err
}

func (f *fakeJobs) Receivers(_ context.Context, org string, addresses ...string) ([]jobs.Receiver, error) {
	out := make([]jobs.Receiver, len(addresses))
	for i, a := range addresses {
		for _, r := range f.receivers {
			if r.OrgID == org && r.Address == a {
				out[i] = r
			}
		}
	}
	return out, f.err
}

func (f *fakeJobs) UnsuspendReceiver(_ context.Context, org, origin, _, _ string) (int, error) {
	n := len(f.receivers)
	f.receivers = nil
	return n, f.err
}

// called is a succeeded job of org1 with a callback in a state.
func called(b *bench, state jobs.CallbackState) (*jobs.Job, *jobs.Callback) {
	j := succeeded()
	j.KeyID, j.CallbackURL, j.Epoch = "key_one1", "https://hooks.example.com/x?token=callback-token", 1
	cb := &jobs.Callback{ID: jobs.CallbackID(&j), Schema: jobs.SchemaVersion, JobID: j.ID, OrgID: j.OrgID, KeyID: j.KeyID, URL: j.CallbackURL,
		Origin: "https://hooks.example.com", Event: "export.succeeded", CreatedAt: noon.Add(-time.Minute), State: state, Attempt: 10, Schedule: 10,
		Attempts: []jobs.CallbackAttempt{{At: noon, Class: "http_500", Status: 500}}}
	b.jobs.callbacks = append(b.jobs.callbacks, cb)
	return b.jobs.set(j), cb
}

func TestRedeliver(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	j, cb := called(b, jobs.CallbackExhausted)
	target := "/ops/jobs/" + j.ID + "/callback/redeliver"
	if code, got := ops(t, b, http.MethodPost, target, `{}`); code != http.StatusUnprocessableEntity {
		t.Errorf("without a reason = %d %v, want 422", code, got)
	}
	code, got := ops(t, b, http.MethodPost, target, `{"reason":"their outage is over"}`)
	if code != http.StatusAccepted || strings.Contains(fmt.Sprint(got), "callback-token") {
		t.Fatalf("redeliver = %d %v", code, got)
	}
	if cb.State != jobs.CallbackPending || !cb.Forced || cb.Schedule != 0 || got["callback"].(map[string]any)["state"] != "pending" {
		t.Errorf("callback = %+v, answer %v", cb, got)
	}
	if len(b.queue.notified) != 1 || b.queue.notified[0].CallbackID != cb.ID {
		t.Errorf("notified = %v, want the callback", b.queue.notified)
	}
	if len(b.jobs.events) != 1 || b.jobs.events[0].Reason != "their outage is over" || b.jobs.events[0].Actor != "api key key_ops1" {
		t.Errorf("events = %+v", b.jobs.events)
	}
	cb.Lease = jobs.Lease{Token: "t", Until: noon.Add(time.Minute)}
	if code, got := ops(t, b, http.MethodPost, target, `{"reason":"r"}`); code != http.StatusConflict {
		t.Errorf("while a try is under way = %d %v, want 409", code, got)
	}
	b.jobs.callbacks = nil
	if code, got := ops(t, b, http.MethodPost, target, `{"reason":"r"}`); code != http.StatusConflict {
		t.Errorf("without a callback = %d %v, want 409", code, got)
	}
	if code, _ := ops(t, b, http.MethodPost, "/ops/jobs/"+jobs.NewID()+"/callback/redeliver", `{"reason":"r"}`); code != http.StatusNotFound {
		t.Errorf("of an unknown job = %d, want 404", code)
	}
	gone := succeeded()
	gone.DeletedAt = noon
	b.jobs.set(gone)
	if code, _ := ops(t, b, http.MethodPost, "/ops/jobs/"+gone.ID+"/callback/redeliver", `{"reason":"r"}`); code != http.StatusConflict {
		t.Errorf("of a deleted job = %d, want 409", code)
	}
}

func TestRedeliverAll(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	const target = "/ops/callbacks/redeliver"
	for body, want := range map[string]string{
		`{}`: "filter reason", `{"reason":"r","filter":{}}`: "filter.state", `{"reason":"r","filter":{"state":"dropped"}}`: "filter.state",
		`{"reason":"r","filter":{"state":"gone","x":1}}`: "filter.x", `{"reason":"r","filter":[]}`: "filter",
	} {
		code, got := ops(t, b, http.MethodPost, target, body)
		var paths []string
		for _, f := range got["error"].([]any) {
			paths = append(paths, strings.Trim(strings.ReplaceAll(fmt.Sprint(f.(map[string]any)["path"]), " ", "."), "[]"))
		}
		if code != http.StatusUnprocessableEntity || len(paths) != len(strings.Fields(want)) || !strings.Contains(strings.Join(paths, " "), strings.Fields(want)[0]) {
			t.Errorf("%s = %d, faults at %v, want %s", body, code, paths, want)
		}
	}
	_, one := called(b, jobs.CallbackExhausted)
	_, two := called(b, jobs.CallbackExhausted)
	_, held := called(b, jobs.CallbackExhausted)
	held.Lease = jobs.Lease{Token: "t", Until: noon.Add(time.Minute)}
	_, other := called(b, jobs.CallbackDelivered)
	const filter = `"filter":{"state":"exhausted","origin":"https://hooks.example.com","orgId":"org1","createdAfter":"2026-06-01"}`
	code, got := ops(t, b, http.MethodPost, target, `{"reason":"r","dryRun":true,`+filter+`}`)
	if code != http.StatusOK || got["matched"] != 3.0 || got["redelivered"] != 0.0 || one.State != jobs.CallbackExhausted {
		t.Errorf("dry run = %d %v", code, got)
	}
	if l := b.jobs.callbackList; l.OrgID != "org1" || l.Origin != "https://hooks.example.com" || l.CreatedAfter.IsZero() || l.PageSize != pageCallbacks {
		t.Errorf("listed by %+v", l)
	}
	code, got = ops(t, b, http.MethodPost, target, `{"reason":"r",`+filter+`}`)
	if code != http.StatusOK || got["matched"] != 3.0 || got["redelivered"] != 2.0 || got["complete"] != true {
		t.Errorf("redeliver = %d %v, want 2 of 3: one is under way", code, got)
	}
	if one.State != jobs.CallbackPending || two.State != jobs.CallbackPending || other.State != jobs.CallbackDelivered || len(b.queue.notified) != 2 {
		t.Errorf("states = %s %s %s, notified %d", one.State, two.State, other.State, len(b.queue.notified))
	}
}

// More than a request takes: each is begun again once, also when those that were have been delivered, and
// match again, before the next request.
func TestRedeliverMoreThanARequest(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	const all, target = 2*maxRedeliver + 150, "/ops/callbacks/redeliver"
	for range all {
		called(b, jobs.CallbackDelivered)
	}
	begun := map[string]int{}
	requests, token := 0, ""
	for complete := false; !complete; requests++ {
		if requests > all/maxRedeliver {
			t.Fatalf("not complete after %d requests, which began %d of %d", requests, len(begun), all)
		}
		code, got := ops(t, b, http.MethodPost, target, `{"reason":"r","filter":{"state":"delivered"}`+token+`}`)
		if code != http.StatusOK || got["matched"] != got["redelivered"] || got["matched"].(float64) > maxRedeliver {
			t.Fatalf("redeliver = %d %v", code, got)
		}
		next, _ := got["nextPageToken"].(string)
		if complete = got["complete"] == true; complete != (next == "") {
			t.Errorf("complete %v with the token %q", complete, next)
		}
		token = `,"pageToken":"` + next + `"`
		for _, m := range b.queue.notified {
			begun[m.CallbackID]++
		}
		b.queue.notified = nil
		for _, cb := range b.jobs.callbacks {
			cb.State = jobs.CallbackDelivered
		}
	}
	for id, n := range begun {
		if n != 1 {
			t.Errorf("callback %s was begun %d times", id, n)
		}
	}
	if len(begun) != all || requests != 3 {
		t.Errorf("%d of %d begun again in %d requests, want all in 3", len(begun), all, requests)
	}
	for _, bad := range []string{"nonsense", strings.Repeat("x", maxPageToken+1)} {
		code, got := ops(t, b, http.MethodPost, target, `{"reason":"r","filter":{"state":"delivered"},"pageToken":"`+bad+`"}`)
		if code != http.StatusUnprocessableEntity {
			t.Errorf("pageToken %.10s = %d %v, want 422", bad, code, got)
		}
	}
}

func TestReceivers(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.jobs.receivers = []jobs.Receiver{
		{OrgID: "org1", Origin: "https://a.example", Address: "https://a.example", SuspendedAt: noon, Exhausted: 20, Why: "20 exhausted", Suspended: true},
		{OrgID: "org1", Origin: "https://a.example", Address: "https://a.example/x?token=callback-token", SuspendedAt: noon, Why: "410", Suspended: true},
	}
	code, got := ops(t, b, http.MethodGet, "/ops/receivers", "")
	if code != http.StatusOK || len(got["receivers"].([]any)) != 2 || strings.Contains(fmt.Sprint(got), "callback-token") {
		t.Errorf("receivers = %d %v", code, got)
	}
	for _, body := range []string{`{}`, `{"reason":"r","orgId":"org1","origin":"a.example"}`, `{"reason":"r","orgId":"org1","origin":"https://a.example/path"}`} {
		if code, got := ops(t, b, http.MethodPost, "/ops/receivers/resume", body); code != http.StatusUnprocessableEntity {
			t.Errorf("resume %s = %d %v, want 422", body, code, got)
		}
	}
	code, got = ops(t, b, http.MethodPost, "/ops/receivers/resume", `{"reason":"fixed","orgId":"org1","origin":"https://a.example"}`)
	if code != http.StatusOK || got["resumed"] != 2.0 {
		t.Errorf("resume = %d %v", code, got)
	}
}

// A test callback is really sent, signed with the key's secret, and bounded.
func TestPing(t *testing.T) {
	t.Parallel()
	status := http.StatusOK
	var signature, id, body string
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		signature, id = r.Header.Get("webhook-signature"), r.Header.Get("webhook-id")
		buf := make([]byte, 4096)
		n, _ := r.Body.Read(buf)
		body = string(buf[:n])
		w.WriteHeader(status)
		_, _ = w.Write([]byte("thanks\x1b[31m <b>"))
	}))
	defer receiver.Close()
	b := newBench(t, func(c *Config) {
		c.CallbackRules = webhook.Rules{Dev: webhook.Dev{AllowHTTP: true, AllowCIDRs: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, AllowPorts: []uint16{0}}}
	})
	j, _ := called(b, jobs.CallbackDelivered)
	j.CallbackURL = receiver.URL + "/cb?token=callback-token"
	b.jobs.set(*j)
	target := "/exports/" + j.ID + "/callback/test"
	post := func(key, target string) (int, map[string]any) {
		w := b.do(request(t, key, http.MethodPost, target))
		return w.Code, decode(t, w)
	}
	code, got := post("key_one1", target)
	if code != http.StatusOK || got["delivered"] != true || got["class"] != "http_200" || got["status"] != 200.0 || strings.Contains(got["response"].(string), "\x1b") ||
		got["url"] != receiver.URL+"/cb" {
		t.Fatalf("ping = %d %v", code, got)
	}
	if !strings.HasPrefix(signature, "v1,") || !strings.HasPrefix(id, "msg_ping_") || !strings.Contains(body, `"type":"export.ping"`) || strings.Contains(body, j.ID) {
		t.Errorf("receiver got %s %s %s", id, signature, body)
	}
	status = http.StatusFound
	if code, got = post("key_one1", target); code != http.StatusOK || got["delivered"] != false || got["class"] != "http_302" {
		t.Errorf("ping of a redirect = %d %v", code, got)
	}
	for range 3 {
		post("key_one1", target)
	}
	w := b.do(request(t, "key_one1", http.MethodPost, target))
	if w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") != "12" {
		t.Errorf("sixth ping within a minute = %d, Retry-After %s", w.Code, w.Header().Get("Retry-After"))
	}
	if code, _ = post("key_two2", target); code != http.StatusNotFound {
		t.Errorf("ping of another org's job = %d, want 404", code)
	}
	if code, _ = post("key_read", target); code != http.StatusForbidden {
		t.Errorf("ping without the scope = %d, want 403", code)
	}
	for name, change := range map[string]func(*jobs.Job){
		"no callbackUrl": func(j *jobs.Job) { j.CallbackURL = "" },
		"disabled key":   func(j *jobs.Job) { j.KeyID = "key_dead" },
		"deleted key":    func(j *jobs.Job) { j.KeyID = "key_gone" },
	} {
		other := *j
		other.ID = jobs.NewID()
		change(&other)
		b.jobs.set(other)
		if code, got := post("key_one1", "/exports/"+other.ID+"/callback/test"); code != http.StatusConflict {
			t.Errorf("ping with %s = %d %v, want 409", name, code, got)
		}
	}
	if log := b.log.String(); strings.Contains(log, "callback-token") || strings.Contains(log, apikey.Sign(testSecret, testDate)) {
		t.Errorf("log holds a secret: %s", log)
	}
}

// Without development settings nothing is sent to a loopback receiver.
func TestPingIsGuarded(t *testing.T) {
	t.Parallel()
	receiver := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("was called") }))
	defer receiver.Close()
	b := newBench(t)
	j, _ := called(b, jobs.CallbackDelivered)
	j.CallbackURL = receiver.URL
	b.jobs.set(*j)
	w := b.do(request(t, "key_one1", http.MethodPost, "/exports/"+j.ID+"/callback/test"))
	if got := decode(t, w); w.Code != http.StatusOK || got["class"] != "blocked_destination" || got["status"] != nil {
		t.Errorf("ping = %d %v", w.Code, got)
	}
}
