package jobstore_test

import (
	"testing"
	"time"

	"exportd/jobs"
)

// TestKeysOfEndedJobs: a key attaches to what is alive. What ended without a file is an answer to
// a key that somebody named, and none to one that a repeated request implies; of a job that was
// deleted, or whose file has expired, there is nothing left to give.
func TestKeysOfEndedJobs(t *testing.T) {
	t.Parallel()
	b := open(t, jobs.Limits{})
	claim := func(tx *jobs.Tx) error { _, err := tx.Claim("w"); return err }
	cancel := func(tx *jobs.Tx) error { return tx.Cancel("test") }
	remove := func(tx *jobs.Tx) error { return tx.Delete("test") }
	fail := func(t *testing.T, id string) {
		t.Helper()
		var lease jobs.Lease
		b.update(t, id, func(tx *jobs.Tx) (err error) { lease, err = tx.Claim("w"); return err })
		b.update(t, id, func(tx *jobs.Tx) error {
			return tx.Settle(lease, jobs.Fail(jobs.CodeInternal, jobs.Permanent, "test", "", nil))
		})
	}
	succeed := func(t *testing.T, id string) {
		t.Helper()
		var lease jobs.Lease
		b.update(t, id, func(tx *jobs.Tx) (err error) { lease, err = tx.Claim("w"); return err })
		b.update(t, id, func(tx *jobs.Tx) error { return tx.Pin(lease, b.clock.now(), 3) })
		b.update(t, id, func(tx *jobs.Tx) error {
			return tx.Succeed(lease, jobs.Result{Object: tx.Job.ObjectPrefix() + "1/users.csv", Rows: 3, Size: 9})
		})
	}
	month := 0
	for _, tc := range []struct {
		name           string
		end            func(t *testing.T, id string)
		implied, named bool // whether a second request gets the job of the first
	}{
		{"queued", func(*testing.T, string) {}, true, true},
		{"running", func(t *testing.T, id string) { b.update(t, id, claim) }, true, true},
		{"succeeded", succeed, true, true},
		{"failed", fail, false, true},
		{"canceled", func(t *testing.T, id string) { b.update(t, id, cancel) }, false, true},
		{"canceled and deleted", func(t *testing.T, id string) { b.update(t, id, cancel); b.update(t, id, remove) }, false, false},
		{"succeeded and deleted", func(t *testing.T, id string) { succeed(t, id); b.update(t, id, remove) }, false, false},
		{"succeeded, its file at its end", func(t *testing.T, id string) {
			succeed(t, id)
			b.clock.add(23*time.Hour + 59*time.Minute + 59*time.Second)
		}, true, true},
		{"past its file's life, key still good", func(t *testing.T, id string) {
			b.clock.add(time.Minute) // the key was made before the file
			succeed(t, id)
			b.update(t, id, func(tx *jobs.Tx) error { tx.Job.FileExpiresAt = b.clock.now(); return nil })
		}, false, false},
	} {
		for _, implied := range []bool{true, false} {
			month++
			s := request("org", month)
			s.IdempotencyKey, s.Implied, s.Fresh = tc.name, implied, true
			if implied {
				s.IdempotencyKey = "\x00" + tc.name
			}
			first := b.submit(t, s).Job.ID
			tc.end(t, first)
			want := tc.named
			if implied {
				want = tc.implied
			}
			second := b.submit(t, s)
			if got := second.Job.ID == first; got != want || second.Reused != want {
				t.Errorf("%s, implied %t: the key gives the same job: %t, want %t", tc.name, implied, got, want)
			}
			if third := b.submit(t, s); third.Job.ID != second.Job.ID || !third.Reused {
				t.Errorf("%s, implied %t: the key was not given on to the new job", tc.name, implied)
			}
		}
	}
}
