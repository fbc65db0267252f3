package fsstore

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"github.com/cockroachdb/pebble/v2"
	"go.uber.org/goleak"

	"exportd/internal/localcloud/firestoreserver/fsvalue"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// wall is a clock that tests set, in microseconds.
type wall struct{ us atomic.Int64 }

func newWall() *wall {
	w := &wall{}
	w.us.Store(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro())
	return w
}

func (w *wall) now() time.Time        { return time.UnixMicro(w.us.Load()) }
func (w *wall) move(by time.Duration) { w.us.Add(by.Microseconds()) }

func open(t *testing.T, opt Options) *Store {
	t.Helper()
	s, err := Open(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close() = %v", err)
		}
	})
	return s
}

func path(t *testing.T, name string) fsvalue.Path {
	t.Helper()
	p, err := fsvalue.ParseDocument("projects/p/databases/(default)/documents/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func number(n int) map[string]*fsvalue.Value {
	return map[string]*fsvalue.Value{"n": {ValueType: &firestorepb.Value_IntegerValue{IntegerValue: int64(n)}}}
}

// put commits one document and returns the instant.
func put(t *testing.T, s *Store, p fsvalue.Path, n int) int64 {
	t.Helper()
	at, err := s.Apply(t.Context(), &Commit{DB: 1, Docs: []fsvalue.Path{p}, Run: func(a *Applier) error {
		_, err := a.Put(p, &State{Fields: number(n)}, false)
		return err
	}})
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// Instants only grow, whatever the wall clock does, also over a restart: nothing may come to lie before an
// instant that a reader was told.
func TestClockNeverRepeats(t *testing.T) {
	t.Parallel()
	dir, w := t.TempDir(), newWall()
	last := int64(0)
	for range 3 {
		s, err := Open(Options{Dir: dir, Now: w.now})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 5 {
			read, err := s.Now()
			if err != nil {
				t.Fatal(err)
			}
			if read < last {
				t.Errorf("read at %d after %d", read, last)
			}
			if last = put(t, s, path(t, fmt.Sprint("c/", i)), i+int(read%1000)); last <= read {
				t.Errorf("commit at %d, not after the read at %d", last, read)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		w.move(-time.Minute)
	}
}

func TestOldVersions(t *testing.T) {
	t.Parallel()
	w := newWall()
	s := open(t, Options{InMemory: true, Now: w.now, Retention: time.Minute})
	p := path(t, "c/d")
	var at []int64
	for i := range 30 {
		at = append(at, put(t, s, p, i))
		w.move(10 * time.Second)
		if err := s.dropHistory(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for i, instant := range at {
		v, err := s.At(instant)
		if old := len(at)-i > 6; old {
			if !errors.Is(err, ErrTooOld) {
				t.Errorf("At(%d s ago) = %v, want %v", 10*(len(at)-i), err, ErrTooOld)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		d, err := v.Get(1, p)
		if err != nil || d == nil || d.Update != instant {
			t.Errorf("version %d = %v, %v, want the one of %d", i, d, err, instant)
		}
		if err := v.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(s.bucketsAfter(0)); n > 10 {
		t.Errorf("%d buckets of history kept for a minute", n)
	}
	if _, err := s.At(w.now().Add(time.Second).UnixMicro()); !errors.Is(err, ErrFuture) {
		t.Errorf("At(in a second) = %v, want %v", err, ErrFuture)
	}
}

// A folder that another program wrote is named, and left as it is.
func TestOtherFormat(t *testing.T) {
	t.Parallel()
	opt := Options{Dir: t.TempDir()}
	s, err := Open(opt)
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, path(t, "c/d"), 1)
	if err := errors.Join(s.db.Set(metaKey("format"), putInstant(nil, formatVersion+1), pebble.Sync), s.Close()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		_, err := Open(opt)
		if want := "open " + opt.Dir + ": it has format 2, and this program reads format 1"; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Open() = %v, want %q", err, want)
		}
	}
}
