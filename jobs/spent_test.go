package jobs_test

import (
	"strings"
	"testing"
	"time"

	"exportd/jobs"
)

// TestSlow: a job is slow when it ran for much longer than its rows predict, whatever it waited before.
func TestSlow(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		rows     int64
		parts    int
		ran      time.Duration
		attempts int // of runs before
		want     bool
	}{
		"a few rows":                {rows: 100, ran: time.Second},
		"a few rows, hanging":       {rows: 100, ran: 15 * time.Second, want: true},
		"one part":                  {rows: 50_000, ran: 50 * time.Second},
		"one part, at 600 a second": {rows: 50_000, ran: 80 * time.Second, want: true},
		"many parts":                {rows: 10_000_000, parts: 20, ran: 20 * time.Minute},
		"many parts, one by one":    {rows: 10_000_000, parts: 20, ran: 45 * time.Minute, want: true},
		"run again":                 {rows: 100, ran: time.Hour, attempts: 1},
	} {
		start := time.Unix(1_800_000_000, 0)
		j := &jobs.Job{CreatedAt: start.Add(-time.Hour), StartedAt: start, FinishedAt: start.Add(tc.ran), RowsTotal: tc.rows, PartsTotal: tc.parts, AttemptBase: tc.attempts}
		if got := j.Slow(); got != tc.want {
			t.Errorf("%s: slow = %t, expected were %s", name, got, j.Expected())
		}
	}
	if (&jobs.Job{StartedAt: time.Unix(1, 0)}).Slow() {
		t.Error("a job that runs is slow")
	}
}

// TestSpentIsInTheTimeline: how a job's time was spent is a line of its timeline, and nothing of its record.
func TestSpentIsInTheTimeline(t *testing.T) {
	t.Parallel()
	start := time.Unix(1_800_000_000, 0).UTC()
	job := &jobs.Job{ID: jobs.NewID(), Schema: jobs.SchemaVersion, OrgID: "o", KeyID: "k", Kind: "vip-users", State: jobs.Running, CreatedAt: start, StartedAt: start, WakeAt: start,
		Epoch: 1, Attempt: 1, Counted: true, RowsTotal: 3, SnapshotTime: start, Lease: jobs.Lease{Token: "t", Owner: "w", Until: start.Add(time.Hour)},
		Params: jobs.Params{"workspaceId": "w", "mediumId": "m", "profile": jobs.ProfileRFC4180}}
	job.Fingerprint = jobs.Fingerprint(job.OrgID, job.Kind, 1, job.Params)
	job.Lease.Until = start.Add(2 * time.Minute)
	tx := jobs.NewTx(jobs.Policy{LeaseFor: 30 * time.Second, Skew: time.Second, FileLife: time.Hour, RecordLife: time.Hour, SweepAfter: time.Minute}, start.Add(time.Minute), "worker w", job, nil)
	spent := jobs.Spent{Count: 12 * time.Millisecond, Read: 55 * time.Second, Upload: 210 * time.Millisecond}
	if err := tx.Succeed(job.Lease, jobs.Result{Object: job.ResultName(), Rows: 3, Size: 9, Spent: spent}); err != nil {
		t.Fatal(err)
	}
	want := "3 rows, 9 bytes; count 12ms, read 55s, upload 210ms; slow: ran 1m0s, at most 3s was expected"
	if got := tx.Events[len(tx.Events)-1].Message; got != want {
		t.Errorf("timeline: %q, want %q", got, want)
	}
	if job.Result.Spent != (jobs.Spent{}) || !strings.HasPrefix(job.Result.Object, "exports/o/") {
		t.Errorf("the record has %+v", job.Result)
	}
}
