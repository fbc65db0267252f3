package apikey

import (
	"flag"
	"fmt"
	"runtime"
	"testing"
	"time"

	"exportd/internal/localcloud/localcloudtest"
	"exportd/jobs"
)

// strangersEntries is less than a million by default: that takes a minute with the race detector.
var strangersEntries = flag.Int("strangers", 150_000, "how many unknown keys TestUnknownKeysInMemory puts into the cache")

// TestUnknownKeysInMemory has a Store remember of many keys, as made-up ones are, that there is none:
// what stays in memory has a bound, and a key that is in use stays known. It runs alone, as it
// measures the heap. Of nonces a Store remembers nothing: they are documents.
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
	begun, before, start := reads(), heap(), time.Now()
	for i := range *strangersEntries {
		s.cache.Set(fmt.Sprintf("key_%024d", i), entry{err: jobs.ErrNotFound})
		if i%1000 == 0 {
			look()
		}
	}
	s.cache.CleanUp()
	grown := heap() - before
	t.Logf("%d unknown keys: %d entries, %.2f MiB; a key in use was read %d times more", *strangersEntries, s.cache.EstimatedSize(), float64(grown)/(1<<20), reads()-begun)
	if n := s.cache.EstimatedSize(); n > maxCached || grown > most {
		t.Errorf("%d entries, %d MiB; want at most %d, %d MiB", n, grown>>20, maxCached, most>>20)
	}
	if n := reads() - begun; n > 1+int64(time.Since(start)/s.ttl) {
		t.Errorf("a key in use was pushed out by unknown ones, and read %d times", n)
	}
	runtime.KeepAlive(s)
}

func heap() int {
	runtime.GC()
	runtime.GC() // what a finalizer or a pool held
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}
