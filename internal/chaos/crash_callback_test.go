package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"testing"
	"time"

	"exportd/jobs"
)

// TestCrashAroundCallback kills the only worker with SIGKILL before it claims a callback, after that, and
// when the receiver has got it but nobody has written that down. The next worker delivers it: once where
// nothing was sent, and otherwise again under the same webhook-id.
func TestCrashAroundCallback(t *testing.T) {
	t.Parallel()
	crashing, cloud := crashRig(t)
	var secret [32]byte
	_, _ = rand.Read(secret[:]) // never fails
	webhookSecret := "whsec_" + base64.StdEncoding.EncodeToString(secret[:])
	rs, err := newReceivers(t.Context(), webhookSecret)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(rs.close)
	for i, tt := range []struct {
		at               string
		requests, tries  int
		firstInterrupted bool
	}{
		{"before a transition of a callback", 1, 1, false},
		{"after a transition of a callback", 1, 2, true},
		{"after sending a callback", 2, 2, true},
	} {
		t.Run(tt.at, func(t *testing.T) {
			t.Parallel()
			c := newCrashCase(t, cloud.Endpoints(), crashing, tt.at)
			c.addKey(t, webhookSecret)
			url := rs.expect(i, manner{})
			c.submit(t, "text", url)
			if !c.runUntilCrash(t) {
				t.Fatal("the worker did not crash")
			}
			if n := len(rs.seen()[url]); n != tt.requests-1 {
				t.Errorf("%d requests before the crash, want %d", n, tt.requests-1)
			}
			c.expireClaim(t)
			c.runToTheEnd(t)
			c.checkFiles(t)
			cb := c.callback(t.Context(), t, c.jobs[0])
			arrivals := rs.seen()[url]
			t.Logf("%d requests, webhook-id %s", len(arrivals), cb.ID)
			if cb.State != jobs.CallbackDelivered || len(arrivals) != tt.requests || len(cb.Attempts) != tt.tries || cb.Schedule != 1 {
				t.Fatalf("callback %+v after %d requests, want delivered after %d, in %d tries of which one counts", cb, len(arrivals), tt.requests, tt.tries)
			}
			if got := cb.Attempts[0].Class == jobs.AttemptInterrupted; got != tt.firstInterrupted {
				t.Errorf("first try is %s, want interrupted: %t", cb.Attempts[0].Class, tt.firstInterrupted)
			}
			j, err := c.store.Get(t.Context(), cb.JobID)
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range arrivals {
				if _, fault := inspectArrival(j, cb, a); fault != "" {
					t.Error(fault)
				}
			}
		})
	}
}

// addKey writes the API key of the jobs.
func (c *crashCase) addKey(t *testing.T, webhookSecret string) {
	t.Helper()
	_, err := c.in.firestore.Collection("ApiKeys").Doc(crashKey).Create(t.Context(), map[string]any{
		"orgId": "org", "name": "crash", "state": "active", "scopes": []string{"export"}, "secret": "a secret of more than 16 bytes",
		"webhookSecret": webhookSecret, "createdAt": time.Now(),
	})
	if err != nil {
		t.Fatal(err)
	}
}

// callback is the only callback of a job; a pending one stands for one that is not there yet.
func (c *crashCase) callback(ctx context.Context, t *testing.T, jobID string) *jobs.Callback {
	t.Helper()
	all, err := c.store.Callbacks(ctx, jobID)
	if err != nil || len(all) > 1 {
		t.Fatalf("job %s has %d callbacks, want one: %v", jobID, len(all), err)
	}
	if len(all) == 0 {
		return &jobs.Callback{State: jobs.CallbackPending}
	}
	return all[0]
}

// expireClaim lets the minute pass for which a claimed callback is its worker's.
func (c *crashCase) expireClaim(t *testing.T) {
	t.Helper()
	_, err := c.store.UpdateCallback(t.Context(), c.callback(t.Context(), t, c.jobs[0]).ID, "test", func(tx *jobs.CallbackTx) error {
		if tx.Callback.Lease.Token != "" {
			tx.Callback.Lease.Until = tx.Now.Add(-jobs.CallbackLease)
		}
		tx.Callback.WakeAt = tx.Now
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
