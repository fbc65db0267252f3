package worker_test

import (
	"net/http"
	"testing"
	"time"

	"cloud.google.com/go/firestore"

	"exportd/jobs"
)

// TestNoShardIsFound: jobs, queued and running, and a callback that are in no shard, so that no query for
// what is due gives them, are found within a minute and by nothing but the rescuer.
func TestNoShardIsFound(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	noShard := func(path string) {
		t.Helper()
		if _, err := r.firestore.Doc(path).Update(t.Context(), []firestore.Update{{Path: "shard", Value: firestore.Delete}}); err != nil {
			t.Fatal(err)
		}
	}
	rc := receive(t, "127.0.0.1", status(http.StatusOK))
	called := r.ended(t, "org-1", rc.URL)
	noShard("ExportCallbacks/" + called.CallbackID)
	queued := r.queued(r.clock.Now().Add(-time.Hour))
	running := r.queued(r.clock.Now().Add(-time.Hour))
	r.write(t, map[string]any{"ExportJobs/" + queued.ID: queued, "ExportJobs/" + running.ID: running})
	if _, err := r.store.Update(t.Context(), running.ID, "killed", func(tx *jobs.Tx) error { _, err := tx.Claim("killed"); return err }); err != nil {
		t.Fatal(err)
	}
	noShard("ExportJobs/" + queued.ID)
	noShard("ExportJobs/" + running.ID)
	begun := time.Now()
	r.clock.put(r.clock.Now().Add(time.Minute)) // the killed worker's lease is over
	r.work(t)
	r.succeeds(t, queued.ID, time.Minute)
	r.succeeds(t, running.ID, time.Minute)
	r.callback(t, called.JobID, time.Minute, inState(jobs.CallbackDelivered))
	t.Logf("all was done %s after the rescuer began", time.Since(begun).Round(time.Millisecond))
}
