package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"exportd/internal/apikey"
	"exportd/internal/config"
	"exportd/internal/demo"
	"exportd/internal/localcloud/localcloudtest"
	"exportd/internal/service"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, localcloudtest.LeakOptions()...) }

// A second start finds the demo keys sealed and gives the same secrets again.
func TestDemoKeysSealed(t *testing.T) {
	t.Parallel()
	cloud := localcloudtest.Start(t)
	c := &service.Clients{Firestore: cloud.Firestore}
	cfg := config.Config{Env: "development", KeysetFile: filepath.Join(t.TempDir(), "keyset.json")}
	target, done, err := demo.DialEmulator(t.Context(), cloud.Endpoints().Firestore, localcloudtest.Project)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = done() }()
	load := func() demo.Summary {
		keys, err := service.OpenKeys(t.Context(), cfg, c, false)
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
