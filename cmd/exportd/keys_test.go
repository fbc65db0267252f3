package main

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"exportd/internal/apikey"
	"exportd/internal/config"
	"exportd/internal/demo"
	"exportd/internal/localcloud/localcloudtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, localcloudtest.LeakOptions()...) }

// A second start finds the demo keys sealed and gives the same secrets again.
func TestDemoKeysSealed(t *testing.T) {
	t.Parallel()
	cloud := localcloudtest.Start(t)
	c := &clients{firestore: cloud.Firestore}
	cfg := config.Config{Env: "development", KeysetFile: filepath.Join(t.TempDir(), "keyset.json")}
	target, done, err := demo.DialEmulator(t.Context(), cloud.Endpoints().Firestore, localcloudtest.Project)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = done() }()
	load := func() demo.Summary {
		keys, err := openKeys(t.Context(), cfg, c, false)
		if err != nil {
			t.Fatal(err)
		}
		defer keys.Close()
		s, err := demo.Load(t.Context(), target, demo.Options{Seed: 1, Users: 10, Messages: 10, Now: time.Now(), Secrets: secretsOf(keys)})
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range []string{s.APIKey, s.OpsAPIKey, s.OtherAPIKey, s.DisabledAPIKey, s.ExpiredAPIKey} { // used once: sealed
			if _, err := keys.Lookup(t.Context(), id); err != nil {
				t.Fatal(err)
			}
		}
		s.Loaded = false
		return s
	}
	first := load()
	doc, err := cloud.Firestore.Collection(apikey.Collection).Doc(first.APIKey).Get(t.Context())
	if err != nil || strings.Contains(fmt.Sprint(doc.Data()), first.Secret) || strings.Contains(fmt.Sprint(doc.Data()), first.WebhookSecret) {
		t.Fatalf("the record still holds a secret: %v", err)
	}
	if second := load(); second != first || first.Secret == "" {
		t.Error("a second start gives other secrets")
	}
}

var printedKey = regexp.MustCompile(`x-api-key: (\S+)\s+secret: +(\S+)`)

// The admin key that setup prints is one, and nothing but its sealed form is stored.
func TestSetupAdminKey(t *testing.T) {
	t.Parallel()
	cloud := localcloudtest.Start(t)
	c := &clients{firestore: cloud.Firestore}
	cfg := config.Config{Env: "production", KeysetFile: filepath.Join(t.TempDir(), "keyset.json")}
	if _, err := openKeys(t.Context(), cfg, c, false); err == nil {
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
	keys, err := openKeys(t.Context(), cfg, c, false)
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
