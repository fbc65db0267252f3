package jobstore

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"exportd/jobs"
)

// TestReserving: the new jobs of a key have its turn one after the other, those of another key meanwhile; who
// goes away leaves nothing behind.
func TestReserving(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newReserving()
		first, err := r.take(t.Context(), "key")
		other, oerr := r.take(t.Context(), "another")
		if err != nil || oerr != nil {
			t.Fatal(err, oerr)
		}
		inTurn, order := 0, make(chan int, 3)
		for i := range 3 {
			go func() {
				leave, err := r.take(t.Context(), "key")
				if err != nil {
					t.Error(err)
					return
				}
				inTurn++ // by one at a time, says the race detector
				order <- i
				leave()
			}()
		}
		ctx, cancel := context.WithCancel(t.Context())
		gone := make(chan error, 1)
		go func() { _, err := r.take(ctx, "key"); gone <- err }()
		synctest.Wait()
		if len(order) != 0 {
			t.Error("two have the turn of a key")
		}
		cancel()
		if err := <-gone; !errors.Is(err, jobs.ErrUnavailable) || !errors.Is(err, context.Canceled) {
			t.Errorf("who goes away is told %v", err)
		}
		first()
		other()
		synctest.Wait()
		if inTurn != 3 || len(r.keys) != 0 {
			t.Errorf("%d had their turn, and %d keys are left", inTurn, len(r.keys))
		}
	})
}
