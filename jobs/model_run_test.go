//go:build !race

package jobs_test

import (
	"flag"
	"fmt"
	"strings"
	"testing"
	"time"

	"exportd/jobs"
)

var deep = flag.Bool("model.deep", false, "explore the protocol with the larger budgets: minutes instead of seconds")

type allowance = map[budget]uint8

// scenarios share out what may go wrong: all of it at once is more states than a test can visit, and each
// pair of troubles meets in at least one of them.
var scenarios = []scenario{
	{
		name: "one part, cancel and rerun", parts: 1, window: 1, interruptions: 3,
		budget: allowance{crash: 1, cancel: 1, rerun: 1, renew: 1},
		deep:   allowance{crash: 1, jump: 1, lose: 1, cancel: 1, rerun: 1},
	},
	{
		name: "one part, standing still and dying", parts: 1, window: 1, interruptions: 3,
		budget: allowance{crash: 1, jump: 2, renew: 1},
		deep:   allowance{crash: 2, jump: 3, lose: 2, double: 2, renew: 2},
	},
	{
		name: "one part, lost and doubled messages", parts: 1, window: 1, interruptions: 3,
		budget: allowance{crash: 1, lose: 2, double: 2},
		deep:   allowance{crash: 2, jump: 1, lose: 2, double: 2},
	},
	{
		name: "one part, failures and resume", parts: 1, window: 1, interruptions: 1, resume: true,
		budget: allowance{crash: 1, faultTransient: 1, faultPermanent: 1, faultStale: 1, rerun: 1},
		deep:   allowance{crash: 2, jump: 1, faultTransient: 2, faultPermanent: 1, faultStale: 2, faultInterrupted: 1, rerun: 1},
	},
	{
		name: "one part, lost answers, delete and rerun", parts: 1, window: 1, interruptions: 1,
		budget: allowance{unsure: 1, remove: 1, rerun: 1},
		deep:   allowance{unsure: 2, double: 1, crash: 1, remove: 1, rerun: 1},
	},
	{
		name: "one part, file lost and rerun", parts: 1, window: 1, interruptions: 1,
		budget: allowance{crash: 1, vanish: 1, rerun: 1},
		deep:   allowance{crash: 1, jump: 1, unsure: 1, vanish: 1, remove: 1, rerun: 1},
	},
	{
		name: "two parts, standing still and dying", parts: 2, window: 2, interruptions: 2,
		budget: allowance{crash: 1, jump: 1},
		deep:   allowance{crash: 2, jump: 2, lose: 1},
	},
	{
		name: "two parts, cancel and rerun", parts: 2, window: 2, interruptions: 2,
		budget: allowance{cancel: 1, rerun: 1},
		deep:   allowance{crash: 1, jump: 1, cancel: 1, rerun: 1},
	},
	{
		name: "two parts, failures and resume", parts: 2, window: 1, interruptions: 0, resume: true,
		budget: allowance{crash: 1, faultPermanent: 1, rerun: 1},
		deep:   allowance{crash: 1, renew: 1, faultTransient: 2, faultPermanent: 1, faultStale: 1, faultInterrupted: 1, rerun: 1},
	},
	{
		name: "two parts, lost answers and restart", parts: 2, window: 2, interruptions: 2,
		budget: allowance{unsure: 1, faultStale: 1},
		deep:   allowance{unsure: 2, double: 1, faultStale: 1, renew: 2, remove: 1},
	},
	{
		name: "one part, two rescuers of a shard", parts: 1, window: 1, interruptions: 1, twice: true,
		budget: allowance{crash: 1, lose: 1},
		deep:   allowance{crash: 1, jump: 1, lose: 1, faultTransient: 1},
	},
	{
		name: "two parts, two rescuers of a shard", parts: 2, window: 1, interruptions: 1, twice: true,
		budget: allowance{crash: 1},
		deep:   allowance{crash: 1, lose: 1, double: 1},
	},
	{
		name: "one part, a damaged record", parts: 1, window: 1, interruptions: 2,
		budget: allowance{spoil: 1, crash: 1, jump: 1, rerun: 1},
		deep:   allowance{spoil: 2, crash: 1, jump: 1, unsure: 1, rerun: 1, remove: 1},
	},
	{
		name: "two parts, damaged records", parts: 2, window: 2, interruptions: 2,
		budget: allowance{spoil: 1, void: 2},
		deep:   allowance{spoil: 1, void: 2, crash: 1, jump: 1, renew: 1, rerun: 1},
	},
	{
		name: "one part, a batch and dying", parts: 1, window: 1, interruptions: 1,
		budget: allowance{crash: 1, cancel: 1, batch: 1},
		deep:   allowance{crash: 2, jump: 1, unsure: 1, cancel: 1, batch: 1},
	},
	{
		name: "one part, a batch beside a rerun", parts: 1, window: 1, interruptions: 1,
		budget: allowance{cancel: 1, batch: 1, rerun: 1},
		deep:   allowance{crash: 1, cancel: 2, batch: 1, rerun: 1},
	},
	{
		name: "one part, a batch and delete", parts: 1, window: 1, interruptions: 1,
		budget: allowance{batch: 1, remove: 1, unsure: 1},
		deep:   allowance{crash: 1, batch: 1, remove: 1, unsure: 2},
	},
	{
		name: "one part, two workers of a batch", parts: 1, window: 1, interruptions: 1, batchTwice: true,
		budget: allowance{faultPermanent: 1, batch: 1, jump: 1},
		deep:   allowance{crash: 1, faultPermanent: 1, batch: 1, jump: 2, rerun: 1},
	},
	{
		name: "one part, a batch that is held", parts: 1, window: 1, interruptions: 1,
		budget: allowance{cancel: 1, batch: 1, hold: 1},
		deep:   allowance{crash: 1, cancel: 1, batch: 1, hold: 2, jump: 1},
	},
	{
		name: "one part, a canary", parts: 1, window: 1, interruptions: 1, canary: true,
		budget: allowance{faultPermanent: 2, batch: 1, hold: 1},
		deep:   allowance{crash: 1, faultPermanent: 2, batch: 1, hold: 1, jump: 1},
	},
	{
		name: "two parts, a batch and resume", parts: 2, window: 1, interruptions: 0, resume: true,
		budget: allowance{faultPermanent: 1, batch: 1},
		deep:   allowance{crash: 1, faultPermanent: 2, batch: 1},
	},
	{
		name: "one part, a batch and damage", parts: 1, window: 1, interruptions: 1,
		budget: allowance{spoil: 1, batch: 1, rerun: 1},
		deep:   allowance{spoil: 2, crash: 1, batch: 1, rerun: 1},
	},
	{
		name: "one part, a mixed fleet", parts: 1, window: 1, interruptions: 2, mixed: true,
		budget: allowance{later: 1, crash: 1, cancel: 1, rerun: 1},
		deep:   allowance{later: 1, crash: 1, jump: 1, cancel: 1, unsure: 1, rerun: 1},
	},
	{
		name: "two parts, a mixed fleet", parts: 2, window: 2, interruptions: 2, mixed: true,
		budget: allowance{later: 1, crash: 1, renew: 1},
		deep:   allowance{later: 1, crash: 1, jump: 1, remove: 1},
	},
	{
		name: "one part, rescuers of a mixed fleet", parts: 1, window: 1, interruptions: 1, mixed: true, twice: true,
		budget: allowance{later: 1, crash: 1, rerun: 1},
		deep:   allowance{later: 1, crash: 1, jump: 1, rerun: 1},
	},
	{
		name: "one part, a comparison, standing still and dying", parts: 1, window: 1, interruptions: 2, since: true,
		budget: allowance{crash: 1, jump: 1, renew: 1},
		deep:   allowance{crash: 2, jump: 2, lose: 1, renew: 1},
	},
	{
		name: "one part, a comparison, cancel and rerun", parts: 1, window: 1, interruptions: 2, since: true,
		budget: allowance{crash: 1, cancel: 1, rerun: 1},
		deep:   allowance{crash: 1, jump: 1, cancel: 1, remove: 1, rerun: 1},
	},
	{
		name: "one part, a comparison, failures and a lost file", parts: 1, window: 1, interruptions: 1, since: true, resume: true,
		budget: allowance{faultTransient: 1, faultPermanent: 1, vanish: 1, rerun: 1},
		deep:   allowance{crash: 1, faultTransient: 1, faultPermanent: 1, faultStale: 1, vanish: 1, rerun: 1},
	},
	{
		name: "one part, a comparison, lost answers and delete", parts: 1, window: 1, interruptions: 1, since: true,
		budget: allowance{unsure: 1, remove: 1},
		deep:   allowance{unsure: 2, crash: 1, remove: 1, rerun: 1},
	},
	{
		name: "two parts, a comparison, dying", parts: 2, window: 2, interruptions: 2, since: true,
		budget: allowance{crash: 1, faultStale: 1},
		deep:   allowance{crash: 2, jump: 1, faultStale: 1},
	},
	{
		name: "two parts, a comparison, failures and resume", parts: 2, window: 1, interruptions: 0, since: true, resume: true,
		budget: allowance{crash: 1, faultPermanent: 1, rerun: 1},
		deep:   allowance{crash: 1, faultTransient: 1, faultPermanent: 1, rerun: 1, remove: 1},
	},
	{
		name: "three parts", parts: 3, window: 2, interruptions: 2,
		budget: allowance{crash: 1},
		deep:   allowance{crash: 1, jump: 1, lose: 1, unsure: 1},
	},
}

// TestModel explores the protocol; see model_test.go for what that means.
func TestModel(t *testing.T) {
	t.Parallel()
	for _, s := range scenarios {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			if *deep {
				s.budget = s.deep
			}
			m := newModel(s)
			begun := time.Now()
			v := m.explore()
			if v != nil {
				t.Fatal(v)
			}
			t.Logf("%d states in %v; every way ends, the longest after %d steps; purged as %v", len(m.seen), time.Since(begun).Round(time.Millisecond), m.steps, m.ended)
		})
	}
}

// TestModelFinds breaks the protocol in ways that were made or could have been, and expects the checker to
// notice.
func TestModelFinds(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		budget allowance
		parts  int
		mutate mutation
		want   string

		twiceBatch, mixed, canary, since bool
	}{
		{
			name: "whoever held the lease once may write", parts: 1, budget: allowance{jump: 2},
			mutate: mutation{before: func(o op, a *actor, tx *jobs.Tx) {
				if o == opSucceed || o == opPin {
					a.token = tx.Job.Lease.Token
				}
			}},
			want: "accepted from a lost lease",
		},
		{
			name: "whoever held a part once may commit it", parts: 2, budget: allowance{jump: 2},
			mutate: mutation{before: func(o op, a *actor, tx *jobs.Tx) {
				if o == opCommitPart && a.readPart != nil {
					a.token = a.readPart.Lease.Token
				}
			}},
			want: "accepted from a lost lease",
		},
		{
			name: "a failed attempt forgets wakeAt", parts: 1, budget: allowance{faultTransient: 1},
			mutate: after(opEndAttempt, func(tx *jobs.Tx) { tx.Job.WakeAt = time.Time{} }),
			want:   "nobody is due to look at it",
		},
		{
			name: "a claimed part forgets wakeAt", parts: 2, budget: allowance{crash: 1},
			mutate: after(opClaimPart, func(tx *jobs.Tx) {
				for _, p := range tx.ChangedParts() {
					p.WakeAt = time.Time{}
				}
			}),
			want: "nobody is due to look at it",
		},
		{
			name: "nobody rescues", parts: 1, budget: allowance{lose: 1},
			mutate: mutation{deaf: true},
			want:   "nothing more happens and the job is",
		},
		{
			name: "the rescuer leaves wakeAt in the past", parts: 1, budget: allowance{lose: 1},
			mutate: after(opWake, func(tx *jobs.Tx) {
				if tx.Job.State == jobs.Queued {
					tx.Job.WakeAt = tx.Now
				}
			}),
			want: "goes in circles",
		},
		{
			name: "commits do not look whether documents have changed", parts: 1, budget: allowance{cancel: 1},
			mutate: mutation{blind: true},
			want:   "moved the job from succeeded to canceled",
		},
		{
			name: "a sweep does not look at epochs", parts: 1, budget: allowance{cancel: 1, rerun: 1},
			mutate: mutation{sweepAll: true},
			want:   "the result",
		},
		{
			name: "objects are not named after the token", parts: 2, budget: allowance{jump: 2},
			mutate: mutation{tokenless: true},
			want:   "exists already",
		},
		{
			name: "a sweep does not make resuming impossible", parts: 2, budget: allowance{faultPermanent: 1},
			mutate: after(opWake, func(tx *jobs.Tx) {
				if tx.Job.State == jobs.Failed && tx.Job.Cleanup {
					tx.Job.PlanEpoch, tx.Job.PartsTotal = 1, 2
				}
			}),
			want: "is done and its object holds",
		},
		{
			name: "a purge without a sweep", parts: 1, budget: allowance{crash: 1, jump: 1, cancel: 1},
			mutate: mutation{bluntPurge: true},
			want:   "the record is gone and object",
		},
		{
			name: "a part that was claimed twice counts as discarded", parts: 2, budget: allowance{crash: 1},
			mutate: mutation{anyParts: true},
			want:   "is left after the sweep",
		},
		{
			name: "a rerun counts as swept", parts: 1, budget: allowance{crash: 1, rerun: 1, cancel: 1},
			mutate: after(opRerun, func(tx *jobs.Tx) { tx.Job.SweptEpoch = tx.Job.Epoch }),
			want:   "object",
		},
		{
			name: "a rerun stays among the jobs that have ended", parts: 1, budget: allowance{rerun: 1},
			mutate: after(opRerun, func(tx *jobs.Tx) { tx.Job.Shard = jobs.EndedShard(jobs.ShardOf(modelJob)) }),
			want:   "in shard",
		},
		{
			name: "a part is in no shard", parts: 2,
			mutate: after(opPlan, func(tx *jobs.Tx) { tx.NewParts[1].Shard = -1 }),
			want:   "in shard -1",
		},
		{
			name: "a batch forgets what it has run again", parts: 1, budget: allowance{crash: 1, batch: 1},
			mutate: after(opRerunIn, func(tx *jobs.Tx) { tx.Job.BatchID = "" }),
			want:   "the batch has run the job again 2 times",
		},
		{
			name: "a batch that is taken forgets wakeAt", parts: 1, budget: allowance{crash: 1, batch: 1},
			mutate: mutation{afterBatch: func(b *jobs.Batch) {
				if b.FinishedAt.IsZero() {
					b.WakeAt = time.Time{}
				}
			}},
			want: "nobody is due to look at it",
		},
		{
			name: "a canary does not wait for its job", parts: 1, canary: true, budget: allowance{faultPermanent: 1, batch: 1, jump: 1},
			mutate: mutation{hasty: true},
			want:   "a canary has ended before its job",
		},
		{
			name: "a batch that goes on again is looked at by nobody", parts: 1, budget: allowance{cancel: 1, batch: 1, hold: 1},
			mutate: mutation{afterBatch: func(b *jobs.Batch) {
				if b.Pace > 0 && b.PausedAt.IsZero() && b.FinishedAt.IsZero() {
					b.WakeAt = time.Time{}
				}
			}},
			want: "nobody is due to look at it",
		},
		{
			name: "a page of a batch counts although another worker has noted it", parts: 1, twiceBatch: true, budget: allowance{jump: 1, batch: 1},
			mutate: mutation{anyPage: true},
			want:   "a page of the batch was counted twice",
		},
		{
			name: "a batch runs again what was deleted since it was listed", parts: 1, budget: allowance{remove: 1, batch: 1},
			mutate: mutation{before: func(o op, _ *actor, tx *jobs.Tx) {
				if o == opRerunIn {
					tx.Job.DeletedAt = time.Time{}
				}
			}},
			want: "a job that its owner has deleted is run again",
		},
		{
			name: "a batch runs again what is being purged", parts: 1, budget: allowance{batch: 1, jump: 2},
			mutate: mutation{before: func(o op, _ *actor, tx *jobs.Tx) {
				if o == opRerunIn {
					tx.Policy.RecordLife *= 2
				}
			}},
			want: "a job that is queued is purged",
		},
		{
			name: "a rerun by a batch counts as swept", parts: 1, budget: allowance{batch: 1, cancel: 1, crash: 1},
			mutate: after(opRerunIn, func(tx *jobs.Tx) { tx.Job.SweptEpoch = tx.Job.Epoch }),
			want:   "object",
		},
		{
			name: "an older build works on what it does not know", parts: 1, mixed: true, budget: allowance{later: 1, crash: 1},
			mutate: mutation{knowing: true},
			want:   "which its build does not know",
		},
		{
			name: "a sweep deletes all rows behind a file of changes", parts: 1, since: true,
			mutate: mutation{sweepWhole: true},
			want:   "holds parts \"\", want \"0\"",
		},
		{
			name: "a file of changes is recorded without that of all rows", parts: 1, since: true,
			mutate: after(opSucceed, func(tx *jobs.Tx) { tx.Job.Result.Whole = nil }),
			want:   "holds parts \"changes\", want \"0\"",
		},
		{
			name: "a comparison counts as swept", parts: 1, since: true,
			mutate: after(opSucceed, func(tx *jobs.Tx) {
				tx.Job.Cleanup, tx.Job.SweptEpoch, tx.Job.WakeAt = false, tx.Job.Epoch, tx.Job.FileExpiresAt
			}),
			want: "is left after the sweep",
		},
		{
			name: "a rerun forgets what it is compared with", parts: 1, since: true, budget: allowance{cancel: 1, rerun: 1},
			mutate: after(opRerun, func(tx *jobs.Tx) { tx.Job.Base = nil }),
			want:   "the job has a base: false",
		},
		{
			name: "each run settles what the first has reserved", parts: 1, budget: allowance{cancel: 1, rerun: 1},
			mutate: after(opRerun, func(tx *jobs.Tx) { r := *tx.Job.Budget; r.Settled = false; tx.Job.Budget = &r }),
			want:   "was settled 2 times",
		},
		{
			name: "a cancel settles nothing", parts: 1, budget: allowance{cancel: 1},
			mutate: after(opCancel, func(tx *jobs.Tx) { tx.Settlement = nil }),
			want:   "what it has reserved is not settled",
		},
		{
			name: "a success does not note that it has settled", parts: 1,
			mutate: after(opSucceed, func(tx *jobs.Tx) { r := *tx.Job.Budget; r.Settled = false; tx.Job.Budget = &r }),
			want:   "what it has reserved is not settled",
		},
		// What the checker has found in earlier forms of the protocol.
		{
			name: "a rerun is taken while the record is purged", parts: 1, budget: allowance{rerun: 1},
			mutate: mutation{before: func(o op, _ *actor, tx *jobs.Tx) {
				if o == opRerun {
					tx.Policy.RecordLife *= 2
				}
			}},
			want: "a job that is queued is purged",
		},
		{
			name: "a delete beside a sweep that spares the file", parts: 1, budget: allowance{crash: 1, remove: 1},
			mutate: after(opDelete, func(tx *jobs.Tx) { tx.Job.Epoch-- }),
			want:   "is left after the sweep",
		},
		{
			name: "two cancels without a claim between", parts: 1, budget: allowance{cancel: 2, rerun: 1},
			mutate: after(opRerun, func(tx *jobs.Tx) { tx.Job.Epoch, tx.Job.SweptEpoch = tx.Job.Epoch-1, 0 }),
			want:   "creates callback",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			m := newModel(scenario{parts: tc.parts, window: 2, interruptions: 2, budget: tc.budget, mutate: tc.mutate, batchTwice: tc.twiceBatch, mixed: tc.mixed, canary: tc.canary, since: tc.since})
			v := m.explore()
			if v == nil || !strings.Contains(v.what, tc.want) {
				t.Fatalf("found %v in %d states, want %q", fmt.Sprint(v), len(m.seen), tc.want)
			}
			t.Logf("found after %d states, %d steps from the start: %s", len(m.seen), len(v.trail), v.what)
		})
	}
}

func after(which op, fn func(*jobs.Tx)) mutation {
	return mutation{after: func(o op, tx *jobs.Tx) {
		if o == which {
			fn(tx)
		}
	}}
}
