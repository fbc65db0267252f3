//go:build alerts

package e2e

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/firestore"
	"cloud.google.com/go/pubsub/v2"

	"exportd/internal/e2e/e2etest"
	"exportd/internal/jobstore"
	"exportd/internal/localcloud"
	"exportd/jobs"
)

// more breaks what lies beyond the four kinds.
func (f *firehouse) more(t *testing.T) {
	t.Helper()
	pause := func(queue string) {
		if out, code := f.shell(t, t.TempDir(), "exportctl ops queues pause "+queue+` --reason "a deploy"`); code != 0 {
			t.Fatalf("exit code %d\n%s", code, out)
		}
	}
	paused := time.Now()
	pause("callbacks") // which no export of the following has: it is to be forgotten for four hours
	f.run(t, incident{
		name: "slow Firestore", alerts: []string{"ExportdJobsSlow", "ExportdSmallExportsSlow", "ExportdFleetFull"},
		// The messages of the demo data take 20 s then, and more are asked for than there are slots.
		breakIt: func(t *testing.T) { f.hosts.Faults(t, `{"rules": {"Firestore/RunQuery": {"rowsPerSecond": 100}}}`) },
		mend:    func(t *testing.T, _ string) { f.hosts.Faults(t, "{}") },
	})
	f.run(t, incident{
		name: "workers die", alerts: []string{"ExportdWorkersDie"},
		breakIt: func(t *testing.T) { f.killWorkers(t, "ExportdWorkersDie") },
		mend:    func(t *testing.T, _ string) { f.hosts.Faults(t, "{}") },
	})
	f.rescuersStandStill(t)
	f.run(t, incident{
		name: "a message that no build can read", alerts: []string{"ExportdDeadLetters"},
		breakIt: f.publishNonsense, mend: func(*testing.T, string) {},
	})
	f.run(t, incident{
		name: "queues paused, and a document damaged by hand", alerts: []string{"ExportdDamagedDocuments"},
		breakIt: func(t *testing.T) {
			pause("exports")
			f.damageJob(t, f.s.Caller().Submit(t, "vip-users", f.s.Users(), "Cache-Control", "no-cache"))
		},
		mend: func(t *testing.T, dir string) {
			f.awaitFiring(t, "ExportdQueuePaused", paused)
			f.follow(t, "ExportdQueuePaused", dir, false, nil)
			f.follow(t, "ExportdQueuePaused", dir, true, nil)
			if out, code := f.shell(t, dir, `exportctl ops queues resume callbacks --reason "deploy is over"`); code != 0 {
				t.Fatalf("exit code %d\n%s", code, out)
			}
			e2etest.Until(t, time.Minute, "ExportdQueuePaused goes", func() bool { return !f.fires(t, "ExportdQueuePaused") })
		},
	})
}

// killWorkers kills all workers while their slots for jobs are full, over and over until alert fires.
func (f *firehouse) killWorkers(t *testing.T, alert string) {
	t.Helper()
	f.hosts.Faults(t, `{"rules": {"Firestore/RunQuery": {"rowsPerSecond": 100}}}`)
	const used = `exportd_worker_slots{lane="exports",state="used"}`
	for until := time.Now().Add(4 * time.Minute); time.Now().Before(until); {
		// Those who were killed have figures until the next scrape: what counts is what was scraped since.
		now := float64(time.Now().UnixMilli()) / 1000
		full := fmt.Sprintf("sum(%s and timestamp(%s) > %.3f)", used, used, now)
		fires := false
		e2etest.Until(t, 2*time.Minute, "the slots for jobs are full", func() bool {
			fires = f.fires(t, alert)
			return fires || f.prom.ask(t, full, "")[""] >= 7
		})
		if fires {
			return
		}
		f.stopWorkers()
		f.startWorkers(t)
	}
}

// rescuersStandStill has somebody hold the partitions who does nothing, while doorbells are lost; then what
// was due is late.
func (f *firehouse) rescuersStandStill(t *testing.T) {
	t.Helper()
	client := f.hosts.OpenFirestore(t)
	store := jobstore.New(jobstore.Config{Client: client, ReuseFor: time.Minute, Policy: jobs.Policy{Skew: 5 * time.Second}})
	ctx, letGo := context.WithCancel(t.Context())
	var holding sync.WaitGroup
	defer holding.Wait()
	defer letGo()
	const idler = "who stands still"
	f.run(t, incident{
		name: "nobody rescues", alerts: []string{"ExportdNobodyRescues"}, after: []string{"ExportdRescuerLate"},
		breakIt: func(*testing.T) {
			holding.Go(func() {
				for tick := time.NewTicker(300 * time.Millisecond); ; {
					d, held, err := store.Partitions(ctx, jobs.MaxPartitions)
					for i := 0; err == nil && i < d.Partitions; i++ {
						if held[i].Owner != "" && held[i].Owner != idler {
							_ = store.LeavePartition(ctx, i, held[i].Owner) // again at the next tick
						}
						_, _ = store.HoldPartition(ctx, i, idler)
					}
					select {
					case <-tick.C:
					case <-ctx.Done():
						tick.Stop()
						return
					}
				}
			})
		},
		mend: func(t *testing.T, _ string) {
			letGo()
			holding.Wait()
			for i := range jobs.MaxPartitions {
				_ = store.LeavePartition(t.Context(), i, idler) // those that it had
			}
			holding.Go(func() { f.overdue(f.t, client) }) // longer than the incident
		},
	})
}

// overdue writes jobs that have been due for two minutes, one after the other for half a minute.
func (f *firehouse) overdue(t *testing.T, client *firestore.Client) {
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for range 80 {
		now := time.Now().UTC().Truncate(time.Microsecond)
		j := &jobs.Job{
			ID: jobs.NewID(), Schema: jobs.OldestSchema, OrgID: f.s.OrgID, KeyID: f.s.APIKey, Kind: "vip-users", State: jobs.Queued, Attempt: 1,
			Params:    jobs.Params{"workspaceId": f.s.WorkspaceID, "mediumId": f.s.MediumID, jobs.ParamProfile: jobs.ProfileRFC4180},
			CreatedAt: now.Add(-5 * time.Minute), NotBefore: now.Add(-2 * time.Minute), WakeAt: now.Add(-2 * time.Minute),
		}
		j.Shard, j.Fingerprint = jobs.ShardOf(j.ID), jobs.Fingerprint(j.OrgID, j.Kind, 1, j.Params)
		if _, err := client.Collection("ExportJobs").Doc(j.ID).Create(t.Context(), j); err != nil {
			t.Errorf("write an overdue job: %v", err)
			return
		}
		<-tick.C
	}
}

// queuedSince has a job seem to wait for longer.
func (f *firehouse) queuedSince(t *testing.T, id string, ago time.Duration) {
	t.Helper()
	if _, err := f.hosts.OpenFirestore(t).Collection("ExportJobs").Doc(id).Update(t.Context(), []firestore.Update{{Path: "createdAt", Value: time.Now().Add(-ago)}}); err != nil {
		t.Fatal(err)
	}
}

func (f *firehouse) publishNonsense(t *testing.T) {
	t.Helper()
	client, err := pubsub.NewClient(t.Context(), e2etest.Project, localcloud.GRPCOptions(f.hosts.PubSub)...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	publisher := client.Publisher("exportd-exports")
	defer publisher.Stop()
	if _, err := publisher.Publish(t.Context(), &pubsub.Message{Data: []byte("not of exportd")}).Get(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// damageJob writes into a job what no transition writes.
func (f *firehouse) damageJob(t *testing.T, id string) {
	t.Helper()
	client := f.hosts.OpenFirestore(t)
	if _, err := client.Collection("ExportJobs").Doc(id).Update(t.Context(), []firestore.Update{{Path: "partsTotal", Value: -1}, {Path: "wakeAt", Value: time.Now()}}); err != nil {
		t.Fatal(err)
	}
}
