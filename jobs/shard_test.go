package jobs_test

import (
	"testing"
	"time"

	"exportd/jobs"
)

// TestShardsAreEven: the jobs of a minute, and the parts of one job, lie in all shards alike.
func TestShardsAreEven(t *testing.T) {
	t.Parallel()
	const each = 400
	count := map[int]int{}
	for range each * jobs.Shards {
		count[jobs.ShardOf(jobs.NewID())]++
	}
	for shard, n := range count {
		if shard < 0 || shard >= jobs.Shards || n < each*3/4 || n > each*5/4 {
			t.Errorf("shard %d has %d of %d jobs", shard, n, each*jobs.Shards)
		}
	}
	if len(count) != jobs.Shards {
		t.Errorf("%d shards are in use, want %d", len(count), jobs.Shards)
	}
	parts := map[int]int{}
	id := jobs.NewID()
	for i := range 2 * jobs.Shards {
		parts[jobs.PartShard(id, i)]++
	}
	for shard := range jobs.Shards {
		if parts[shard] != 2 {
			t.Errorf("shard %d has %d parts of %d, want 2", shard, parts[shard], 2*jobs.Shards)
		}
	}
}

// TestShardFollowsState: what somebody waits for lies apart from what has ended, also after a rerun.
func TestShardFollowsState(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	live := jobs.ShardOf(d.job.ID)
	is := func(want int) {
		t.Helper()
		if d.job.Shard != want {
			t.Errorf("job is %s in shard %d, want %d", d.job.State, d.job.Shard, want)
		}
	}
	d.job.Shard = -5 // of a hand, or of none
	d.claim()
	is(live)
	d.must(func(tx *jobs.Tx) error { return tx.Cancel("") })
	is(jobs.EndedShard(live))
	d.must(func(tx *jobs.Tx) error { _, err := tx.Rerun(jobs.RerunFresh, ""); return err })
	is(live)
	d.job.Kind = "nonsense"
	d.must(func(tx *jobs.Tx) error { return tx.Invalidate() })
	is(jobs.EndedShard(live))
}

// TestRenewalsLeaveWakeAt: no renewal changes what is indexed, and a holder that stops renewing is found as
// soon as if each had: a second after its lease, and the skew, have run out.
func TestRenewalsLeaveWakeAt(t *testing.T) {
	t.Parallel()
	for name, part := range map[string]bool{"job": false, "part": true} {
		for alive := range 80 { // seconds until the holder dies
			d := newDesk(t)
			var l jobs.Lease
			if part {
				d.plan(2)
				l = d.claimPart(0)
			} else {
				l = d.claim()
			}
			wakeAt := func() time.Time {
				if part {
					return d.part(0).WakeAt
				}
				return d.job.WakeAt
			}
			held := func() bool {
				if part {
					return d.part(0).State == jobs.PartRunning
				}
				return d.job.State == jobs.Running
			}
			until, looks := l.Until, 0
			for s := 0; held(); s++ {
				if s > 0 && s <= alive && s%5 == 0 {
					was := wakeAt()
					d.must(func(tx *jobs.Tx) (err error) {
						if part {
							l, err = tx.RenewPart(d.job.PlanEpoch, 0, l, int64(s), 1)
						} else {
							l, err = tx.Renew(l, int64(s), 1)
						}
						return err
					})
					until = l.Until
					if !wakeAt().Equal(was) {
						t.Fatalf("%s: a renewal moved wakeAt", name)
					}
				}
				if !d.now.Before(wakeAt()) {
					looks++
					if part {
						d.must(func(tx *jobs.Tx) error { _, err := tx.WakePart(d.job.PlanEpoch, 0); return err })
					} else {
						d.wake()
					}
				}
				d.pass(time.Second)
			}
			late := d.now.Sub(until) - time.Second
			if want := d.policy.Skew + time.Second; late != want {
				t.Errorf("%s of a holder that died after %d s was taken %s after the end of its lease, want %s", name, alive, late, want)
			}
			if most := 2 + alive/30; looks > most {
				t.Errorf("%s of a holder that died after %d s was looked at %d times, want at most %d", name, alive, looks, most)
			}
		}
	}
}
