package docwatch_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cloud.google.com/go/firestore"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"exportd/internal/connection"
	"exportd/internal/docwatch"
	"exportd/internal/localcloud/localcloudtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, localcloudtest.LeakOptions()...) }

const database = "projects/" + localcloudtest.Project + "/databases/(default)"

func open(t *testing.T, addr string, change ...func(*docwatch.Config)) *docwatch.Watcher {
	t.Helper()
	guard := &connection.Guard{}
	cfg := docwatch.Config{Database: database, Backoff: 10 * time.Millisecond, Dial: func(ctx context.Context) (docwatch.Connection, error) {
		return connection.DialFirestore(ctx, connection.FirestoreConfig{Emulator: addr, Guard: guard})
	}}
	for _, f := range change {
		f(&cfg)
	}
	w, err := docwatch.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
	})
	return w
}

// until watches until a document has a value, missing ones have -1, and gives what it saw.
func until(ctx context.Context, w *docwatch.Watcher, path string, want int64) (saw []int64, err error) {
	err = w.Watch(ctx, path, func(doc *firestore.DocumentSnapshot) bool {
		n := int64(-1)
		if doc.Exists() {
			n, _ = doc.Data()["n"].(int64)
		}
		saw = append(saw, n)
		return n == want
	})
	return saw, err
}

func set(t testing.TB, c *localcloudtest.Cloud, path string, n int) {
	t.Helper()
	if _, err := c.Firestore.Doc(path).Set(context.Background(), map[string]any{"n": n}); err != nil {
		t.Fatalf("set %s: %v", path, err)
	}
}

// Callers of a document share a target, documents a stream, streams a connection; changes come to all, also
// those after a restart of the server, and when all have left nothing is held.
func TestWatch(t *testing.T) {
	t.Parallel()
	cloud := localcloudtest.Start(t)
	const docs, callers = 60, 3
	w := open(t, cloud.Endpoints().Firestore, func(c *docwatch.Config) { c.Targets, c.Idle = 25, 20*time.Millisecond })
	path := func(i int) string { return fmt.Sprintf("Things/t%d", i) }
	for i := range docs {
		set(t, cloud, path(i), 0)
	}
	var first, second, last atomic.Int64
	var all sync.WaitGroup
	for i := range docs * callers {
		all.Go(func() {
			err := w.Watch(t.Context(), path(i%docs), func(doc *firestore.DocumentSnapshot) bool {
				switch doc.Data()["n"] {
				case int64(0):
					first.Add(1)
				case int64(1):
					second.Add(1)
				case int64(2):
					last.Add(1)
					return true
				}
				return false
			})
			if err != nil {
				t.Errorf("Watch = %v", err)
			}
		})
	}
	await(t, func() bool { return first.Load() == docs*callers })
	if got, want := w.Load(), (docwatch.Load{Connections: 1, Streams: 3, Targets: docs}); got != want {
		t.Errorf("Load = %+v, want %+v", got, want)
	}
	for i := range docs {
		set(t, cloud, path(i), 1)
	}
	await(t, func() bool { return second.Load() == docs*callers })
	cloud.Restart(t)
	for i := range docs {
		set(t, cloud, path(i), 2)
	}
	all.Wait()
	// Nobody was told again what had not changed.
	if n := first.Load() + second.Load(); n != 2*docs*callers {
		t.Errorf("%d calls of the first two values, want %d", n, 2*docs*callers)
	}
	await(t, func() bool { l := w.Load(); return l.Targets == 0 && l.Streams == 0 })
}

func TestWatchMissing(t *testing.T) {
	t.Parallel()
	cloud := localcloudtest.Start(t)
	w := open(t, cloud.Endpoints().Firestore)
	told := make(chan int64, 10)
	done := make(chan error, 1)
	go func() {
		done <- w.Watch(t.Context(), "Things/a", func(doc *firestore.DocumentSnapshot) bool {
			n, _ := doc.Data()["n"].(int64)
			if !doc.Exists() {
				n = -1
			}
			told <- n
			return n == 7
		})
	}()
	for i, change := range []func(){
		func() {},
		func() { set(t, cloud, "Things/a", 3) },
		func() { _, _ = cloud.Firestore.Doc("Things/a").Delete(t.Context()) },
		func() { set(t, cloud, "Things/a", 7) },
	} {
		change()
		if got, want := <-told, []int64{-1, 3, -1, 7}[i]; got != want {
			t.Errorf("told %d, want %d", got, want)
		}
	}
	if err := <-done; err != nil {
		t.Errorf("Watch = %v", err)
	}
	// A caller that comes to a document which is watched already is told at once.
	if saw, err := until(t.Context(), w, "Things/a", 7); err != nil || !slices.Equal(saw, []int64{7}) {
		t.Errorf("another Watch saw %v, %v", saw, err)
	}
}

func TestWatchIsBounded(t *testing.T) {
	t.Parallel()
	cloud := localcloudtest.Start(t)
	w := open(t, cloud.Endpoints().Firestore, func(c *docwatch.Config) { c.Targets, c.Streams, c.Connections = 2, 2, 2 })
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() { _, _ = until(ctx, w, fmt.Sprintf("Things/t%d", i), 1) })
	}
	await(t, func() bool { return w.Load() == docwatch.Load{Connections: 2, Streams: 4, Targets: 8} })
	if _, err := until(ctx, w, "Things/another", 1); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("Watch beyond the bound = %v, want ResourceExhausted", err)
	}
	cancel()
	all.Wait()
}

// await waits until something real, not the test's clock, has come true.
func await(t testing.TB, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(time.Minute)
	for !ok() {
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatal("condition did not come true")
		}
	}
}
