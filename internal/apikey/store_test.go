package apikey

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"exportd/internal/localcloud/localcloudtest"
	"exportd/jobs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, localcloudtest.LeakOptions()...) }

func newStore(t *testing.T, c *localcloudtest.Cloud, ttl time.Duration, change ...func(*StoreConfig)) *Store {
	t.Helper()
	cfg := StoreConfig{Client: c.Firestore, TTL: ttl}
	for _, f := range change {
		f(&cfg)
	}
	s, err := NewStore(cfg)
	if err != nil {
		t.Fatalf("NewStore = %v", err)
	}
	t.Cleanup(s.Close)
	return s
}

func put(t *testing.T, c *localcloudtest.Cloud, id string, fields map[string]any) {
	t.Helper()
	if _, err := c.Firestore.Collection(Collection).Doc(id).Set(t.Context(), fields); err != nil {
		t.Fatalf("write key %s: %v", id, err)
	}
}

func TestLookup(t *testing.T) {
	t.Parallel()
	c := localcloudtest.Start(t)
	s := newStore(t, c, 0)
	expires := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	put(t, c, "key_full", map[string]any{
		"orgId": "org1", "name": "n", "secret": goldenSecret, "webhookSecret": "whsec_x", "scopes": []string{"ops"}, "state": "disabled",
		"expiresAt": expires, "callbackHosts": []string{"a.example"}, "defaultCallbackUrl": "https://a.example/", "of another version": 1,
	})
	put(t, c, "key_least", map[string]any{"orgId": "org1", "secret": goldenSecret})
	put(t, c, "key_none", map[string]any{"orgId": "org1", "secret": goldenSecret, "scopes": []string{}})
	put(t, c, "key_noorg", map[string]any{"secret": goldenSecret})
	put(t, c, "key_slash", map[string]any{"orgId": "a/../b", "secret": goldenSecret})
	put(t, c, "key_nosecret", map[string]any{"orgId": "org1"})
	put(t, c, "key_types", map[string]any{"orgId": "org1", "secret": 12345, "scopes": goldenSecret})

	k, err := s.Lookup(t.Context(), "key_full")
	if err != nil {
		t.Fatalf("Lookup(key_full) = %v", err)
	}
	if k.ID != "key_full" || k.OrgID != "org1" || k.State != Disabled || !k.ExpiresAt.Equal(expires) || !k.Has(ScopeOps) || k.Has(ScopeRead, ScopeExport) ||
		webhookOf(k) != "whsec_x" || k.CallbackHosts[0] != "a.example" || k.DefaultCallbackURL != "https://a.example/" {
		t.Errorf("Lookup(key_full) = %+v", k)
	}
	if k, err = s.Lookup(t.Context(), "key_least"); err != nil || k.State != Active || !k.Has(ScopeRead) || !k.Has(ScopeExport) || k.Has(ScopeOps, ScopeAdmin) {
		t.Errorf("Lookup(key_least) = %+v, %v, want an active key that may read and export", k, err)
	}
	if k, err = s.Lookup(t.Context(), "key_none"); err != nil || k.Has(ScopeRead, ScopeExport) {
		t.Errorf("Lookup(key_none) = %+v, %v, want no scopes", k, err)
	}
	for id, want := range map[string]error{
		"key_absent": jobs.ErrNotFound, "key/with/path": jobs.ErrNotFound, "__key_x__": jobs.ErrNotFound,
		"key_noorg": jobs.ErrInvalid, "key_slash": jobs.ErrInvalid, "key_nosecret": jobs.ErrInvalid, "key_types": jobs.ErrInvalid,
	} {
		k, err := s.Lookup(t.Context(), id)
		if k != nil || !errors.Is(err, want) || strings.Contains(err.Error(), goldenSecret) {
			t.Errorf("Lookup(%s) = %v, %v, want %v", id, k, err, want)
		}
	}
	// The whole way, as a request goes it.
	put(t, c, "key_golden", map[string]any{"orgId": "org1", "secret": goldenSecret, "state": "active"})
	if _, err := verify(t.Context(), headers("key_golden", goldenDate, goldenSignature), goldenTime, DefaultWindow, s.Lookup); err != nil {
		t.Errorf("Verify(golden) = %v", err)
	}
}

func TestLookupCaches(t *testing.T) {
	t.Parallel()
	c := localcloudtest.Start(t)
	long, short := newStore(t, c, 30*time.Second), newStore(t, c, 50*time.Millisecond)
	orgOf := func(s *Store, id string) string {
		k, err := s.Lookup(t.Context(), id)
		if err != nil {
			return err.Error()
		}
		return k.OrgID
	}
	put(t, c, "key_cached", map[string]any{"orgId": "before", "secret": goldenSecret})
	for _, s := range []*Store{long, short} {
		if got := orgOf(s, "key_cached"); got != "before" {
			t.Fatalf("Lookup = %s, want before", got)
		}
		if got := orgOf(s, "key_later"); got != jobs.ErrNotFound.Error() {
			t.Fatalf("Lookup of an absent key = %s", got)
		}
	}
	put(t, c, "key_cached", map[string]any{"orgId": "after", "secret": goldenSecret})
	put(t, c, "key_later", map[string]any{"orgId": "later", "secret": goldenSecret})
	if a, b := orgOf(long, "key_cached"), orgOf(long, "key_later"); a != "before" || b != jobs.ErrNotFound.Error() {
		t.Errorf("within the TTL = %s, %s, want what was read first", a, b)
	}
	long.Forget("key_cached")
	if got := orgOf(long, "key_cached"); got != "after" {
		t.Errorf("after Forget = %s, want after", got)
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for orgOf(short, "key_cached") != "after" || orgOf(short, "key_later") != "later" {
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatal("the TTL did not end")
		}
	}
}

func TestLookupUnavailable(t *testing.T) {
	t.Parallel()
	c := localcloudtest.Start(t)
	s := newStore(t, c, 30*time.Second)
	put(t, c, "key_known", map[string]any{"orgId": "org1", "secret": goldenSecret})
	if _, err := s.Lookup(t.Context(), "key_known"); err != nil {
		t.Fatal(err)
	}
	c.Stop(t)
	if _, err := s.Lookup(t.Context(), "key_known"); err != nil {
		t.Errorf("Lookup of a cached key during an outage = %v", err)
	}
	var callers sync.WaitGroup
	for range 20 { // share one read, so this takes one time-out and not twenty
		callers.Go(func() {
			if _, err := s.Lookup(t.Context(), "key_other"); !errors.Is(err, jobs.ErrUnavailable) {
				t.Errorf("Lookup during an outage = %v, want ErrUnavailable", err)
			}
		})
	}
	callers.Wait()
	c.Restart(t)
	put(t, c, "key_other", map[string]any{"orgId": "org1", "secret": goldenSecret})
	if _, err := s.Lookup(t.Context(), "key_other"); err != nil {
		t.Errorf("Lookup after the outage = %v, want the key: errors are not cached", err)
	}
}

// A caller that goes away takes nobody's look-up with it.
func TestLookupOutlivesItsCaller(t *testing.T) {
	t.Parallel()
	c := localcloudtest.Start(t)
	s := newStore(t, c, 0)
	put(t, c, "key_known", map[string]any{"orgId": "org1", "secret": goldenSecret})
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_, _ = s.Lookup(ctx, "key_known")
	}()
	cancel()
	if _, err := s.Lookup(t.Context(), "key_known"); err != nil {
		t.Errorf("Lookup beside one that was canceled = %v", err)
	}
	<-gone
}

func TestNewStoreTTL(t *testing.T) {
	t.Parallel()
	for _, ttl := range []time.Duration{-1, 31 * time.Second} {
		if _, err := NewStore(StoreConfig{TTL: ttl}); err == nil {
			t.Errorf("NewStore(TTL %s) = nil", ttl)
		}
	}
}
