package jobstore_test

import (
	"context"
	"testing"
	"time"

	"exportd/jobs"
)

// TestReceiversAreForgotten: what is remembered of addresses that nobody calls any more does not stay for
// good. Past its life it counts for nothing, whether or not a TTL policy has deleted it.
func TestReceiversAreForgotten(t *testing.T) {
	t.Parallel()
	b := open(t, jobs.Limits{})
	const day = 24 * time.Hour
	change := func(address string, fn func(*jobs.Receiver)) {
		t.Helper()
		if err := b.ChangeReceiver(t.Context(), "org", address, "https://x.example", fn); err != nil {
			t.Fatal(err)
		}
	}
	fail := func(r *jobs.Receiver) {
		if r.FailingSince.IsZero() {
			r.FailingSince = b.clock.Now()
		}
		r.Exhausted++
		r.LastFailure = b.clock.Now()
	}
	gone := func(r *jobs.Receiver) { fail(r); r.Suspended, r.SuspendedAt, r.Why = true, b.clock.Now(), "410" }
	known := func() (failing, suspended, listed bool, documents int) {
		t.Helper()
		rs, err := b.Receivers(t.Context(), "org", "https://x.example", "https://x.example/gone")
		if err != nil {
			t.Fatal(err)
		}
		list, err := b.SuspendedReceivers(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		docs, err := b.client.Collection("ExportCallbackReceivers").Documents(context.Background()).GetAll()
		if err != nil {
			t.Fatal(err)
		}
		return rs[0].Exhausted > 0, rs[1].Suspended, len(list) > 0, len(docs)
	}
	begun := b.clock.Now()
	change("https://x.example", fail)
	change("https://x.example/gone", gone)
	for _, step := range []struct {
		at                         time.Duration
		failing, suspended, listed bool
		purged                     int // documents left by the purge
	}{
		{0, true, true, true, 2},
		{30*day - time.Microsecond, true, true, true, 2},
		{30 * day, false, true, true, 1},
		{180*day - time.Microsecond, false, true, true, 1},
		{180 * day, false, false, false, 0},
	} {
		b.clock.Pass(begun.Add(step.at).Sub(b.clock.Now()))
		if failing, suspended, listed, _ := known(); failing != step.failing || suspended != step.suspended || listed != step.listed {
			t.Errorf("after %v: failing %t, suspended %t, listed %t, want %+v", step.at, failing, suspended, listed, step)
		}
		if err := b.PurgePointers(t.Context(), b.clock.Now()); err != nil {
			t.Fatal(err)
		}
		if _, _, _, documents := known(); documents != step.purged {
			t.Errorf("after %v: %d documents, want %d", step.at, documents, step.purged)
		}
	}
	// Each failure gives it its life anew, and one after its life begins to count at one.
	for range 3 {
		change("https://x.example", fail)
		b.clock.Pass(30*day - time.Microsecond)
	}
	if rs, err := b.Receivers(t.Context(), "org", "https://x.example"); err != nil || rs[0].Exhausted != 3 {
		t.Errorf("failures below a life apart = %+v, %v, want 3 counted", rs, err)
	}
	b.clock.Pass(time.Microsecond)
	change("https://x.example", fail)
	if rs, err := b.Receivers(t.Context(), "org", "https://x.example"); err != nil || rs[0].Exhausted != 1 {
		t.Errorf("a failure after the life of those before = %+v, %v, want 1 counted", rs, err)
	}
}
