package fsstore

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"runtime/metrics"
	"slices"
	"strconv"
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
	growthProcess = flag.String("growth.process", "", "documents and updates of each, as 1000,5000, for TestGrowthOfProcess, which has a process and a folder of its own; not with -race, whose own memory grows")
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
	var resident, live, cached []uint64 // after each update: RSS, what the last collection left, the block cache
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
		resident, live, cached = append(resident, rss(t)), append(live, liveHeap()), append(cached, uint64(s.db.Metrics().BlockCache.Size))
	}
	t.Logf("in each tenth, in MB: RSS %d, live heap %d, block cache %d", tenths(resident), tenths(live), tenths(cached))
	t.Logf("RSS in the second third: %d bytes, in the last: %d", mean(resident[len(resident)/3:len(resident)*2/3]), mean(resident[len(resident)*2/3:]))
	// It reads everything, which fills the cache: what the process holds is looked at before.
	readable, m := liveHistory(t, s, w), s.db.Metrics()
	tables, total := m.Total().TablesSize, m.DiskSpaceUsage()
	t.Logf("history that can be read: %.1f MB; tables: %.1f MB; with logs: %.1f MB; heap at a third: %.1f MB, at the end: %.1f MB; buckets: %d",
		mb(readable), mb(tables), mb(int64(total)), mb(int64(early)), mb(int64(heap())), len(history(s)))
	if logs := int64(2 * memTableBytes); tables > 2*readable || int64(total) > 2*readable+logs {
		t.Errorf("tables have %d bytes, and all files %d; more than twice the %d of history that can be read", tables, total, readable)
	}
	if n := len(history(s)); n > bucketsPerRetention+3 {
		t.Errorf("%d buckets of history are kept", n)
	}
	if len(s.touched) > 1 || len(s.closed) > 1 {
		t.Errorf("%d and %d groups are known, of one", len(s.touched), len(s.closed))
	}
}

// flatPercent is what the RSS of a process may be more in the last third than in the second, on average, in
// which compactions that are under way do not show. In the first third the memtables and the cache fill.
const flatPercent = 10

// What the machine sees of a process that does nothing else must not grow either.
func TestGrowthOfProcess(t *testing.T) {
	if *growthProcess == "" || runtime.GOOS != "linux" {
		t.Skip("without -growth.process, or without /proc")
	}
	docs, updates, _ := strings.Cut(*growthProcess, ",")
	out, err := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestGrowth$", "-test.v", "-growth.disk", "-growth.hours=1", "-growth.docs="+docs, "-growth.updates="+updates, "-growth.text="+strconv.Itoa(*growthText)).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var early, end int64
	_, said, _ := strings.Cut(string(out), "RSS in the second third:")
	if _, err := fmt.Sscanf(said, " %d bytes, in the last: %d", &early, &end); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
	if early == 0 || end*100 > early*(100+flatPercent) {
		t.Errorf("RSS is %.1f MB in the second third and %.1f MB in the last", mb(early), mb(end))
	}
}

// rss is what the machine's memory has of this process; 0 where it does not say.
func rss(t *testing.T) uint64 {
	t.Helper()
	raw, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	var size, resident uint64
	if _, err := fmt.Sscan(string(raw), &size, &resident); err != nil {
		t.Fatal(err)
	}
	return resident * uint64(os.Getpagesize())
}

// liveHeap is what was in use in Go's heap after the last collection of garbage. Without cgo the engine's
// memtables and its cache are in it.
func liveHeap() uint64 {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	return live[0].Value.Uint64()
}

// tenths are the means of ten parts, in MB.
func tenths(of []uint64) (out []uint64) {
	for part := range slices.Chunk(of, max(1, len(of)/10)) {
		out = append(out, mean(part)/1e6)
	}
	return out
}

func mean(of []uint64) (sum uint64) {
	for _, n := range of {
		sum += n
	}
	return sum / max(1, uint64(len(of)))
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
