package jobs

import (
	"errors"
	"strings"
	"testing"
	"time"
)

var callbackNow = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

var callbackPolicy = Policy{Skew: 5 * time.Second, NotifyAgain: 15 * time.Second, MaxInterruptions: 2}

// delivery is a transaction on a new delivery.
func delivery(t *testing.T) *CallbackTx {
	t.Helper()
	j := &Job{ID: NewID(), OrgID: "o", KeyID: "key_one1", State: Failed, Attempt: 2, Epoch: 3, CallbackURL: "https://hooks.example.com:8443?token=t", Error: &JobError{Code: CodeInternal}}
	cb := newCallback(j, callbackPolicy, callbackNow)
	return &CallbackTx{Policy: callbackPolicy, Now: callbackNow, Actor: "worker w1", Callback: cb}
}

func claim(t *testing.T, tx *CallbackTx) Lease {
	t.Helper()
	l, err := tx.Claim("w1")
	if err != nil {
		t.Fatalf("Claim() = %v", err)
	}
	return l
}

func TestNewCallback(t *testing.T) {
	t.Parallel()
	cb := delivery(t).Callback
	if cb.Origin != "https://hooks.example.com:8443" || cb.Event != "export.failed" || cb.Error == nil || !ValidCallbackID(cb.ID) || !strings.HasSuffix(cb.ID, "_failed_3") {
		t.Errorf("newCallback() = %+v", cb)
	}
	if !cb.NextAt.Equal(callbackNow) || !cb.WakeAt.After(callbackNow) {
		t.Errorf("newCallback() is due at %s and wakes at %s", cb.NextAt, cb.WakeAt)
	}
}

func TestValidCallbackID(t *testing.T) {
	t.Parallel()
	id := NewID()
	for in, want := range map[string]bool{
		"msg_" + id + "_succeeded_1": true, "msg_" + id + "_canceled_0": true,
		"": false, "msg_" + id: false, "msg_x_succeeded_1": false, "msg_" + id + "_done_1": false, "msg_" + id + "_failed_01": false,
		"msg_" + id + "_failed_-1": false, "msg_" + id + "_failed_1/parts/x": false, "../" + id + "_failed_1_": false,
	} {
		if got := ValidCallbackID(in); got != want {
			t.Errorf("ValidCallbackID(%q) = %t, want %t", in, got, want)
		}
	}
}

// TestCallbackClaim: one holder at a time, until its lease has run out by more than the skew.
func TestCallbackClaim(t *testing.T) {
	t.Parallel()
	tx := delivery(t)
	first := claim(t, tx)
	cb := tx.Callback
	if cb.Attempt != 1 || cb.Schedule != 1 || len(cb.Attempts) != 1 || cb.Attempts[0].Class != AttemptUnderWay || !cb.WakeAt.After(first.Until.Add(callbackPolicy.Skew)) {
		t.Fatalf("after Claim: %+v", cb)
	}
	tx.Now = first.Until.Add(callbackPolicy.Skew)
	if _, err := tx.Claim("w2"); !errors.Is(err, ErrNotDue) {
		t.Errorf("Claim of a held delivery = %v, want ErrNotDue", err)
	}
	if err := tx.Redeliver("x"); !errors.Is(err, ErrTransition) {
		t.Errorf("Redeliver of a held delivery = %v, want ErrTransition", err)
	}
	tx.Now = tx.Now.Add(time.Microsecond)
	second := claim(t, tx)
	if cb.Attempt != 2 || cb.Schedule != 1 || cb.Attempts[0].Class != AttemptInterrupted {
		t.Errorf("after the lease ran out: %+v, want the lost try not counted", cb)
	}
	ahead := delivery(t)
	ahead.Now = callbackNow.Add(time.Hour)
	claim(t, ahead)
	ahead.Now = callbackNow
	if _, err := ahead.Claim("w2"); err != nil {
		t.Errorf("Claim of a delivery held by a clock an hour ahead = %v", err)
	}
	done := CallbackResult{State: CallbackDelivered, Attempt: CallbackAttempt{Class: "http_200", Status: 200}}
	if err := tx.Record(first, done); !errors.Is(err, ErrLeaseLost) {
		t.Errorf("Record with a lost lease = %v, want ErrLeaseLost", err)
	}
	if err := tx.Record(second, done); err != nil || cb.State != CallbackDelivered || !cb.WakeAt.IsZero() || len(tx.Events) != 1 {
		t.Errorf("Record = %v, %+v", err, cb)
	}
	if _, err := tx.Claim("w1"); !errors.Is(err, ErrNotDue) {
		t.Errorf("Claim of a delivered one = %v, want ErrNotDue", err)
	}
}

// TestCallbackInterruptions: lost tries are free, but not for ever.
func TestCallbackInterruptions(t *testing.T) {
	t.Parallel()
	tx := delivery(t)
	for range 5 {
		claim(t, tx)
		tx.Now = tx.Callback.WakeAt
	}
	if got := tx.Callback.Schedule; got != 3 { // 4 lost, 2 of them free, and the one under way
		t.Errorf("after 4 lost tries the schedule is at %d, want 3", got)
	}
	l := tx.Callback.Lease
	if err := tx.Record(l, CallbackResult{State: CallbackPending, Attempt: CallbackAttempt{Class: "http_500", NextAt: tx.Now.Add(time.Minute)}}); err != nil || tx.Callback.Interruptions != 0 {
		t.Errorf("Record = %v; interruptions %d, want 0 after an answer", err, tx.Callback.Interruptions)
	}
	tx.Now = tx.Callback.NextAt
	l = claim(t, tx)
	if err := tx.Record(l, CallbackResult{State: CallbackPending, Unspent: true, Attempt: CallbackAttempt{Class: AttemptInterrupted, NextAt: tx.Now}}); err != nil || tx.Callback.Schedule != 3 {
		t.Errorf("Record of an unspent try = %v; schedule at %d, want 3", err, tx.Callback.Schedule)
	}
}

// TestCallbackWake: after it, WakeAt is ahead or zero, whatever the state.
func TestCallbackWake(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		change func(*Callback)
		notify bool
		wakeIn time.Duration // -1: none
	}{
		"due":         {func(*Callback) {}, true, 15 * time.Second},
		"waited long": {func(cb *Callback) { cb.NextAt = callbackNow.Add(-time.Hour) }, true, 315 * time.Second},
		"early":       {func(cb *Callback) { cb.NextAt = callbackNow.Add(time.Minute) }, false, time.Minute},
		"ended":       {func(cb *Callback) { cb.State = CallbackGone }, false, -1},
		"not yet":     {func(cb *Callback) { cb.WakeAt = callbackNow.Add(time.Second) }, false, time.Second},
		"held": {func(cb *Callback) {
			cb.Lease, cb.Attempts = Lease{Token: "t", Until: callbackNow}, []CallbackAttempt{{}}
		}, false, 6 * time.Second},
		"lease has lapsed": {func(cb *Callback) {
			cb.Lease, cb.Attempts = Lease{Token: "t", Until: callbackNow.Add(-time.Minute)}, []CallbackAttempt{{}}
		}, true, 15 * time.Second},
	}
	for name, tt := range tests {
		tx := delivery(t)
		tx.Callback.WakeAt = callbackNow
		tt.change(tx.Callback)
		notify, err := tx.Wake()
		want := callbackNow.Add(tt.wakeIn)
		if tt.wakeIn < 0 {
			want = time.Time{}
		}
		if err != nil || notify != tt.notify || !tx.Callback.WakeAt.Equal(want) {
			t.Errorf("%s: Wake() = %t, %v, wakes at %s; want %t, %s", name, notify, err, tx.Callback.WakeAt, tt.notify, want)
		}
	}
}

func TestCallbackRedeliverAndResume(t *testing.T) {
	t.Parallel()
	tx := delivery(t)
	l := claim(t, tx)
	if err := tx.Withdraw(l, CallbackSuspended, "why"); err != nil || tx.Callback.Attempt != 0 || tx.Callback.Schedule != 0 || len(tx.Callback.Attempts) != 0 || !tx.Callback.WakeAt.IsZero() {
		t.Fatalf("Withdraw() = %v, %+v", err, tx.Callback)
	}
	if err := tx.Unsuspend("fixed"); err != nil || tx.Callback.State != CallbackPending || tx.Callback.Forced || !tx.Callback.WakeAt.Equal(callbackNow) {
		t.Errorf("Resume() = %v, %+v", err, tx.Callback)
	}
	if err := tx.Unsuspend("fixed"); !errors.Is(err, ErrTransition) {
		t.Errorf("Resume of a pending one = %v, want ErrTransition", err)
	}
	tx.Callback.State, tx.Callback.Schedule = CallbackExhausted, 10
	if err := tx.Redeliver("again"); err != nil || !tx.Callback.Forced || tx.Callback.Schedule != 0 || tx.Events[len(tx.Events)-1].Reason != "again" {
		t.Errorf("Redeliver() = %v, %+v", err, tx.Callback)
	}
	l = claim(t, tx)
	if err := tx.Record(l, CallbackResult{State: CallbackExhausted}); err != nil || tx.Callback.Forced {
		t.Errorf("Record() = %v; forced %t, want only the first try forced", err, tx.Callback.Forced)
	}
}

// TestCallbackRemembersTries: the document stays bounded however often it is redelivered.
func TestCallbackRemembersTries(t *testing.T) {
	t.Parallel()
	tx := delivery(t)
	for range 2 * MaxAttemptsKept {
		if err := tx.Redeliver("again"); err != nil {
			t.Fatal(err)
		}
		l := claim(t, tx)
		if err := tx.Record(l, CallbackResult{State: CallbackExhausted, Attempt: CallbackAttempt{Class: "http_500"}}); err != nil {
			t.Fatal(err)
		}
	}
	if len(tx.Callback.Attempts) != MaxAttemptsKept || tx.Callback.Attempt != 2*MaxAttemptsKept {
		t.Errorf("%d tries kept of %d, want %d", len(tx.Callback.Attempts), tx.Callback.Attempt, MaxAttemptsKept)
	}
}

// TestCallbackCheck: every method leaves alone what it does not understand.
func TestCallbackCheck(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		change func(*Callback)
		want   error
	}{
		"newer schema": {func(cb *Callback) { cb.Schema = SchemaVersion + 1 }, ErrUnknownSchema},
		"no job":       {func(cb *Callback) { cb.JobID = "" }, ErrInvalid},
		"no origin":    {func(cb *Callback) { cb.Origin = "" }, ErrInvalid},
		"lost its try": {func(cb *Callback) { cb.Lease.Token = "x" }, ErrInvalid},
	} {
		tx := delivery(t)
		tt.change(tx.Callback)
		_, claimed := tx.Claim("w")
		_, woken := tx.Wake()
		for method, err := range map[string]error{
			"Claim": claimed, "Wake": woken, "Record": tx.Record(Lease{Token: "x"}, CallbackResult{}), "Withdraw": tx.Withdraw(Lease{Token: "x"}, CallbackDropped, ""),
			"Redeliver": tx.Redeliver(""), "Resume": tx.Unsuspend(""), "Note": tx.Note(""),
		} {
			if !errors.Is(err, tt.want) {
				t.Errorf("%s: %s() = %v, want %v", name, method, err, tt.want)
			}
		}
	}
}
