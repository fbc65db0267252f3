package apikey

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"exportd/internal/heaptest"
	"exportd/internal/localcloud/localcloudtest"
	"exportd/jobs"
)

// TestUnknownKeysInMemory has a Store remember of many keys, as made-up ones are, that there is none: what
// stays in memory has a bound, and a key that is in use stays known. It runs alone, as it measures the heap.
// Of nonces a Store remembers nothing: they are documents.
func TestUnknownKeysInMemory(t *testing.T) {
	const most = 8 << 20
	c := localcloudtest.Start(t)
	s := newStore(t, c, 30*time.Second)
	put(t, c, "key_used", map[string]any{"orgId": "org1", "secret": goldenSecret})
	look := func() {
		if _, err := s.Lookup(t.Context(), "key_used"); err != nil {
			t.Fatal(err)
		}
	}
	look()
	reads := func() int64 { return c.Faults().Counters().Methods["Firestore/BatchGetDocuments"].Calls }
	begun, before, start := reads(), heaptest.InUse(), time.Now()
	for i := range heaptest.Entries() {
		s.cache.Set(fmt.Sprintf("key_%024d", i), entry{err: jobs.ErrNotFound})
		if i%1000 == 0 {
			look()
		}
	}
	s.cache.CleanUp()
	grown := heaptest.InUse() - before
	t.Logf("%d unknown keys: %d entries, %.2f MiB; a key in use was read %d times more", heaptest.Entries(), s.cache.EstimatedSize(), float64(grown)/(1<<20), reads()-begun)
	if n := s.cache.EstimatedSize(); n > maxCached || grown > most {
		t.Errorf("%d entries, %d MiB; want at most %d, %d MiB", n, grown>>20, maxCached, most>>20)
	}
	if n := reads() - begun; n > 1+int64(time.Since(start)/s.ttl) {
		t.Errorf("a key in use was pushed out by unknown ones, and read %d times", n)
	}
	runtime.KeepAlive(s)
}
