package api

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"exportd/internal/apikey"
	"exportd/jobs"
)

// nonces is a NonceFunc for one test.
func nonces() apikey.NonceFunc {
	var used sync.Map
	return func(_ context.Context, keyID, nonce string, _ time.Time) error {
		if _, found := used.LoadOrStore(keyID+" "+nonce, true); found {
			return apikey.ErrNonceUsed
		}
		return nil
	}
}

// requestV2 makes a request signed by version 2.
func requestV2(t testing.TB, key, method, target, body string) *http.Request {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
	apikey.SignRequest(r, key, testSecret, []byte(body), noon)
	return r
}

// Version 2 signs what the server really sees: the query as it came, the body as it was read, and both reach
// the endpoint.
func TestSignatureV2(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(c *Config) { c.Nonces = nonces() })
	wantStatus(t, b.do(requestV2(t, "key_one1", "GET", "/vip-users?workspaceId=ws1&mediumId=ch1&limit=%31", "")), http.StatusOK)
	j := b.jobs.set(jobs.Job{ID: jobs.NewID(), Schema: jobs.SchemaVersion, OrgID: "org1", State: jobs.Queued, CreatedAt: noon})
	const body = `{"reason":"by mistake"}`
	r := requestV2(t, "key_one1", "POST", "/exports/"+j.ID+"/cancel", body)
	again := r.Clone(t.Context())
	again.Body = io.NopCloser(strings.NewReader(body))
	wantStatus(t, b.do(r), http.StatusAccepted)
	if n := len(b.jobs.events); n == 0 || b.jobs.events[n-1].Reason != "by mistake" {
		t.Errorf("events = %+v, want the reason of the body", b.jobs.events)
	}
	w := b.do(again)
	wantStatus(t, w, http.StatusUnauthorized)
	if got := decode(t, w)["message"]; got != "x-nonce was used before" {
		t.Errorf("replay = %v", got)
	}
	r = requestV2(t, "key_one1", "POST", "/exports/"+j.ID+"/cancel", body)
	r.Body = io.NopCloser(strings.NewReader(strings.Replace(body, "mistake", "a thief", 1)))
	wantStatus(t, b.do(r), http.StatusUnauthorized)
	chunked := requestV2(t, "key_one1", "POST", "/exports/"+j.ID+"/cancel", body)
	chunked.ContentLength = -1
	wantStatus(t, b.do(chunked), http.StatusAccepted) // canceling is idempotent
}
