package e2e

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"exportd/internal/e2e/e2etest"
	"exportd/internal/jobstore"
	"exportd/jobs"
)

// TestSuspendedReceiver: a receiver whose deliveries are exhausted again and again gets no more of them,
// which operators see; they let it back in, and what it missed comes, or send again what was given up.
func TestSuspendedReceiver(t *testing.T) {
	t.Parallel()
	_, hosts := e2etest.Emulators(t, exportd, t.TempDir())
	s := e2etest.Services(t, exportd, hosts, e2etest.Sizes{Users: 50, Messages: 50}, callbackSettings...)
	e2etest.Worker(t, exportd, hosts, callbackSettings...)
	receiver := newBroken(t)
	c, ops := s.Caller(), s.Operator()
	submit := func() string {
		return c.Submit(t, "vip-users", s.Users("callbackUrl", receiver.URL+"/hook?token=x"), "Cache-Control", "no-cache")
	}

	// exhaust has the receiver suspended by a job whose callback it refuses.
	exhaust := func() string {
		id := submit()
		e2etest.Until(t, jobWithin, "a first try that failed", func() bool {
			status := awaitCallback(t, c, id, "pending").LastStatus
			return status != nil && *status == http.StatusBadGateway
		})
		nineteenBefore(t, hosts, id)
		awaitCallback(t, c, id, "exhausted")
		e2etest.Until(t, jobWithin, "the receiver to be suspended", func() bool { return len(suspended(t, ops)) == 1 })
		return id
	}

	first := exhaust()
	if r := suspended(t, ops)[0]; r.Origin != receiver.URL || r.OrgID != s.OrgID || r.Exhausted != 20 || r.Why == "" {
		t.Errorf("suspended is %+v, want %s after 20", r, receiver.URL)
	}
	e2etest.Until(t, jobWithin, "the suspension to be in the timeline", func() bool {
		return slices.ContainsFunc(timeline(t, ops, first), func(line string) bool { return strings.Contains(line, "receiver suspended") })
	})

	before := len(receiver.came())
	second := submit()
	if got := awaitCallback(t, c, second, "suspended"); got.Attempts != 0 || len(receiver.came()) != before {
		t.Errorf("a suspended receiver got %d requests; callback %+v", len(receiver.came())-before, got)
	}

	receiver.works.Store(true)
	resume := `{"orgId": "` + s.OrgID + `", "origin": "` + receiver.URL + `", "reason": "they mended it"}`
	ops.Do(t, http.MethodPost, "/ops/receivers/resume", nil, strings.NewReader(resume)).Want(t, http.StatusOK)
	awaitCallback(t, c, second, "delivered")
	if left := suspended(t, ops); len(left) != 0 {
		t.Errorf("suspended after it was resumed: %+v", left)
	}
	ops.Do(t, http.MethodPost, "/ops/jobs/"+first+"/callback/redeliver", nil, strings.NewReader(`{"reason": "they missed it"}`)).Want(t, http.StatusAccepted)
	awaitCallback(t, c, first, "delivered")
	got := receiver.came()
	if last := got[len(got)-1]; last != got[0] {
		t.Errorf("redelivered with webhook-id %s, tried before with %s", last, got[0])
	}
	lines := strings.Join(timeline(t, ops, first), "\n")
	for _, part := range []string{"exhausted at attempt 2: http_502", "redelivered from exhausted (they missed it)", "delivered at attempt 3: http_200"} {
		if !strings.Contains(lines, part) {
			t.Errorf("the timeline lacks %q:\n%s", part, lines)
		}
	}

	// Who sends a cause again means it, also to a receiver that is suspended.
	receiver.works.Store(false)
	third := exhaust()
	receiver.works.Store(true)
	var causes struct {
		Causes []struct{ CauseID, Of string }
	}
	ops.Do(t, http.MethodGet, "/ops/causes", nil, nil).Want(t, http.StatusOK).JSON(t, &causes)
	i := slices.IndexFunc(causes.Causes, func(c struct{ CauseID, Of string }) bool { return strings.HasPrefix(c.CauseID, "CALLBACK_EXHAUSTED-") })
	if i < 0 || causes.Causes[i].Of != "callbacks" {
		t.Fatalf("the causes are %+v, want that of the callback that was given up", causes.Causes)
	}
	ops.Do(t, http.MethodPost, "/ops/causes/"+causes.Causes[i].CauseID+"/rerun", nil, strings.NewReader(`{"reason": "they missed it"}`), "Content-Type", "application/json").Want(t, http.StatusAccepted)
	awaitCallback(t, c, third, "delivered")
	e2etest.Until(t, jobWithin, "the suspension to end with what was delivered", func() bool { return len(suspended(t, ops)) == 0 })
}

// broken is a receiver that answers 502 until it works, and remembers the ids that came.
type broken struct {
	*httptest.Server
	works atomic.Bool
	mu    sync.Mutex
	ids   []string
}

func newBroken(t *testing.T) *broken {
	t.Helper()
	b := &broken{}
	b.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.ids = append(b.ids, r.Header.Get("webhook-id"))
		if !b.works.Load() {
			w.WriteHeader(http.StatusBadGateway)
		}
	}))
	t.Cleanup(b.Close)
	return b
}

func (b *broken) came() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.ids)
}

// nineteenBefore gives a job's callback one last try and its receiver nineteen exhausted deliveries: the real
// ones take three days each.
func nineteenBefore(t *testing.T, hosts e2etest.Hosts, jobID string) {
	t.Helper()
	client := hosts.OpenFirestore(t)
	store := jobstore.New(jobstore.Config{Client: client})
	callbacks, err := store.Callbacks(t.Context(), jobID)
	if err != nil || len(callbacks) != 1 {
		t.Fatalf("Callbacks(%s) = %d, %v", jobID, len(callbacks), err)
	}
	cb := callbacks[0]
	if err := store.ChangeReceiver(t.Context(), cb.OrgID, cb.Origin, cb.Origin, func(r *jobs.Receiver) {
		r.Exhausted, r.FailingSince, r.LastFailure = 19, time.Now(), time.Now()
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := store.UpdateCallback(t.Context(), cb.ID, "test", func(tx *jobs.CallbackTx) error {
		tx.Callback.Schedule, tx.Callback.NextAt, tx.Callback.WakeAt = 9, tx.Now, tx.Now
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// suspendedReceiver is a line of GET /ops/receivers.
type suspendedReceiver struct {
	OrgID, Origin, Why string
	Exhausted          int
}

func suspended(t *testing.T, ops *e2etest.Client) []suspendedReceiver {
	t.Helper()
	var body struct{ Receivers []suspendedReceiver }
	ops.Get(t, "/ops/receivers", nil).Want(t, http.StatusOK).JSON(t, &body)
	return body.Receivers
}

// timeline is what operators see of a job's callbacks: each message, and its reason in brackets.
func timeline(t *testing.T, ops *e2etest.Client, id string) (lines []string) {
	t.Helper()
	var body struct {
		Timeline []struct{ Type, Message, Reason string }
	}
	ops.Get(t, "/ops/jobs/"+id, nil).Want(t, http.StatusOK).JSON(t, &body)
	for _, e := range body.Timeline {
		line := e.Message
		if e.Reason != "" {
			line += " (" + e.Reason + ")"
		}
		lines = append(lines, line)
	}
	return lines
}
