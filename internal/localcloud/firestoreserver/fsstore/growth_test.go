package fsstore

import (
	"flag"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"github.com/cockroachdb/pebble/v2"

	"exportd/internal/localcloud/firestoreserver/fsvalue"
)

var (
	growthDocs    = flag.Int("growth.docs", 16, "documents that TestGrowth updates")
	growthUpdates = flag.Int("growth.updates", 160, "how often it updates each of them")
	growthHours   = flag.Int("growth.hours", 8, "hours of the store's clock that it takes for that; 1 h of versions is kept")
	growthText    = flag.Int("growth.text", 3000, "bytes of text in each, of which it has another each time")
	growthDisk    = flag.Bool("growth.disk", false, "in a folder instead of memory")
)

// What updates leave behind must go while the store runs, by its own clock: the tables hold at most twice
// what can still be read, with logs beside it, and what the process holds does not grow.
func TestGrowth(t *testing.T) {
	t.Parallel()
	w, swept := newWall(), make(chan struct{}, 1)
	s := open(t, Options{Dir: t.TempDir(), InMemory: !*growthDisk, Now: w.now, swept: swept})
	paths := make([]fsvalue.Path, *growthDocs)
	for i := range paths {
		paths[i] = path(t, "c/d"+strings.Repeat("x", i%7)+string(rune('a'+i%26))+time.Duration(i).String())
	}
	step := time.Duration(*growthHours) * time.Hour / time.Duration(*growthUpdates)
	var early uint64
	for n := range *growthUpdates {
		for first := 0; first < len(paths); first += 500 {
			some := paths[first:min(first+500, len(paths))]
			before := len(history(s))
			_, err := s.Apply(t.Context(), &Commit{DB: 1, Docs: some, Run: func(a *Applier) error {
				for i, p := range some {
					if _, err := a.Put(p, &State{Fields: growing(n, i)}, false); err != nil {
						return err
					}
				}
				return nil
			}})
			if err != nil {
				t.Fatal(err)
			}
			if len(history(s)) > before { // a bucket has begun: what is done about it is part of the write here
				<-swept
			}
		}
		w.move(step)
		if n == *growthUpdates/3 {
			early = heap()
		}
	}
	live, m := liveHistory(t, s, w), s.db.Metrics()
	tables, total := m.Total().TablesSize, m.DiskSpaceUsage()
	t.Logf("history that can be read: %.1f MB; tables: %.1f MB; with logs: %.1f MB; heap at a third: %.1f MB, at the end: %.1f MB; buckets: %d",
		mb(live), mb(tables), mb(int64(total)), mb(int64(early)), mb(int64(heap())), len(history(s)))
	if logs := int64(2 * memTableBytes); tables > 2*live || int64(total) > 2*live+logs {
		t.Errorf("tables have %d bytes, and all files %d; more than twice the %d of history that can be read", tables, total, live)
	}
	if n := len(history(s)); n > bucketsPerRetention+3 {
		t.Errorf("%d buckets of history are kept", n)
	}
	if len(s.touched) > 1 || len(s.closed) > 1 {
		t.Errorf("%d and %d groups are known, of one", len(s.touched), len(s.closed))
	}
}

func history(s *Store) []int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return append([]int64(nil), s.buckets...)
}

func growing(n, i int) map[string]*fsvalue.Value {
	f := number(n)
	f["i"] = &fsvalue.Value{ValueType: &firestorepb.Value_IntegerValue{IntegerValue: int64(i)}}
	text := make([]byte, *growthText)                                                         // that does not become less by compression
	_, _ = rand.NewChaCha8([32]byte{byte(n), byte(n >> 8), byte(i), byte(i >> 8)}).Read(text) // never fails
	for i := range text {
		text[i] &= 0x7f // UTF-8
	}
	f["text"] = &fsvalue.Value{ValueType: &firestorepb.Value_StringValue{StringValue: string(text)}}
	return f
}

// liveHistory is the size of the versions that ended within the retention period.
func liveHistory(t *testing.T, s *Store, w *wall) (n int64) {
	t.Helper()
	horizon := w.us.Load() - s.retention
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{spaceHistory}, UpperBound: []byte{spaceHistory + 1}})
	if err != nil {
		t.Fatal(err)
	}
	for ok := it.First(); ok; ok = it.Next() {
		if k := it.Key(); instant(k[len(k)-historyKeySuffix:]) >= horizon {
			n += int64(len(k) + len(it.Value()))
		}
	}
	if err := it.Close(); err != nil {
		t.Fatal(err)
	}
	return n
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func mb(n int64) float64 { return float64(n) / 1e6 }
