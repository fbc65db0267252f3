package api

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"exportd/internal/webhook"
	"exportd/jobs"
)

// called notes a callback of an org to a receiver that was made an hour before noon, with the answers to its
// attempts, a minute apart from then on; 0 is one under way.
func (b *bench) called(org, origin string, state jobs.CallbackState, answers ...int) {
	cb := &jobs.Callback{ID: fmt.Sprint("msg_", len(b.jobs.callbacks)), OrgID: org, Origin: origin, State: state, CreatedAt: noon.Add(-time.Hour), Attempt: len(answers)}
	for i, status := range answers {
		a := jobs.CallbackAttempt{At: cb.CreatedAt.Add(time.Duration(i) * time.Minute), Class: fmt.Sprint("http_", status), Status: status, Response: "answer"}
		if status == 0 {
			a = jobs.CallbackAttempt{At: a.At, Class: jobs.AttemptUnderWay}
		}
		cb.Attempts = append(cb.Attempts, a)
	}
	b.jobs.callbacks = append(b.jobs.callbacks, cb)
}

// TestReceiverHistory: the receivers that fail are first, with since when they do, and what each attempt came
// to is in the stretch in which it was made. What is under way says nothing.
func TestReceiverHistory(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	const bad, good, mended = "https://bad.example", "https://good.example", "https://mended.example"
	b.called("org1", bad, jobs.CallbackExhausted, 200, 503, 500)
	b.called("org2", bad, jobs.CallbackPending, 500, 0)
	b.called("org1", mended, jobs.CallbackDelivered, 500, 500, 200)
	for range 3 {
		b.called("org1", good, jobs.CallbackDelivered, 204)
	}
	b.jobs.receivers = []jobs.Receiver{{OrgID: "org2", Origin: bad, Address: bad, FailingSince: noon.Add(-50 * time.Hour)}}
	code, got := ops(t, b, http.MethodGet, "/ops/receivers/history", "")
	if code != http.StatusOK || len(got["receivers"].([]any)) != 3 {
		t.Fatalf("history = %d %v", code, got)
	}
	for path, want := range map[string]any{
		"complete": true, "bucketSeconds": 3600.0,
		"receivers.0.origin": bad, "receivers.0.callbacks": 2.0, "receivers.0.attempts": 5.0, "receivers.0.pending": 1.0, "receivers.0.dead": 1.0, "receivers.0.states.exhausted": 1.0,
		"receivers.0.failingSince": noon.Add(-50 * time.Hour).Format(time.RFC3339), "receivers.0.last.status": 500.0, "receivers.0.last.at": noon.Add(-58 * time.Minute).Format(time.RFC3339),
		"receivers.0.orgs.0": "org1", "receivers.0.orgs.1": "org2",
		"receivers.1.origin": good, "receivers.1.callbacks": 3.0, "receivers.1.failingSince": nil, "receivers.1.dead": 0.0,
		"receivers.2.origin": mended, "receivers.2.failingSince": nil, "receivers.2.last.status": 200.0,
		"receivers.0.buckets.23.succeeded": 1.0, "receivers.0.buckets.23.failed": 3.0, "receivers.0.buckets.22.failed": 0.0, "receivers.2.buckets.23.failed": 2.0,
	} {
		if v := at(t, got, path); v != want {
			t.Errorf("%s = %v, want %v", path, v, want)
		}
	}
	if code, got := ops(t, b, http.MethodGet, "/ops/receivers/history?since=20m&origin="+good, ""); code != http.StatusOK || len(got["receivers"].([]any)) != 1 || at(t, got, "receivers.0.buckets.0.succeeded") != 0.0 {
		t.Errorf("of one, with attempts from before = %d %v", code, got)
	}
	for _, q := range []string{"since=8d", "since=x", "since=1h&until=2h", "kind=vip-users", "origin="} {
		if code, got := ops(t, b, http.MethodGet, "/ops/receivers/history?"+q, ""); code != http.StatusUnprocessableEntity {
			t.Errorf("%s = %d %v, want 422", q, code, got)
		}
	}
}

// TestReceiverHistoryOfMany: a receiver that works and gets thousands hides none that fails, and what was not
// looked at is said.
func TestReceiverHistoryOfMany(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for range historyCallbacks + 100 {
		b.called("org1", "https://good.example", jobs.CallbackDelivered, 200)
	}
	b.called("org1", "https://bad.example", jobs.CallbackGone, 410)
	code, got := ops(t, b, http.MethodGet, "/ops/receivers/history", "")
	if code != http.StatusOK || got["complete"] != false || at(t, got, "receivers.0.origin") != "https://bad.example" || at(t, got, "receivers.1.callbacks") != float64(historyCallbacks) {
		t.Errorf("history = %d %.500s", code, strings.ReplaceAll(fmt.Sprint(got), "\n", ""))
	}
	if b.jobs.calls > historyCallbacks/pageCallbacks+len(jobs.CallbackCauses)+1 {
		t.Errorf("%d pages were read", b.jobs.calls)
	}
}

// TestCutAnswer: an answer that is cut off or late is a failure whatever its status, as for its delivery.
func TestCutAnswer(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.called("org1", "https://cut.example", jobs.CallbackPending, 200, 200)
	b.jobs.callbacks[0].Attempts[1].Class = string(webhook.ClassBadResponse)
	code, got := ops(t, b, http.MethodGet, "/ops/receivers/history", "")
	if code != http.StatusOK || at(t, got, "receivers.0.failingSince") != noon.Add(-59*time.Minute).Format(time.RFC3339) || at(t, got, "receivers.0.buckets.23.failed") != 1.0 {
		t.Errorf("history = %d %v", code, got)
	}
}
