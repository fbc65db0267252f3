package worker_test

import (
	"context"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"exportd/internal/webhook"
	"exportd/jobs"
	"exportd/worker"
)

// slowToConnect makes connecting take two seconds on the rig's clock, in which something happens.
func (r *rig) slowToConnect(meanwhile func()) *webhook.Sender {
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		meanwhile()
		r.clock.put(r.clock.Now().Add(2 * time.Second))
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	return webhook.NewSender(webhook.SenderConfig{Guard: webhook.NewGuard(webhook.GuardConfig{Dev: devRules.Dev, Dial: dial}), Rules: devRules, Now: r.clock.Now})
}

// counted counts the reads of keys.
type counted struct {
	keyring
	reads atomic.Int64
}

func (k *counted) CallbackKey(ctx context.Context, id string) (worker.CallbackKey, error) {
	k.reads.Add(1)
	return k.keyring.CallbackKey(ctx, id)
}

// TestCallbackRightsEndWhileConnecting: a key that is revoked and an export that is deleted while a slow
// receiver is being connected to. Nothing is sent, and what became of the callback says why.
func TestCallbackRightsEndWhileConnecting(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	rc := receive(t, "127.0.0.1", status(http.StatusNoContent))
	keys := &counted{}
	var meanwhile atomic.Value
	meanwhile.Store(func() {})
	r.work(t, func(c *worker.Config) {
		c.Callbacks.Keys = keys
		c.Callbacks.Sender = r.slowToConnect(func() { meanwhile.Load().(func())() })
	})
	r.callback(t, r.submit(t, rc.URL), time.Minute, inState(jobs.CallbackDelivered))
	if n := keys.reads.Load(); n != 2 {
		t.Errorf("the key was read %d times for an attempt that took 2 s to connect, want 2", n)
	}

	meanwhile.Store(func() { keys.revoked.Store(true) })
	cb := r.callback(t, r.submit(t, rc.URL), time.Minute, inState(jobs.CallbackBlocked))
	if len(cb.Attempts) != 1 || cb.Attempts[0].Class != jobs.AttemptKeyRevoked || !cb.WakeAt.IsZero() {
		t.Errorf("callback of a key revoked while connecting: %+v, want one attempt that was refused", cb)
	}
	keys.revoked.Store(false)

	var id atomic.Value
	meanwhile.Store(func() {
		_, err := r.store.Update(context.Background(), id.Load().(string), "api key key_one1", func(tx *jobs.Tx) error { return tx.Delete("") })
		if err != nil {
			t.Errorf("Delete() = %v", err)
		}
	})
	m := r.ended(t, "org-1", rc.URL) // notified only when its id is known
	id.Store(m.JobID)
	notifyAll(t, r, []jobs.Message{m})
	cb = r.callback(t, m.JobID, time.Minute, inState(jobs.CallbackDropped))
	if n := len(rc.requests()); n != 1 {
		t.Errorf("the receiver got %d requests, want the first one only; callback %+v", n, cb)
	}
}

// TestCallbackReadsTheKeyOnce: the price of fresh rights is one read of the key for each attempt.
func TestCallbackReadsTheKeyOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	rc := receive(t, "127.0.0.1", status(http.StatusNoContent))
	keys := &counted{}
	r.work(t, func(c *worker.Config) { c.Callbacks.Keys = keys })
	r.callback(t, r.submit(t, rc.URL), time.Minute, inState(jobs.CallbackDelivered))
	if n := keys.reads.Load(); n != 1 {
		t.Errorf("the key was read %d times for one attempt, want once", n)
	}
}
