//go:build alerts

package e2e

import (
	"testing"
	"time"

	"cloud.google.com/go/firestore"
	"cloud.google.com/go/pubsub/v2"

	"exportd/internal/e2e/e2etest"
	"exportd/internal/localcloud"
)

// more breaks what lies beyond the four kinds, and follows the runbooks of alerts that would take too long to fire where
// what they say one sees is there all the same.
func (f *firehouse) more(t *testing.T) {
	t.Helper()
	f.run(t, incident{
		name: "slow Firestore", alerts: []string{"ExportdJobsSlow", "ExportdSmallExportsSlow", "ExportdFleetFull"},
		// The messages of the demo data take 20 s then, and more are asked for than there are slots.
		breakIt: func(t *testing.T) { f.hosts.Faults(t, `{"rules": {"Firestore/RunQuery": {"rowsPerSecond": 100}}}`) },
		mend: func(t *testing.T, dir string) {
			for _, alert := range []string{"ExportdWorkersDie", "ExportdNobodyRescues", "ExportdRescuerLate"} {
				f.follow(t, alert, dir, false, nil)
			}
			f.hosts.Faults(t, "{}")
		},
	})
	f.run(t, incident{
		name: "a message that no build can read", alerts: []string{"ExportdDeadLetters"},
		breakIt: f.publishNonsense, mend: func(*testing.T, string) {},
	})
	f.run(t, incident{
		name: "queue paused, and a document damaged by hand", alerts: []string{"ExportdDamagedDocuments"},
		breakIt: func(t *testing.T) {
			if out, code := f.shell(t, t.TempDir(), `exportctl ops queues pause exports --reason "a deploy"`); code != 0 {
				t.Fatalf("exit code %d\n%s", code, out)
			}
			f.damageJob(t, f.s.Caller().Submit(t, "vip-users", f.s.Users(), "Cache-Control", "no-cache"))
		},
		mend: func(t *testing.T, dir string) {
			f.follow(t, "ExportdJobsWaitTooLong", dir, false, nil)
			f.follow(t, "ExportdQueuePaused", dir, false, nil)
			f.follow(t, "ExportdQueuePaused", dir, true, nil)
		},
	})
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
	client, err := firestore.NewClient(t.Context(), e2etest.Project, localcloud.GRPCOptions(f.hosts.Firestore)...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := client.Collection("ExportJobs").Doc(id).Update(t.Context(), []firestore.Update{{Path: "partsTotal", Value: -1}, {Path: "wakeAt", Value: time.Now()}}); err != nil {
		t.Fatal(err)
	}
}
