package backoff_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"exportd/internal/backoff"
)

// TestDoubling: the pauses are those that were asked for, and by chance: many do not come back at once.
func TestDoubling(t *testing.T) {
	t.Parallel()
	seen := map[time.Duration]bool{}
	for range 200 {
		p := backoff.Doubling(time.Second, 8*time.Second)
		for round := range 2 {
			for i, want := range []time.Duration{1, 2, 4, 8, 8, 8} {
				want *= time.Second
				got := p.Next()
				if got < want/2 || got > want*3/2 {
					t.Fatalf("round %d: pause %d is %v, want %v, a half more or less", round, i, got, want)
				}
				seen[got] = true
			}
			p.Reset()
		}
	}
	if len(seen) < 1000 {
		t.Errorf("%d of 2400 pauses differ", len(seen))
	}
}

func TestWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		if err := backoff.Doubling(time.Minute, time.Minute).Wait(t.Context()); err != nil || time.Since(begun) < time.Minute/2 {
			t.Errorf("Wait = %v after %v", err, time.Since(begun))
		}
		cause := errors.New("no time")
		ctx, stop := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { stop(cause) })
		begun = time.Now()
		if err := backoff.Doubling(time.Minute, time.Minute).Wait(ctx); !errors.Is(err, cause) || time.Since(begun) != time.Second {
			t.Errorf("Wait whose context ended = %v after %v", err, time.Since(begun))
		}
	})
}
