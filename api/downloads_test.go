package api

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"exportd/jobs"
)

// slowNotes is a store that writes when it is told to, or fails.
type slowNotes struct {
	jobs.LinkStore
	asked  chan []jobs.Download
	answer chan error
}

func (s *slowNotes) NoteDownloads(_ context.Context, some ...jobs.Download) error {
	s.asked <- some
	return <-s.answer
}

// TestDownloadsAtOnce: those of a kind that come at once are two writes, of the first and of all others,
// which wait for it; where the first cannot be written, the next is.
func TestDownloadsAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &slowNotes{asked: make(chan []jobs.Download), answer: make(chan error)}
		d := newDownloads(store, zap.NewNop())
		one := jobs.NewDownload(&jobs.Job{ID: jobs.NewID(), OrgID: "org1"}, "", "me", "::1", "x", noon)
		errs := make(chan error, 50)
		for range cap(errs) {
			go func() { errs <- d.note(t.Context(), one) }()
		}
		<-store.asked
		synctest.Wait()
		hurried, cancel := context.WithCancel(t.Context())
		cancel()
		if err := d.note(hurried, one); !errors.Is(err, context.Canceled) {
			t.Errorf("note() = %v for who has gone away", err)
		}
		store.answer <- jobs.ErrUnavailable
		<-store.asked
		if err := <-errs; !errors.Is(err, jobs.ErrUnavailable) {
			t.Errorf("note() = %v of what was not written", err)
		}
		store.answer <- nil
		for range cap(errs) - 1 {
			if err := <-errs; err != nil {
				t.Errorf("note() = %v", err)
			}
		}
		go d.flush(t.Context())
		if rest := <-store.asked; len(rest) != 1 || rest[0].Count != int64(cap(errs)-2) {
			t.Errorf("the rest is %+v", rest)
		}
		store.answer <- nil
	})
}

// TestDownloadsAreHeld: what waits to be written has a bound of its own, beyond which each is a write; what
// one commit cannot write is not counted again with the others; and a clock that goes back an hour forgets
// nothing.
func TestDownloadsAreHeld(t *testing.T) {
	t.Parallel()
	l := newLinkBench(t)
	d, at := l.downloads, noon.Add(3*time.Hour)
	note := func(i int, at time.Time) {
		t.Helper()
		j := &jobs.Job{ID: fmt.Sprint("job", i), OrgID: "org1"}
		if err := d.note(t.Context(), jobs.NewDownload(j, "", "me", "", "", at)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range downloadsHeld {
		note(i, at)
		note(i, at)
	}
	for range 2 {
		note(downloadsHeld, at)
	}
	note(0, at.Add(-time.Hour))
	if len(d.known) != downloadsHeld || len(d.ofJob) != downloadsHeld {
		t.Errorf("%d downloads of %d jobs are held", len(d.known), len(d.ofJob))
	}
	if n := l.jobs.noted.Load(); n != downloadsHeld+3 {
		t.Errorf("%d writes, want one for each that is not held", n)
	}
	failing := &failOnce{LinkStore: l.jobs}
	d.store = failing
	d.flush(t.Context())
	d.flush(t.Context())
	if failing.written != downloadsHeld {
		t.Errorf("%d repeats are written, want %d", failing.written, downloadsHeld)
	}
}

// failOnce is a store whose second commit fails.
type failOnce struct {
	jobs.LinkStore
	commits int
	written int64
}

func (f *failOnce) NoteDownloads(_ context.Context, some ...jobs.Download) error {
	if f.commits++; f.commits == 2 {
		return jobs.ErrUnavailable
	}
	for _, d := range some {
		f.written += d.Count
	}
	return nil
}
