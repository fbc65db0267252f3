package service

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"exportd/internal/apikey"
	"exportd/internal/localcloud/localcloudtest"
	"exportd/internal/webhook"
)

// received is what a receiver got.
type received struct {
	header http.Header
	body   []byte
}

// During the overlap of a rotation a callback verifies with the old webhook secret and with the new one,
// afterwards with the new one only.
func TestCallbackDuringRotation(t *testing.T) {
	t.Parallel()
	cloud := localcloudtest.Start(t)
	keyset, err := apikey.FileKeyset(filepath.Join(t.TempDir(), "keyset.json"))
	if err != nil {
		t.Fatal(err)
	}
	sealer, err := apikey.NewSealer(keyset)
	if err != nil {
		t.Fatal(err)
	}
	store, err := apikey.NewStore(apikey.StoreConfig{Client: cloud.Firestore, Sealer: sealer})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	by := apikey.By{Actor: "api key key_admin", Reason: "yearly"}
	key, err := store.Create(t.Context(), apikey.Draft{OrgID: "org1", Scopes: []apikey.Scope{apikey.ScopeExport}}, by)
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan received, 1)
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- received{r.Header, body}
		w.WriteHeader(http.StatusNoContent)
	}))
	defer receiver.Close()
	rules := webhook.Rules{Dev: webhook.Dev{AllowHTTP: true, AllowCIDRs: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, AllowPorts: []uint16{0}}}
	sender := newSender(rules)
	deliver := func(now time.Time) received {
		t.Helper()
		k, err := callbackKeys{store.Fresh, func() time.Time { return now }}.CallbackKey(t.Context(), key.ID)
		if err != nil {
			t.Fatal(err)
		}
		a := sender.Send(t.Context(), webhook.Delivery{URL: receiver.URL, ID: "msg_1", Timestamp: time.Now(), Body: []byte(`{"type":"export.succeeded"}`), Secrets: k.Secrets})
		if !a.Delivered() {
			t.Fatalf("callback not delivered: %v", a.Err)
		}
		return <-got
	}
	verifies := func(r received, secret string) bool {
		t.Helper()
		v, err := standardwebhooks.NewWebhook(secret)
		if err != nil {
			t.Fatal(err)
		}
		return v.Verify(r.body, r.header) == nil
	}
	old, now := key.WebhookSecrets[0].Secret.Reveal(), time.Now()
	if r := deliver(now); !verifies(r, old) {
		t.Error("before: the callback does not verify")
	}
	rotated, err := store.Rotate(t.Context(), key.ID, apikey.Rotation{Purpose: apikey.ForCallbacks, Overlap: 24 * time.Hour}, by)
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		at         time.Time
		signatures int
		old        bool
	}{
		"at once":           {now, 2, true},
		"late in overlap":   {now.Add(24*time.Hour - time.Minute), 2, true},
		"after the overlap": {now.Add(24*time.Hour + time.Minute), 1, false},
	} {
		r := deliver(tc.at)
		n := len(strings.Fields(r.header.Get("webhook-signature")))
		if n != tc.signatures || verifies(r, old) != tc.old || !verifies(r, rotated.Reveal()) {
			t.Errorf("%s: %d signatures, old secret verifies: %t, new one: %t", name, n, verifies(r, old), verifies(r, rotated.Reveal()))
		}
	}
}
