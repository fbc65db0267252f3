package jobs_test

import (
	"testing"
	"time"

	"exportd/jobs"
)

// TestHeld: a lease is believed from its grant until it has run out by more than clocks may differ, and not
// when no grant can have given it.
func TestHeld(t *testing.T) {
	t.Parallel()
	const ttl, skew = 30 * time.Second, 5 * time.Second
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name  string
		until time.Time
		want  bool
	}{
		{"granted just now", now.Add(ttl), true},
		{"granted by a clock that is ahead as far as allowed", now.Add(ttl + skew), true},
		{"granted by a clock further ahead", now.Add(ttl + skew + time.Microsecond), false},
		{"granted by a clock an hour ahead", now.Add(ttl + time.Hour), false},
		{"until 2200", time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC), false},
		{"until the last year there is", time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), false},
		{"run out, within what clocks may differ", now.Add(-skew), true},
		{"run out", now.Add(-skew - time.Microsecond), false},
		{"none", time.Time{}, false},
	} {
		if got := jobs.Held(c.until, now, ttl, skew); got != c.want {
			t.Errorf("%s: Held() = %t, want %t", c.name, got, c.want)
		}
	}
}

// TestUnbelievableLease: what a worker holds whose clock is an hour ahead is taken over at the next look.
func TestUnbelievableLease(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.pass(time.Hour)
	d.claim()
	d.pass(-time.Hour)
	d.job.WakeAt = d.now
	if duty := d.wake(); duty != jobs.NotifyJob || d.job.Lease.Token != "" {
		t.Errorf("Wake() = %d, job %+v", duty, d.job)
	}
	d.plan(2)
	d.pass(time.Hour)
	d.claimPart(0)
	d.pass(-time.Hour)
	d.part(0).WakeAt = d.now
	var notify bool
	d.must(func(tx *jobs.Tx) (err error) { notify, err = tx.WakePart(d.job.PlanEpoch, 0); return })
	if p := d.part(0); !notify || p.State != jobs.PartPending || p.Lease.Token != "" {
		t.Errorf("WakePart() = %t, part %+v", notify, p)
	}
}
