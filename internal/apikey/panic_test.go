package apikey

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"cloud.google.com/go/firestore"
	"go.uber.org/zap"

	"exportd/internal/panics"
)

// minedDocuments panic at the first watch.
type minedDocuments struct {
	on
	met atomic.Int32
}

func (d *minedDocuments) Watch(ctx context.Context, path string, fn func(*firestore.DocumentSnapshot) bool) error {
	if d.met.Add(1) == 1 {
		panic("stepped on a mine")
	}
	return d.on.Watch(ctx, path, fn)
}

// TestPanicInRun: what a Store does beside the requests goes on after a panic: a key is watched, uses are
// noted.
func TestPanicInRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &minedDocuments{}
		calls := 0
		now := func() time.Time {
			if calls++; calls == 1 { // of noteUses
				panic("stepped on a mine")
			}
			return time.Now()
		}
		s, err := NewStore(StoreConfig{Documents: d, Now: now, Panics: panics.NewReporter(zap.NewNop())})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { _ = s.Run(ctx) })
		s.used <- "key_a"
		s.noteLooked("key_a")
		<-time.After(time.Minute)
		if got := d.watched(); len(got) != 1 || d.met.Load() != 2 {
			t.Errorf("watched are %v after %d tries", got, d.met.Load())
		}
		cancel()
		running.Wait()
		if calls != 1 {
			t.Errorf("noteUses was at work %d times", calls)
		}
	})
}
