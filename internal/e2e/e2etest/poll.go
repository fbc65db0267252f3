package e2etest

import (
	"context"
	"testing"
	"time"
)

// Until asks ok every 20 ms until it says yes; the test fails when it has not within the time given. what
// says what was waited for.
func Until(tb testing.TB, within time.Duration, what string, ok func() bool) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), within)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			tb.Fatalf("not within %s: %s", within, what)
		}
	}
}
