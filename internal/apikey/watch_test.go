package apikey

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"cloud.google.com/go/firestore"

	"exportd/internal/connection"
	"exportd/internal/docwatch"
	"exportd/internal/localcloud/localcloudtest"
	"exportd/jobs"
)

// watching gives a store what watches documents in production.
func watching(t *testing.T, c *localcloudtest.Cloud) func(*StoreConfig) {
	t.Helper()
	w, err := docwatch.New(docwatch.Config{
		Database: "projects/" + localcloudtest.Project + "/databases/(default)",
		Dial: func(ctx context.Context) (docwatch.Connection, error) {
			return connection.DialFirestore(ctx, connection.FirestoreConfig{Emulator: c.Endpoints().Firestore, Guard: &connection.Guard{}})
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
	})
	return func(cfg *StoreConfig) { cfg.Documents = w }
}

// Of 2,000 keys a store reads those that are used, each once to look it up and once to watch it, and notices
// the revocation of one of them elsewhere long before the TTL ends.
func TestOnlyKeysInUseAreRead(t *testing.T) {
	t.Parallel()
	c := localcloudtest.Start(t)
	const keys, inUse = 2000, 5
	id := func(i int) string { return fmt.Sprintf("key_%04d", i) }
	writer := c.Firestore.BulkWriter(t.Context())
	for i := range keys {
		if _, err := writer.Set(c.Firestore.Collection(Collection).Doc(id(i)), map[string]any{"orgId": fmt.Sprintf("org%d", i), "secret": goldenSecret}); err != nil {
			t.Fatal(err)
		}
	}
	writer.End()
	here, there := newStore(t, c, 30*time.Second, watching(t, c)), newStore(t, c, 30*time.Second)
	reads := func() int64 { return c.Faults().Counters().DocumentsRead }
	run(t, here)
	if _, err := here.Lookup(t.Context(), "key_of_nobody"); !errors.Is(err, jobs.ErrNotFound) { // goes out after what Run begins with
		t.Fatalf("Lookup = %v", err)
	}
	start := reads()
	lookup := func(i int) *Key {
		k, err := here.Lookup(t.Context(), id(i))
		if err != nil {
			t.Fatal(err)
		}
		here.Prove(k) // as a request that it signed would
		return k
	}
	for i := range inUse {
		lookup(i)
	}
	eventually(t, "the keys in use are not watched", func() bool { return reads()-start >= 2*inUse })
	for i := range inUse {
		lookup(i)
	}
	if n := reads(); start != 1 || n-start != 2*inUse { // that of nobody is billed
		t.Errorf("%d documents read at the start and %d for %d keys, want 1 and %d", start, n-start, inUse, 2*inUse)
	}
	if err := there.SetState(t.Context(), id(3), Disabled, by); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the revoked key is still believed", func() bool { return lookup(3).State == Disabled })
	if _, err := c.Firestore.Collection(Collection).Doc(id(4)).Delete(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the deleted key is still believed", func() bool {
		_, err := here.Lookup(t.Context(), id(4))
		return errors.Is(err, jobs.ErrNotFound)
	})
}

// What is watched is told of also after Firestore was away, and what changed meanwhile.
func TestWatchOutlivesOutage(t *testing.T) {
	t.Parallel()
	c := localcloudtest.Start(t)
	s := newStore(t, c, 30*time.Second, watching(t, c))
	run(t, s)
	put(t, c, "key_golden", map[string]any{"orgId": "before", "secret": goldenSecret})
	org := func() string {
		k, err := s.Lookup(t.Context(), "key_golden")
		if err != nil {
			return err.Error()
		}
		s.Prove(k)
		return k.OrgID
	}
	before := c.Faults().Counters().DocumentsRead
	if got := org(); got != "before" {
		t.Fatalf("Lookup = %s", got)
	}
	eventually(t, "the key is not watched", func() bool { return c.Faults().Counters().DocumentsRead == before+2 })
	c.Restart(t)
	put(t, c, "key_golden", map[string]any{"orgId": "after", "secret": goldenSecret})
	eventually(t, "the change after the outage is not seen", func() bool { return org() == "after" })
}

// A version that is cached stays; another one, or none, is forgotten.
func TestChanged(t *testing.T) {
	t.Parallel()
	s, err := NewStore(StoreConfig{TTL: 30 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.cache.Set("key_golden", entry{key: &Key{}, version: goldenTime, read: time.Now()})
	for _, tc := range []struct {
		version time.Time
		stays   bool
	}{{goldenTime, true}, {goldenTime.Add(time.Microsecond), false}, {time.Time{}, false}} {
		s.cache.Set("key_golden", entry{key: &Key{}, version: goldenTime, read: time.Now()})
		s.changed("key_golden", tc.version)
		if _, ok := s.cache.GetEntryQuietly("key_golden"); ok != tc.stays {
			t.Errorf("after version %s: cached is %t, want %t", tc.version, ok, tc.stays)
		}
	}
}

// on is a Documents that keeps what is watched, or refuses all.
type on struct {
	mu      sync.Mutex
	ids     []string
	started int
	refuse  bool
}

func (o *on) Watch(ctx context.Context, path string, _ func(*firestore.DocumentSnapshot) bool) error {
	o.mu.Lock()
	o.started++
	if o.refuse {
		o.mu.Unlock()
		return errors.New("no room")
	}
	o.ids = append(o.ids, path)
	o.mu.Unlock()
	<-ctx.Done()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ids = slices.DeleteFunc(o.ids, func(p string) bool { return p == path })
	return context.Cause(ctx)
}

func (o *on) begun() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.started
}

func (o *on) watched() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	ids := slices.Clone(o.ids)
	slices.Sort(ids)
	return ids
}

func watchesIn(t *testing.T, o *on) (looked chan string, stop func()) {
	t.Helper()
	s := &Store{documents: o}
	w := watches{max: 2, ttl: DefaultTTL, watch: s.watch}
	ctx, cancel := context.WithCancel(t.Context())
	looked, done := make(chan string), make(chan struct{})
	go func() { defer close(done); w.run(ctx, looked) }()
	return looked, func() { cancel(); <-done }
}

// The keys used last are watched, within the bound. One that others need makes room when its record is no
// longer cached; one that nobody uses is let go.
func TestWatchesAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := &on{}
		looked, stop := watchesIn(t, o)
		want := func(when string, ids ...string) {
			t.Helper()
			synctest.Wait()
			for i := range ids {
				ids[i] = Collection + "/" + ids[i]
			}
			if got := o.watched(); !slices.Equal(got, ids) {
				t.Errorf("%s: watched are %v, want %v", when, got, ids)
			}
		}
		looked <- "a"
		looked <- "b"
		looked <- "c"
		looked <- "a"
		want("full", "a", "b")
		<-time.After(DefaultTTL - time.Millisecond)
		looked <- "a"
		looked <- "c"
		want("all are cached still", "a", "b")
		<-time.After(time.Millisecond)
		looked <- "c"
		want("b is not cached", "a", "c")
		if n := o.begun(); n != 3 {
			t.Errorf("%d watches were begun, want 3", n)
		}
		<-time.After(watchIdle / 2)
		looked <- "a"
		<-time.After(watchIdle/2 + watchIdle/10)
		want("c is idle", "a")
		<-time.After(watchIdle)
		want("all are idle")
		looked <- "c"
		want("c is used again", "c")
		stop()
		want("the end")
	})
}

// What is refused is asked for again, not at once; the end does not wait for that.
func TestWatchRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := &on{refuse: true}
		looked, stop := watchesIn(t, o)
		looked <- "a"
		looked <- "a"
		synctest.Wait()
		if n := o.begun(); n != 1 {
			t.Errorf("begun %d times, want once", n)
		}
		<-time.After(rewatch)
		synctest.Wait()
		if n := o.begun(); n != 2 {
			t.Errorf("begun %d times after the pause, want twice", n)
		}
		before := time.Now()
		stop()
		if d := time.Since(before); d != 0 {
			t.Errorf("the end took %s", d)
		}
	})
}
