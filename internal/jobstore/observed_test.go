package jobstore_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"exportd/internal/jobstore"
	"exportd/internal/localcloud/localcloudtest"
	"exportd/internal/telemetry"
	"exportd/jobs"
)

// counted are the values of series by name and label values.
func counted(t *testing.T, cs ...prometheus.Collector) map[string]float64 {
	t.Helper()
	r := prometheus.NewRegistry()
	r.MustRegister(cs...)
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			key := f.GetName()
			for _, l := range m.GetLabel() {
				key += " " + l.GetValue()
			}
			out[key] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return out
}

// TestTransitionsAreToldOnce: two processes that get in each other's way tell of each transition that was
// committed once between them, and of none that was not.
func TestTransitionsAreToldOnce(t *testing.T) {
	t.Parallel()
	const made, parts, rows = 4, 12, 10
	cloud := localcloudtest.Start(t)
	orgs := telemetry.NewOrgs(time.Now)
	told := telemetry.NewTransitions([]string{"vip-users"}, orgs)
	p := policy()
	p.Window = parts
	processes := make([]*jobstore.Store, 2)
	for i := range processes {
		processes[i] = jobstore.New(jobstore.Config{Client: cloud.Firestore, Policy: p, ReuseFor: time.Minute, Transitions: told})
	}
	ranges := make([]jobs.Range, parts)
	for i := range ranges {
		ranges[i] = jobs.Range{From: fmt.Sprint(i), To: fmt.Sprint(i + 1), Rows: rows}
	}
	ctx := context.WithoutCancel(t.Context())
	var all sync.WaitGroup
	for n := range made {
		all.Go(func() {
			got, err := processes[0].Submit(ctx, request("org", n+1))
			if err != nil {
				t.Error(err)
				return
			}
			id := got.Job.ID
			var lease jobs.Lease
			must := func(s *jobstore.Store, part string, fn func(tx *jobs.Tx) error) *jobs.Job {
				j, err := s.UpdatePart(ctx, id, part, "test", fn)
				if err != nil {
					t.Error(err)
				}
				return j
			}
			must(processes[0], "", func(tx *jobs.Tx) (err error) { lease, err = tx.Claim("w"); return err })
			j := must(processes[0], "", func(tx *jobs.Tx) error { return tx.Plan(lease, time.Now(), ranges, 0) })
			last := make(chan jobs.Lease, parts)
			var under sync.WaitGroup
			for i := range parts {
				s, part := processes[i%2], jobs.PartID(j.PlanEpoch, i)
				under.Go(func() {
					var held jobs.Lease
					must(s, part, func(tx *jobs.Tx) (err error) { _, held, err = tx.ClaimPart(j.PlanEpoch, i, "w"); return err })
					must(s, part, func(tx *jobs.Tx) error { _, err := tx.RenewPart(j.PlanEpoch, i, held, 1, 1); return err })
					var next jobs.Next
					must(s, part, func(tx *jobs.Tx) (err error) {
						next, err = tx.CommitPart(j.PlanEpoch, i, held, "w", jobs.PartResult{Object: "o", Rows: rows, Size: 7 * rows})
						return err
					})
					if next.Finalize {
						last <- next.Lease
					}
				})
			}
			under.Wait()
			lease = <-last
			must(processes[1], "", func(tx *jobs.Tx) error {
				return tx.Succeed(lease, jobs.Result{Object: tx.Job.ResultName(), Rows: parts * rows, Size: 7 * parts * rows})
			})
			_, _ = processes[1].Update(ctx, id, "test", func(tx *jobs.Tx) error { _, err := tx.Claim("w"); return err })
			_, _ = processes[1].Update(ctx, id, "test", func(tx *jobs.Tx) error { _, err := tx.Renew(lease, 1, 1); return err })
		})
	}
	all.Wait()
	got := counted(t, told, orgs)
	for series, want := range map[string]float64{
		"exportd_jobs_submitted_total vip-users false":                   made,
		"exportd_attempts_total vip-users job":                           made,
		"exportd_attempts_total vip-users part":                          made * parts,
		"exportd_part_transitions_total vip-users running":               made * parts,
		"exportd_part_transitions_total vip-users done":                  made * parts,
		"exportd_rows_exported_total vip-users":                          made * parts * rows,
		"exportd_bytes_exported_total vip-users":                         made * parts * rows * 7,
		"exportd_job_transitions_total none queued vip-users running":    made,
		"exportd_job_transitions_total none running vip-users succeeded": made,
		"exportd_job_result_seconds vip-users small succeeded":           made,
		"exportd_job_queued_seconds vip-users":                           made,
		"exportd_leases_lost_total job":                                  made,
		"exportd_claims_missed_total job":                                made,
		"exportd_org_rows org":                                           made * parts * rows,
	} {
		if got[series] != want {
			t.Errorf("%s = %v, want %v", series, got[series], want)
		}
	}
	for series, n := range got {
		if strings.HasPrefix(series, "exportd_retries_total ") && n != 0 {
			t.Errorf("%s = %v, and none was made", series, n)
		}
	}
	conflicts := cloud.Faults().Counters().Methods["Firestore/Commit"]
	t.Logf("%d transitions in %d commits", made*(3+3*parts), conflicts.Calls)
}

// inParts has a job run in parts, of which one is done.
func (b bench) inParts(t *testing.T, id string, parts int) {
	t.Helper()
	ranges := make([]jobs.Range, parts)
	for i := range ranges {
		ranges[i] = jobs.Range{Rows: 10}
	}
	part := func(job string, fn func(*jobs.Tx) error) *jobs.Job {
		j, err := b.UpdatePart(t.Context(), id, job, "test", fn)
		if err != nil {
			t.Fatal(err)
		}
		return j
	}
	j := part("", func(tx *jobs.Tx) error {
		lease, err := tx.Claim("w")
		if err == nil {
			err = tx.Plan(lease, b.clock.Now(), ranges, 0)
		}
		return err
	})
	first := jobs.PartID(j.PlanEpoch, 0)
	var lease jobs.Lease
	part(first, func(tx *jobs.Tx) (err error) { _, lease, err = tx.ClaimPart(j.PlanEpoch, 0, "w"); return err })
	part(first, func(tx *jobs.Tx) error {
		_, err := tx.CommitPart(j.PlanEpoch, 0, lease, "w", jobs.PartResult{Object: "o", Rows: 10, Size: 70})
		return err
	})
}

// TestBacklog: what waits is found by ten reads and one for each running job, whatever else there is.
func TestBacklog(t *testing.T) {
	t.Parallel()
	b := open(t, jobs.Limits{})
	if got, err := b.Backlog(t.Context()); err != nil || got.Queued+got.Running+got.Callbacks+got.Suspended != 0 || !got.OldestQueued.IsZero() || !got.OldestCallback.IsZero() {
		t.Errorf("of nothing = %+v, %v", got, err)
	}
	first := b.submit(t, request("org", 1)).Job
	for month := 2; month < 8; month++ {
		b.clock.Pass(time.Second)
		b.submit(t, request("org", month))
	}
	called := request("org", 9)
	called.CallbackURL = "https://receiver.example/hook"
	b.clock.Pass(time.Second)
	b.succeed(t, b.submit(t, called).Job.ID)
	ended := b.clock.Now()
	b.clock.Pass(time.Minute)
	b.update(t, b.submit(t, request("org", 8)).Job.ID, func(tx *jobs.Tx) error { _, err := tx.Claim("w"); return err })
	started := b.clock.Now()
	b.inParts(t, b.submit(t, request("org", 10)).Job.ID, 4)
	if err := b.ChangeReceiver(t.Context(), "org", "https://receiver.example", "https://receiver.example", func(r *jobs.Receiver) {
		r.Suspended, r.SuspendedAt, r.FailingSince = true, ended, ended
	}); err != nil {
		t.Fatal(err)
	}
	if err := b.SetPaused(t.Context(), jobs.QueueCallbacks, true, "test", "test"); err != nil {
		t.Fatal(err)
	}
	before := b.faults()
	got, err := b.Backlog(t.Context())
	after := b.faults()
	if err != nil || got.Queued != 7 || got.Running != 2 || got.Parts != 3 || !got.OldestParts.Equal(started) || got.Callbacks != 1 || got.Suspended != 1 || !got.OldestQueued.Equal(first.CreatedAt) ||
		!got.OldestCallback.Equal(ended) || !got.Paused[jobs.QueueCallbacks].Paused || got.Paused[jobs.QueueExports].Paused {
		t.Errorf("Backlog = %+v, %v", got, err)
	}
	if n := after.DocumentsRead - before.DocumentsRead; n > 12 {
		t.Errorf("it took %d reads", n)
	}
}
