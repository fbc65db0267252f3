package worker_test

import (
	"testing"
	"time"

	"cloud.google.com/go/firestore"

	"exportd/jobs"
)

// TestNegativeEpochMakesNoDeadLetters: a job whose epoch is -7, notified a hundred times while it is ended as
// damaged, and its callback: 272 dead letters came of one in 100 s.
func TestNegativeEpochMakesNoDeadLetters(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	j := r.queued(r.clock.Now().Add(-time.Hour))
	j.CallbackURL = "https://hooks.invalid/x"
	r.write(t, map[string]any{"ExportJobs/" + j.ID: j})
	if _, err := r.store.Update(t.Context(), j.ID, "killed", func(tx *jobs.Tx) error { _, err := tx.Claim("killed"); return err }); err != nil {
		t.Fatal(err)
	}
	if _, err := r.firestore.Doc("ExportJobs/"+j.ID).Update(t.Context(), []firestore.Update{{Path: "epoch", Value: -7}}); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if err := r.queue.Publish(t.Context(), jobs.QueueExports, jobs.Message{JobID: j.ID}); err != nil {
			t.Fatal(err)
		}
	}
	r.work(t)
	var now *jobs.Job
	eventually(t, time.Minute, func() bool {
		var err error
		if now, err = r.store.Get(t.Context(), j.ID); err != nil {
			t.Fatal(err)
		}
		calls, err := r.store.Callbacks(t.Context(), j.ID)
		return err == nil && now.State.Ended() && len(calls) == 1 && calls[0].Attempt > 0
	}, func() any { return now })
	id := r.submit(t, "") // behind the hundred
	r.succeeds(t, id, time.Minute)
	st, err := r.store.Stats(t.Context())
	if err != nil || len(st.DeadLetters) != 0 {
		t.Errorf("dead letters = %+v, %v, want none", st.DeadLetters, err)
	}
	if now.State != jobs.Failed || now.Error == nil || now.Error.Code != jobs.CodeInvalidJob || now.Epoch < 1 {
		t.Errorf("the job ended as %+v", now)
	}
}
