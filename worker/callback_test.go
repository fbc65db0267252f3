package worker_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"exportd/internal/jobstore"
	"exportd/internal/webhook"
	"exportd/jobs"
	"exportd/worker"
)

// event is the body of the contract's section 5, read without the code that writes it.
type event struct {
	Type      string    `json:"type"`
	Timestamp time.Time `json:"timestamp"`
	Data      struct {
		JobID        string         `json:"jobId"`
		Kind         string         `json:"kind"`
		State        string         `json:"state"`
		TotalCount   *int64         `json:"totalCount"`
		CSVURL       *string        `json:"csvUrl"`
		URLExpiresAt *time.Time     `json:"csvUrlExpiresAt"`
		Error        map[string]any `json:"error"`
		Params       map[string]any `json:"params"`
	} `json:"data"`
}

// unasked is a store that tells no rescuer of callbacks.
type unasked struct{ *jobstore.Store }

func (s unasked) Due(ctx context.Context, kind jobs.DueKind, shards []int, now time.Time, limit int, after *jobs.DueCursor) (jobs.DuePage, error) {
	if kind == jobs.DueCallbacks {
		return jobs.DuePage{}, nil
	}
	return s.Store.Due(ctx, kind, shards, now, limit, after)
}

// TestCallbackSoonAndSigned: called at once after success, not when a rescuer asks what is due; verified by
// the library of Standard Webhooks with either secret of a rotation, and the link in it downloads.
func TestCallbackSoonAndSigned(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	rc := receive(t, "127.0.0.1", status(http.StatusNoContent))
	r.work(t, func(c *worker.Config) { c.Store = unasked{r.store} })
	id := r.submit(t, rc.URL+"/hook?token=x")
	cb := r.callback(t, id, time.Minute, inState(jobs.CallbackDelivered))

	got := rc.requests()
	if len(got) != 1 {
		t.Fatalf("receiver got %d requests, want 1", len(got))
	}
	j, err := r.store.Get(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("called %s after success", got[0].at.Sub(j.FinishedAt))
	for i, secret := range secrets {
		verifier, err := standardwebhooks.NewWebhook(secret.Reveal())
		if err != nil {
			t.Fatal(err)
		}
		if err := verifier.Verify(got[0].body, got[0].header); err != nil {
			t.Errorf("Verify with secret %d = %v", i, err)
		}
	}
	if id := got[0].header.Get(webhook.HeaderID); id != cb.ID || !webhook.ValidID(cb.ID) {
		t.Errorf("webhook-id = %q, want %q", id, cb.ID)
	}
	checkEvent(t, j, got[0].body)
	if len(cb.Attempts) != 1 || cb.Attempts[0].Status != 204 || cb.Attempts[0].Class != "http_204" || cb.Attempt != 1 || cb.LastCode != 204 || !cb.WakeAt.IsZero() {
		t.Errorf("callback = %+v, want one attempt with 204", cb)
	}
	if known, err := r.store.Receivers(t.Context(), "org-1", cb.Origin); err != nil || !known[0].FailingSince.IsZero() {
		t.Errorf("Receivers() = %+v, %v, want nothing", known, err)
	}
}

func checkEvent(t *testing.T, j *jobs.Job, body []byte) {
	t.Helper()
	var e event
	if err := json.Unmarshal(body, &e); err != nil {
		t.Fatalf("body %s: %v", body, err)
	}
	if e.Type != "export.succeeded" || e.Data.JobID != j.ID || e.Data.Kind != "vip-users" || e.Data.State != "succeeded" || e.Data.Error != nil ||
		e.Data.TotalCount == nil || *e.Data.TotalCount != 3 || e.Data.Params["workspaceId"] != "ws1" || !e.Timestamp.Equal(j.FinishedAt) {
		t.Errorf("body = %s", body)
	}
	if e.Data.CSVURL == nil || e.Data.URLExpiresAt == nil {
		t.Fatalf("body has no csvUrl: %s", body)
	}
	res, err := http.Get(*e.Data.CSVURL) //nolint:noctx // a plain GET is what the contract promises
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	defer http.DefaultClient.CloseIdleConnections()
	if text, err := io.ReadAll(res.Body); err != nil || string(text) != fileText {
		t.Errorf("csvUrl gives %d %q, %v; want %q", res.StatusCode, text, err, fileText)
	}
}

// gaps are the pauses before the second and later tries, as the issue lists them.
var gaps = []time.Duration{
	5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour,
	5 * time.Hour, 10 * time.Hour, 14 * time.Hour, 20 * time.Hour, 24 * time.Hour,
}

// fail waits for n attempts of a delivery, putting the clock forward to each; it checks the gaps.
func (r *rig) fail(t *testing.T, jobID string, n int) *jobs.Callback {
	t.Helper()
	var cb *jobs.Callback
	for i := 1; i <= n; i++ {
		cb = r.callback(t, jobID, time.Minute, tried(i))
		last := cb.Attempts[len(cb.Attempts)-1]
		if cb.State != jobs.CallbackPending {
			return cb
		}
		// It was decided between the attempt's beginning and now, however long that took.
		least, most := last.NextAt.Sub(r.clock.Now()), last.NextAt.Sub(last.At)
		if float64(least) > 1.21*float64(gaps[i-1]) || float64(most) < 0.79*float64(gaps[i-1]) {
			t.Errorf("try %d is %s to %s after the one before, want %s", i+1, least, most, gaps[i-1])
		}
		r.clock.put(cb.NextAt)
	}
	return cb
}

// TestCallbackFailsThenWorks: three failures, then success at the fourth try, one id.
func TestCallbackFailsThenWorks(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	rc := receive(t, "127.0.0.1", func(n int, w http.ResponseWriter, _ *http.Request) {
		if n <= 3 {
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = fmt.Fprintf(w, "broken <b>%d</b>\x1b[31m", n)
		}
	})
	r.work(t)
	id := r.submit(t, rc.URL)
	r.fail(t, id, 3)
	cb := r.callback(t, id, time.Minute, inState(jobs.CallbackDelivered))
	if cb.Attempt != 4 || len(cb.Attempts) != 4 || cb.Attempts[1].Response != "broken <b>2</b>\ufffd[31m" {
		t.Errorf("callback = %+v, want 4 tries and the answers", cb)
	}
	ids, bodies := map[string]bool{}, map[string]bool{}
	for _, q := range rc.requests() {
		ids[q.header.Get(webhook.HeaderID)] = true
		bodies[string(q.body)] = true
		verifier, err := standardwebhooks.NewWebhook(secrets[0].Reveal())
		if err != nil {
			t.Fatal(err)
		}
		if err := verifier.VerifyIgnoringTimestamp(q.body, q.header); err != nil {
			t.Errorf("Verify() = %v", err)
		}
	}
	if len(ids) != 1 || !ids[cb.ID] {
		t.Errorf("webhook-ids = %v, want only %s", ids, cb.ID)
	}
	if len(bodies) != 4 {
		t.Errorf("%d different bodies in 4 tries, want 4: each has a csvUrl of its own", len(bodies))
	}
	r.forgotten(t, cb.Origin)
}

// forgotten waits until no failure of an origin is remembered, as after a success.
func (r *rig) forgotten(t *testing.T, origin string) {
	t.Helper()
	var known []jobs.Receiver
	eventually(t, time.Minute, func() bool {
		var err error
		known, err = r.store.Receivers(t.Context(), "org-1", origin)
		return err == nil && known[0].FailingSince.IsZero()
	}, func() any { return known })
}

// TestCallbackExhausted: down for the whole schedule, then redelivered by hand.
func TestCallbackExhausted(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var works atomic.Bool
	rc := receive(t, "127.0.0.1", func(_ int, w http.ResponseWriter, _ *http.Request) {
		if !works.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	r.work(t)
	id := r.submit(t, rc.URL)
	cb := r.fail(t, id, 10)
	if cb.State != jobs.CallbackExhausted || cb.Attempt != 10 || !cb.WakeAt.IsZero() || !cb.NextAt.IsZero() || cb.LastCode != 503 {
		t.Fatalf("after the schedule: %+v, want exhausted after 10", cb)
	}
	if span := cb.Attempts[9].At.Sub(cb.Attempts[0].At); span < 75*time.Hour || span > 77*time.Hour {
		t.Errorf("schedule took %s, want 75 h 35 min", span)
	}
	works.Store(true)
	_, err := r.store.UpdateCallback(t.Context(), cb.ID, "api key key_ops1", func(tx *jobs.CallbackTx) error { return tx.Redeliver("receiver is back") })
	if err != nil {
		t.Fatalf("Redeliver() = %v", err)
	}
	cb = r.callback(t, id, time.Minute, inState(jobs.CallbackDelivered))
	got := rc.requests()
	if len(got) != 11 || got[10].header.Get(webhook.HeaderID) != got[0].header.Get(webhook.HeaderID) || cb.Schedule != 1 {
		t.Errorf("redelivery: %d requests, schedule at %d", len(got), cb.Schedule)
	}
	want := []string{"exhausted at attempt 10: http_503", "redelivered from exhausted", "delivered at attempt 11: http_200"}
	if lines := r.timeline(t, id); fmt.Sprint(lines) != fmt.Sprint(want) {
		t.Errorf("timeline = %q, want %q", lines, want)
	}
}

// timeline gives the lines about callbacks.
func (r *rig) timeline(t *testing.T, jobID string) (lines []string) {
	t.Helper()
	events, err := r.store.Events(t.Context(), jobID)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		if e.Type == jobs.EventCallback {
			lines = append(lines, e.Message)
		}
	}
	return lines
}

// TestCallbackGone: 410 ends the delivery and stops that URL, no other; resuming is the way back.
func TestCallbackGone(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var back atomic.Bool
	rc := receive(t, "127.0.0.1", func(_ int, w http.ResponseWriter, q *http.Request) {
		if q.URL.Path == "/gone" && !back.Load() {
			w.WriteHeader(http.StatusGone)
		}
	})
	r.work(t)
	cb := r.callback(t, r.submit(t, rc.URL+"/gone"), time.Minute, inState(jobs.CallbackGone))
	eventually(t, time.Minute, func() bool { return len(r.timeline(t, cb.JobID)) == 2 }, func() any { return r.timeline(t, cb.JobID) })
	second := r.submit(t, rc.URL+"/gone")
	cb = r.callback(t, second, time.Minute, inState(jobs.CallbackSuspended))
	if cb.Attempt != 0 || len(cb.Attempts) != 0 {
		t.Errorf("suspended callback = %+v, want no attempt", cb)
	}
	r.callback(t, r.submit(t, rc.URL+"/other"), time.Minute, inState(jobs.CallbackDelivered))
	if n := len(rc.requests()); n != 2 {
		t.Errorf("receiver got %d requests, want 2", n)
	}
	listed, err := r.store.SuspendedReceivers(t.Context())
	if err != nil || len(listed) != 1 || listed[0].Address != rc.URL+"/gone" || listed[0].Origin != rc.URL {
		t.Errorf("SuspendedReceivers() = %+v, %v", listed, err)
	}
	back.Store(true)
	if n, err := r.store.UnsuspendReceiver(t.Context(), "org-1", rc.URL, "api key key_ops1", "fixed"); n != 1 || err != nil {
		t.Errorf("ResumeReceiver() = %d, %v, want 1", n, err)
	}
	r.callback(t, second, time.Minute, inState(jobs.CallbackDelivered))
}

// TestCallbackNotMade: destinations that are refused, revoked keys and deleted exports.
func TestCallbackNotMade(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	keys := &keyring{}
	stop := r.work(t, func(c *worker.Config) { c.Callbacks.Keys = keys })
	blocked := r.callback(t, r.submit(t, "http://10.0.0.1/hook"), time.Minute, inState(jobs.CallbackBlocked))
	if len(blocked.Attempts) != 1 || blocked.Attempts[0].Class != "blocked_destination" || blocked.Attempts[0].Response != "" {
		t.Errorf("blocked callback = %+v", blocked)
	}
	rc := receive(t, "127.0.0.1", status(http.StatusInternalServerError))
	keys.revoked.Store(true)
	revoked := r.callback(t, r.submit(t, rc.URL+"/revoked"), time.Minute, inState(jobs.CallbackBlocked))
	if len(revoked.Attempts) != 1 || revoked.Attempts[0].Class != jobs.AttemptKeyRevoked || len(rc.requests()) != 0 {
		t.Errorf("callback of a revoked key = %+v, %d requests", revoked, len(rc.requests()))
	}
	keys.revoked.Store(false)
	id := r.submit(t, rc.URL+"/deleted")
	cb := r.callback(t, id, time.Minute, tried(1))
	if _, err := r.store.Update(t.Context(), id, "api key key_one1", func(tx *jobs.Tx) error { return tx.Delete("") }); err != nil {
		t.Fatal(err)
	}
	r.clock.put(cb.NextAt)
	r.callback(t, id, time.Minute, inState(jobs.CallbackDropped))
	stop()
	if n := len(rc.requests()); n != 1 {
		t.Errorf("receiver got %d requests, want none after the export was deleted", n-1)
	}
}

// TestCallbackSuspension: the twentieth delivery in a row that is exhausted stops the receiver; a redelivery
// by hand is made all the same and, when it works, ends that.
func TestCallbackSuspension(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var works atomic.Bool
	rc := receive(t, "127.0.0.1", func(_ int, w http.ResponseWriter, _ *http.Request) {
		if !works.Load() {
			w.WriteHeader(http.StatusBadGateway)
		}
	})
	r.work(t)
	id := r.submit(t, rc.URL)
	cb := r.callback(t, id, time.Minute, tried(1))
	// The history of nineteen deliveries is written at once: the schedule itself has its own test.
	r.spend(t, cb, 9, 19)
	r.callback(t, id, time.Minute, inState(jobs.CallbackExhausted))
	eventually(t, time.Minute, func() bool {
		known, err := r.store.Receivers(t.Context(), "org-1", rc.URL)
		return err == nil && known[0].Suspended && known[0].Exhausted == 20
	}, func() any { return r.timeline(t, id) })
	second := r.submit(t, rc.URL)
	held := r.callback(t, second, time.Minute, inState(jobs.CallbackSuspended))
	works.Store(true)
	if _, err := r.store.UpdateCallback(t.Context(), held.ID, "api key key_ops1", func(tx *jobs.CallbackTx) error { return tx.Redeliver("try it") }); err != nil {
		t.Fatal(err)
	}
	r.callback(t, second, time.Minute, inState(jobs.CallbackDelivered))
	r.forgotten(t, rc.URL)
}
