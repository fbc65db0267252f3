package jobstore_test

import (
	"errors"
	"fmt"
	"time"

	"cloud.google.com/go/firestore"

	"exportd/internal/localcloud/localcloudtest"
	"exportd/jobs"
)

// makeCause fails a job, and gives what is remembered of why.
func makeCause(w *wardRig) *firestore.DocumentRef {
	id := w.submit(w.t, request("org1", 1)).Job.ID
	var l jobs.Lease
	w.update(w.t, id, func(tx *jobs.Tx) (err error) { l, err = tx.Claim("w"); return err })
	j := w.update(w.t, id, func(tx *jobs.Tx) error {
		return tx.EndAttempt(l, jobs.Fail(jobs.CodeMissingIndex, jobs.Permanent, "an index is missing", "make it", nil).About("index a"))
	})
	w.ids = []string{j.Error.CauseID}
	w.must(w.NoteProbe(w.t.Context(), j.Error.CauseID, jobs.Probe{At: w.clock.Now(), Verdict: jobs.ProbeNotFixed, Says: "no"}))
	return w.client.Collection("ExportCauses").Doc(j.Error.CauseID)
}

// readCauses: a damaged cause is told of as it is, or not at all, and no look at it fails for that.
func readCauses(w *wardRig, _ localcloudtest.Wound) error {
	now := w.clock.Now()
	page, _, err := w.Causes(w.t.Context(), now.Add(-time.Hour), 10, "")
	for _, n := range page {
		if why := n.Check(w.ids[0], now); why != "" {
			return fmt.Errorf("a cause is listed whose %s", why)
		}
	}
	if err != nil {
		return err
	}
	if n, err := w.Cause(w.t.Context(), w.ids[0]); err == nil && n.ID() != w.ids[0] || err != nil && !errors.Is(err, jobs.ErrNotFound) {
		return fmt.Errorf("Cause() = %+v, %w", n, err)
	}
	_, err = w.CauseCases(w.t.Context(), jobs.CauseQuery{ID: w.ids[0], From: now.Add(-time.Hour), To: now.Add(time.Hour)})
	return err
}

func makeAudit(w *wardRig) *firestore.DocumentRef {
	w.must(w.SetPaused(w.t.Context(), jobs.QueueExports, true, "me", "to look at it"))
	return w.only("ExportAudit")
}

// readAudit: a damaged entry is left out or told of as it is, and hides no other.
func readAudit(w *wardRig, _ localcloudtest.Wound) error {
	page, _, err := w.AuditEntries(w.t.Context(), jobs.AuditList{})
	for _, e := range page {
		if why := e.Check(w.clock.Now()); why != "" {
			return fmt.Errorf("an entry is listed whose %s", why)
		}
	}
	return err
}
