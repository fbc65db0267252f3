package main

import (
	"bytes"
	"errors"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"exportd/internal/apikey"
	"exportd/internal/config"
	"exportd/internal/localcloud/localcloudtest"
	"exportd/internal/service"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, localcloudtest.LeakOptions()...) }

var printedKey = regexp.MustCompile(`x-api-key: (\S+)\s+secret: +(\S+)`)

// The admin key that setup prints is one, and nothing but its sealed form is stored.
func TestSetupAdminKey(t *testing.T) {
	t.Parallel()
	cloud := localcloudtest.Start(t)
	c := &service.Clients{Firestore: cloud.Firestore}
	cfg := config.Config{Env: "production", KeysetFile: filepath.Join(t.TempDir(), "keyset.json")}
	if _, err := service.OpenKeys(t.Context(), cfg, c, false); err == nil {
		t.Error("production made a keyset that setup had not")
	}
	var out bytes.Buffer
	if err := setupKeys(t.Context(), cfg, c, adminKey{}, &out); err != nil || printedKey.Match(out.Bytes()) {
		t.Errorf("setup without --admin-key = %v: %s", err, &out)
	}
	if err := setupKeys(t.Context(), cfg, c, adminKey{org: "org1"}, &out); err != nil {
		t.Fatal(err)
	}
	m := printedKey.FindStringSubmatch(out.String())
	if m == nil {
		t.Fatalf("setup printed no key: %s", &out)
	}
	keys, err := service.OpenKeys(t.Context(), cfg, c, false)
	if err != nil {
		t.Fatal(err)
	}
	defer keys.Close()
	k, err := keys.Lookup(t.Context(), m[1])
	if err != nil || k.OrgID != "org1" || !k.Has(apikey.ScopeAdmin) || k.Has(apikey.ScopeOps) || k.Secrets[0].Secret.Reveal() != m[2] {
		t.Errorf("key = %+v, %v", k, err)
	}
	// Again: no other key, and it says which there is, until another is asked for.
	var again bytes.Buffer
	if err := setupKeys(t.Context(), cfg, c, adminKey{org: "org1"}, &again); err != nil || printedKey.Match(again.Bytes()) || !strings.Contains(again.String(), k.ID) {
		t.Errorf("setup again = %v: %s", err, &again)
	}
	if err := setupKeys(t.Context(), cfg, c, adminKey{org: "org1", another: true}, &again); err != nil || !printedKey.Match(again.Bytes()) {
		t.Errorf("setup for another key = %v: %s", err, &again)
	}
	// Revoked keys do not count: an org must have a way back in.
	all, err := keys.List(t.Context(), "org1")
	if err != nil || len(all) != 2 {
		t.Fatalf("%d keys, %v, want 2", len(all), err)
	}
	for _, k := range all {
		if err := keys.SetState(t.Context(), k.ID, apikey.Disabled, apikey.By{Actor: "test", Reason: "lost"}); err != nil {
			t.Fatal(err)
		}
	}
	again.Reset()
	if err := setupKeys(t.Context(), cfg, c, adminKey{org: "org1"}, &again); err != nil || !printedKey.Match(again.Bytes()) {
		t.Errorf("setup with revoked keys only = %v: %s", err, &again)
	}
	// With another keyset no key could be read by those who have the right one.
	cfg.KeysetFile = filepath.Join(t.TempDir(), "other.json")
	if err := setupKeys(t.Context(), cfg, c, adminKey{org: "org1", another: true}, &again); !errors.Is(err, apikey.ErrKeyset) {
		t.Errorf("setup with another keyset = %v, want ErrKeyset", err)
	}
}
