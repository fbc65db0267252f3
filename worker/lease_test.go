package worker

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"exportd/internal/export"
	"exportd/jobs"
)

// TestCalmRenewals: a document bears a write a second, so a part that is at work for long writes its own half
// as often; what a short one and a job show moves as it did.
func TestCalmRenewals(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		calm        bool
		length      time.Duration
		least, most int
	}{{true, 60 * time.Second, 20, 26}, {true, 12 * time.Second, 7, 8}, {false, 60 * time.Second, 39, 40}} {
		synctest.Test(t, func(t *testing.T) {
			p := &Pool{policy: jobs.Policy{LeaseFor: 30 * time.Second, RenewEvery: 5 * time.Second}}
			var progress export.Progress
			renewals := 0
			err := p.underLease(t.Context(), &progress, c.calm, func(context.Context, int64, int64) error { renewals++; return nil }, func(ctx context.Context) error {
				for end := time.Now().Add(c.length); time.Now().Before(end); {
					progress.Rows.Add(800)
					wait(ctx, 100*time.Millisecond)
				}
				return nil
			})
			if err != nil || renewals < c.least || renewals > c.most {
				t.Errorf("calm %v: %d renewals in %s (%v), %d to %d are wanted", c.calm, renewals, c.length, err, c.least, c.most)
			}
		})
	}
}
