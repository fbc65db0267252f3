package jobs

import (
	"testing"
	"time"
)

// TestForgotten: a job that waits for a place for longer than anybody leaves a free one alone tries again,
// not before, and not one that waits for its next attempt.
func TestForgotten(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	policy := Policy{NotifyAgain: 15 * time.Second, Skew: 5 * time.Second, BackoffMax: 20 * time.Minute, LeaseFor: time.Minute}
	job := func() *Job {
		j := &Job{ID: NewID(), Schema: SchemaVersion, OrgID: "org", Kind: "vip-users", State: Queued, CreatedAt: now, WakeAt: now.Add(placeWait)}
		j.Fingerprint = Fingerprint(j.OrgID, j.Kind, 1, j.Params)
		return j
	}
	for after, want := range map[time.Duration]bool{
		0: false, placeCheck: false, placeDoubt: false, placeDoubt + time.Second: true, 30 * time.Minute: true, placeWait - 4*time.Minute: false, // notified soon
	} {
		j := job()
		tx := NewTx(policy, now.Add(after), "", j, nil)
		if tx.Forgotten() != want || tx.Overdue() != want {
			t.Errorf("after %s: Forgotten() = %t, Overdue() = %t, want %t", after, tx.Forgotten(), tx.Overdue(), want)
		}
		duty, err := tx.Wake()
		if err != nil || (duty == NotifyJob) != want || want && !j.WakeAt.After(tx.Now) {
			t.Errorf("after %s: Wake() = %d, %v, wakes at %s", after, duty, err, j.WakeAt)
		}
	}
	j := job()
	j.NotBefore = now.Add(40 * time.Minute)
	if tx := NewTx(policy, now.Add(20*time.Minute), "", j, nil); tx.Forgotten() {
		t.Error("a job that waits for its next attempt is not forgotten")
	}
}
