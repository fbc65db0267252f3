package e2e

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"exportd/internal/apikey"
	"exportd/internal/e2e/e2etest"
)

// openKeys opens the store of keys past exportd.
func openKeys(t *testing.T, hosts e2etest.Hosts) *apikey.Store {
	t.Helper()
	keys, err := apikey.NewStore(apikey.StoreConfig{Client: hosts.OpenFirestore(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(keys.Close)
	return keys
}

// TestCallbackOfAChangedKey: a worker that has just called a receiver in a key's name, and so knows the key,
// signs with the new secret alone from the moment that the old one was replaced without overlap, and sends
// nothing from the moment that the key was revoked.
func TestCallbackOfAChangedKey(t *testing.T) {
	t.Parallel()
	_, hosts := e2etest.Emulators(t, exportd, t.TempDir())
	s := e2etest.Services(t, exportd, hosts, e2etest.Sizes{Users: 50, Messages: 50}, callbackSettings...)
	e2etest.Worker(t, exportd, hosts, callbackSettings...)
	keys := openKeys(t, hosts)
	by := apikey.By{Actor: "api key key_admin", Reason: "the secret leaked"}
	rc := newSigned(t)
	c, ops := s.Caller(), s.Operator()
	id := c.Submit(t, "vip-users", s.Users("callbackUrl", rc.URL+"/hook"), "Cache-Control", "no-cache")
	awaitCallback(t, c, id, "delivered")
	redeliver := func() {
		ops.Do(t, http.MethodPost, "/ops/jobs/"+id+"/callback/redeliver", nil, strings.NewReader(`{"reason": "again"}`)).Want(t, http.StatusAccepted)
	}

	old := s.WebhookSecret
	for range 3 {
		secret, err := keys.Rotate(t.Context(), s.APIKey, apikey.Rotation{Purpose: apikey.ForCallbacks}, by)
		if err != nil {
			t.Fatal(err)
		}
		before := len(rc.came())
		redeliver()
		e2etest.Until(t, jobWithin, "a callback after the rotation", func() bool { return len(rc.came()) > before })
		got := rc.came()[before]
		if !got.signedBy(t, secret.Reveal()) || got.signedBy(t, old) || len(strings.Fields(got.header.Get("webhook-signature"))) != 1 {
			t.Errorf("right after a rotation without overlap: signed by the new secret: %t, by the old one: %t", got.signedBy(t, secret.Reveal()), got.signedBy(t, old))
		}
		awaitCallback(t, c, id, "delivered")
		old = secret.Reveal()
	}

	before := len(rc.came())
	if err := keys.SetState(t.Context(), s.APIKey, apikey.Disabled, by); err != nil {
		t.Fatal(err)
	}
	redeliver()
	var job struct {
		Callbacks []struct {
			State string
			Tries []struct{ Class string }
		}
	}
	e2etest.Until(t, jobWithin, "the redelivery in the name of a revoked key to end", func() bool {
		ops.Get(t, "/ops/jobs/"+id, nil).Want(t, http.StatusOK).JSON(t, &job)
		return job.Callbacks[0].State != "pending"
	})
	last := job.Callbacks[0].Tries[len(job.Callbacks[0].Tries)-1]
	if job.Callbacks[0].State != "blocked" || last.Class != "key_revoked" || len(rc.came()) != before {
		t.Errorf("redelivered right after the key was revoked: %s, %s, and %d requests came", job.Callbacks[0].State, last.Class, len(rc.came())-before)
	}
	if lines := timeline(t, ops, id); !slices.ContainsFunc(lines, func(line string) bool { return strings.Contains(line, "key_revoked") }) {
		t.Errorf("the timeline does not say why nothing was sent: %q", lines)
	}
}

// signed is a receiver that keeps what came.
type signed struct {
	*httptest.Server
	mu  sync.Mutex
	got []signedRequest
}

type signedRequest struct {
	header http.Header
	body   []byte
}

func newSigned(t *testing.T) *signed {
	t.Helper()
	r := &signed{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, q *http.Request) {
		body, _ := io.ReadAll(q.Body) // what did not come does not verify
		r.mu.Lock()
		defer r.mu.Unlock()
		r.got = append(r.got, signedRequest{q.Header.Clone(), body})
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *signed) came() []signedRequest {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.got)
}

func (q signedRequest) signedBy(t *testing.T, secret string) bool {
	t.Helper()
	v, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	return v.Verify(q.body, q.header) == nil
}
