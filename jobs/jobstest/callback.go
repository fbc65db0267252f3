package jobstest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"exportd/jobs"
)

var callbackCases = []storeCase{
	{"of claims of a delivery at the same time one stands", jobs.Limits{}, oneDelivery},
	{"deliveries are listed by every filter, page by page", jobs.Limits{}, listsCallbacks},
	{"how a receiver has answered is in the list of its deliveries, of whatever org", jobs.Limits{}, receiverAnswers},
	{"a delivery is due when its time comes, and not after its end", jobs.Limits{}, dueCallbacks},
	{"receivers that fail are remembered for their life", jobs.Limits{}, receiversForgotten},
	{"no failure of a receiver is lost", jobs.Limits{}, receiverCounts},
	{"a receiver that is resumed gets what was held back", jobs.Limits{}, resumes},
}

// delivery ends a job and gives its delivery.
func (b *bench) delivery(t *testing.T, org string) *jobs.Callback {
	t.Helper()
	id := b.job(t, org, 1)
	b.update(t, id, cancel)
	calls, err := b.Callbacks(t.Context(), id)
	if err != nil || len(calls) != 1 {
		t.Fatalf("Callbacks = %+v, %v", calls, err)
	}
	return calls[0]
}

func (b *bench) updateCallback(t *testing.T, id string, fn func(*jobs.CallbackTx) error) *jobs.Callback {
	t.Helper()
	cb, err := b.UpdateCallback(t.Context(), id, "test", fn)
	if err != nil {
		t.Fatalf("UpdateCallback = %v", err)
	}
	return cb
}

func oneDelivery(t *testing.T, b *bench) {
	cb := b.delivery(t, "org")
	b.Pass(3 * time.Second)
	n := race(t, 6, jobs.ErrNotDue, func(int) error {
		_, err := b.UpdateCallback(context.Background(), cb.ID, "test", func(tx *jobs.CallbackTx) error { _, err := tx.Claim("w"); return err })
		return err
	})
	if n != 1 {
		t.Errorf("%d of 6 claims stood, want 1", n)
	}
	_, err := b.UpdateCallback(t.Context(), cb.ID, "test", func(tx *jobs.CallbackTx) error {
		return errors.Join(tx.Record(tx.Callback.Lease, jobs.CallbackResult{State: jobs.CallbackDelivered}), errTest)
	})
	calls, cerr := b.Callbacks(t.Context(), cb.JobID)
	if !errors.Is(err, errTest) || cerr != nil || calls[0].State != jobs.CallbackPending || len(calls[0].Attempts) != 1 || calls[0].Attempts[0].Class != jobs.AttemptUnderWay {
		t.Errorf("a transition that fails = %v, and left %+v, %v", err, calls[0], cerr)
	}
}

func listsCallbacks(t *testing.T, b *bench) {
	var want []string
	for range 5 {
		want = append(want, b.delivery(t, "org").ID)
		b.Pass(time.Second)
	}
	slices.Reverse(want)
	b.delivery(t, "other")
	for mask := range 1 << 3 {
		l := jobs.CallbackList{OrgID: "org", PageSize: 2}
		for i, set := range []func(){func() { l.Origin = "https://hooks.example" }, func() { l.State = jobs.CallbackPending },
			func() { l.CreatedAfter, l.CreatedBefore = b.Now().Add(-time.Hour), b.Now().Add(time.Hour) }} {
			if mask>>i&1 == 1 {
				set()
			}
		}
		var got []string
		for {
			page, next, err := b.ListCallbacks(t.Context(), l)
			if err != nil || len(page) > 2 {
				t.Fatalf("ListCallbacks(%+v) = %d, %v", l, len(page), err)
			}
			for _, cb := range page {
				got = append(got, cb.ID)
			}
			if l.PageToken = next; next == "" {
				break
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("ListCallbacks(%+v) = %v, want %v", l, got, want)
		}
	}
	if page, _, err := b.ListCallbacks(t.Context(), jobs.CallbackList{State: jobs.CallbackGone}); err != nil || len(page) > 0 {
		t.Errorf("of another state: %d, %v", len(page), err)
	}
	if _, _, err := b.ListCallbacks(t.Context(), jobs.CallbackList{PageToken: "nonsense"}); !errors.Is(err, jobs.ErrInvalid) {
		t.Errorf("ListCallbacks with a made-up token = %v, want ErrInvalid", err)
	}
}

func receiverAnswers(t *testing.T, b *bench) {
	one, two := b.delivery(t, "org"), b.delivery(t, "org2")
	begun := b.Now()
	b.Pass(3 * time.Second)
	for _, a := range []struct {
		cb     *jobs.Callback
		state  jobs.CallbackState
		status int
	}{{one, jobs.CallbackPending, 503}, {two, jobs.CallbackGone, 410}, {one, jobs.CallbackDelivered, 204}} {
		b.attempt(t, a.cb.ID, jobs.CallbackResult{State: a.state, Attempt: jobs.CallbackAttempt{Class: fmt.Sprint("http_", a.status), Status: a.status, Response: fmt.Sprint("says ", a.status)}})
	}
	const first, second = " 1 http_503 503 says 503", " 2 http_204 204 says 204"
	gone := two.ID + " gone 1 http_410 410 says 410"
	for _, c := range []struct {
		list jobs.CallbackList
		want []string
	}{
		{jobs.CallbackList{Origin: one.Origin}, []string{gone, one.ID + " delivered" + first + second}},
		{jobs.CallbackList{Origin: one.Origin, CreatedAfter: begun.Add(-time.Hour), CreatedBefore: begun.Add(time.Hour)}, []string{gone, one.ID + " delivered" + first + second}},
		{jobs.CallbackList{State: jobs.CallbackGone, CreatedAfter: begun.Add(-time.Hour), CreatedBefore: begun.Add(time.Hour)}, []string{gone}},
		{jobs.CallbackList{OrgID: "org2", Origin: one.Origin, State: jobs.CallbackGone}, []string{gone}},
		{jobs.CallbackList{Origin: one.Origin, CreatedBefore: begun.Add(-time.Hour)}, nil},
		{jobs.CallbackList{Origin: "https://another.example"}, nil},
	} {
		page, next, err := b.ListCallbacks(t.Context(), c.list)
		var got []string
		for _, cb := range page {
			says := cb.ID + " " + string(cb.State)
			for i, a := range cb.Attempts {
				says += fmt.Sprintf(" %d %s %d %s", i+1, a.Class, a.Status, a.Response)
				if !a.At.After(begun) || i > 0 && !a.At.After(cb.Attempts[i-1].At) || cb.Attempt != len(cb.Attempts) {
					t.Errorf("attempt %d of %d of %s is at %v", i+1, cb.Attempt, cb.ID, a.At)
				}
			}
			got = append(got, says)
		}
		slices.Sort(got)
		slices.Sort(c.want) // both were made in one second
		if err != nil || next != "" || !slices.Equal(got, c.want) {
			t.Errorf("ListCallbacks(%+v) = %q, %q, %v, want %q", c.list, got, next, err, c.want)
		}
	}
}

func dueCallbacks(t *testing.T, b *bench) {
	cb := b.delivery(t, "org")
	if got := b.due(t, jobs.DueCallbacks); len(got) > 0 {
		t.Errorf("due at once: %v", got)
	}
	b.Pass(3 * time.Second)
	if got := b.due(t, jobs.DueCallbacks); !slices.Equal(got, []jobs.Message{{JobID: cb.JobID, CallbackID: cb.ID}}) {
		t.Errorf("due = %v, want the delivery", got)
	}
	var l jobs.Lease
	b.updateCallback(t, cb.ID, func(tx *jobs.CallbackTx) (err error) { l, err = tx.Claim("w"); return err })
	b.updateCallback(t, cb.ID, func(tx *jobs.CallbackTx) error {
		return tx.Record(l, jobs.CallbackResult{Attempt: jobs.CallbackAttempt{At: tx.Now, Status: 200}, State: jobs.CallbackDelivered})
	})
	b.Pass(24 * time.Hour)
	if got := b.due(t, jobs.DueCallbacks); len(got) > 0 {
		t.Errorf("due after its end: %v", got)
	}
	events, err := b.Events(t.Context(), cb.JobID)
	if err != nil || events[len(events)-1].Type != jobs.EventCallback {
		t.Errorf("the timeline does not tell of it: %+v, %v", events, err)
	}
}

func receiversForgotten(t *testing.T, b *bench) {
	const day, origin = 24 * time.Hour, "https://x.example"
	change := func(address string, suspend bool) {
		t.Helper()
		err := b.ChangeReceiver(t.Context(), "org", address, origin, func(r *jobs.Receiver) {
			if r.FailingSince.IsZero() {
				r.FailingSince = b.Now()
			}
			r.Exhausted++
			r.LastFailure = b.Now()
			if suspend {
				r.Suspended, r.SuspendedAt, r.Why = true, b.Now(), "410"
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	begun := b.Now()
	change(origin, false)
	change(origin+"/gone", true)
	for _, step := range []struct {
		at                 time.Duration
		failing, suspended bool
	}{{0, true, true}, {30*day - time.Microsecond, true, true}, {30 * day, false, true}, {180*day - time.Microsecond, false, true}, {180 * day, false, false}} {
		b.Pass(begun.Add(step.at).Sub(b.Now()))
		rs, err := b.Receivers(t.Context(), "org", origin, origin+"/gone")
		list, lerr := b.SuspendedReceivers(t.Context())
		if err != nil || lerr != nil || rs[0].Exhausted > 0 != step.failing || rs[1].Suspended != step.suspended || len(list) > 0 != step.suspended {
			t.Errorf("after %v: %+v, listed %d, want %+v; %v, %v", step.at, rs, len(list), step, err, lerr)
		}
		if err := b.PurgePointers(t.Context(), b.Now()); err != nil {
			t.Fatal(err)
		}
	}
	if rs, err := b.Receivers(t.Context(), "another", origin); err != nil || rs[0] != (jobs.Receiver{}) {
		t.Errorf("of another org's failures: %+v, %v", rs, err)
	}
}

func receiverCounts(t *testing.T, b *bench) {
	const origin = "https://x.example"
	var all sync.WaitGroup
	for range 6 {
		all.Go(func() {
			err := b.ChangeReceiver(context.Background(), "org", origin, origin, func(r *jobs.Receiver) {
				r.Exhausted++
				r.FailingSince, r.LastFailure = b.Now(), b.Now()
			})
			if err != nil {
				t.Errorf("ChangeReceiver = %v", err)
			}
		})
	}
	all.Wait()
	if rs, err := b.Receivers(t.Context(), "org", origin); err != nil || rs[0].Exhausted != 6 {
		t.Errorf("%d of 6 failures are remembered, %v", rs[0].Exhausted, err)
	}
	if err := b.ChangeReceiver(t.Context(), "org", origin, origin, func(r *jobs.Receiver) { *r = jobs.Receiver{} }); err != nil {
		t.Fatal(err)
	}
	if rs, err := b.Receivers(t.Context(), "org", origin); err != nil || rs[0] != (jobs.Receiver{}) {
		t.Errorf("one that works is remembered: %+v, %v", rs, err)
	}
}

func resumes(t *testing.T, b *bench) {
	held, other := b.delivery(t, "org"), b.delivery(t, "other")
	b.Pass(3 * time.Second)
	for _, cb := range []*jobs.Callback{held, other} {
		var l jobs.Lease
		b.updateCallback(t, cb.ID, func(tx *jobs.CallbackTx) (err error) { l, err = tx.Claim("w"); return err })
		b.updateCallback(t, cb.ID, func(tx *jobs.CallbackTx) error { return tx.Withdraw(l, jobs.CallbackSuspended, "test") })
		err := b.ChangeReceiver(t.Context(), cb.OrgID, cb.Origin, cb.Origin, func(r *jobs.Receiver) {
			r.FailingSince, r.LastFailure, r.Suspended, r.SuspendedAt = b.Now(), b.Now(), true, b.Now()
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if n, err := b.UnsuspendReceiver(t.Context(), "org", held.Origin, "op", "mended"); err != nil || n != 1 {
		t.Errorf("ResumeReceiver = %d, %v, want 1", n, err)
	}
	for cb, want := range map[*jobs.Callback]jobs.CallbackState{held: jobs.CallbackPending, other: jobs.CallbackSuspended} {
		calls, err := b.Callbacks(t.Context(), cb.JobID)
		if err != nil || calls[0].State != want {
			t.Errorf("the delivery of %s is %+v, %v, want %s", cb.OrgID, calls[0], err, want)
		}
	}
	if list, err := b.SuspendedReceivers(t.Context()); err != nil || len(list) != 1 || list[0].OrgID != "other" {
		t.Errorf("SuspendedReceivers = %+v, %v, want the other org's", list, err)
	}
}
