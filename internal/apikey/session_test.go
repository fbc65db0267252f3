package apikey

import (
	"context"
	"errors"
	"testing"
	"time"

	"exportd/internal/localcloud/localcloudtest"
	"exportd/jobs"
)

// A session that was ended in one process has ended in each, until it would have by itself; while that cannot
// be told nobody says that it goes on.
func TestEndedSessions(t *testing.T) {
	t.Parallel()
	c := localcloudtest.Start(t)
	here, there := newStore(t, c, 0), newStore(t, c, 0)
	until := time.Now().Add(time.Hour)
	for range 2 { // twice is once
		if err := here.EndSession(t.Context(), "one", until); err != nil {
			t.Fatal(err)
		}
	}
	for id, want := range map[string]bool{"one": true, "two": false, "": false} {
		for _, s := range []*Store{here, there} {
			if ended, err := s.SessionEnded(t.Context(), id); err != nil || ended != want {
				t.Errorf("SessionEnded(%q) = %t, %v", id, ended, err)
			}
		}
	}
	if err := here.UseNonce(t.Context(), "key_one1", "one", until); err != nil {
		t.Errorf("a nonce of the same text = %v", err)
	}
	if err := here.EndSession(t.Context(), "old", time.Now().Add(-time.Hour)); err != nil || here.sweep(t.Context()) != 1 {
		t.Errorf("one that would have ended is not swept: %v", err)
	}
	watch, w := context.WithCancel(t.Context())
	defer w()
	watcher, told := newStore(t, c, 0, watching(t, c)), make(chan struct{}, 10)
	put(t, c, "key_golden", map[string]any{"orgId": "before", "secret": goldenSecret})
	done := make(chan error, 1)
	go func() {
		done <- watcher.WatchSession(watch, "four", "key_golden", func() { told <- struct{}{} })
	}()
	<-told // as both documents are
	<-told
	if err := there.EndSession(t.Context(), "four", until); err != nil {
		t.Fatal(err)
	}
	<-told
	put(t, c, "key_golden", map[string]any{"orgId": "after", "secret": goldenSecret})
	<-told
	w()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("watched until = %v", err)
	}
	if err := here.WatchSession(t.Context(), "one", "", func() {}); !errors.Is(err, jobs.ErrUnavailable) {
		t.Errorf("watched without documents = %v", err)
	}
	_ = c.Firestore.Close()
	if ended, err := there.SessionEnded(t.Context(), "one"); err == nil || ended {
		t.Errorf("without Firestore = %t, %v", ended, err)
	}
	if err := there.EndSession(t.Context(), "three", until); err == nil || errors.Is(err, jobs.ErrNotFound) {
		t.Errorf("ended without Firestore = %v", err)
	}
}
