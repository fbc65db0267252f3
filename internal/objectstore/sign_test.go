package objectstore_test

import (
	"sync"
	"testing"
	"time"

	"exportd/internal/objectstore"
)

// Many requests show links at a time; with the race detector this fails where they share options with each
// other or with other calls.
func TestSignedURLSideBySide(t *testing.T) {
	t.Parallel()
	s := newStore(t, objectstore.Config{})
	mustWrite(t, s, "exports/a.csv", []byte("id\r\n"))
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			if _, err := s.SignedURL(t.Context(), "exports/a.csv", time.Hour, "a.csv"); err != nil {
				t.Error(err)
			}
		})
		all.Go(func() {
			if _, err := s.Attrs(t.Context(), "exports/a.csv"); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}
