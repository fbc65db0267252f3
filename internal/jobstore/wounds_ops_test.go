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

func makeOrgLinks(w *wardRig) *firestore.DocumentRef {
	_, err := w.RevokeOrgLinks(w.t.Context(), "org1", "me", "to look at it")
	w.must(err)
	return w.only("ExportLinks")
}

// readOrgLinks: by a damaged document no link that was handed out before is good, new ones are, and the next
// revocation mends it.
func readOrgLinks(w *wardRig, wound localcloudtest.Wound) error {
	was, err := w.LinkGeneration(w.t.Context(), "org1")
	again, err2 := w.LinkGeneration(w.t.Context(), "org1")
	if err != nil || err2 != nil || was < 0 || was != again {
		return fmt.Errorf("LinkGeneration() = %d, then %d, %w, %w", was, again, err, err2)
	}
	_, err = w.RevokeOrgLinks(w.t.Context(), "org1", "me", "again")
	if next, err2 := w.LinkGeneration(w.t.Context(), "org1"); err != nil || err2 != nil || next == was {
		return fmt.Errorf("after %s of %s a revocation leads from %d to %d, %w, %w", wound.What, wound.Field, was, next, err, err2)
	}
	return nil
}

func makeDownload(w *wardRig) *firestore.DocumentRef {
	j := w.submit(w.t, request("org1", 1)).Job
	w.ids = []string{j.ID}
	w.must(w.NoteDownloads(w.t.Context(), jobs.NewDownload(j, jobs.NewID(), "api key k", "203.0.113.1", "curl/8", w.clock.Now())))
	return w.only("ExportDownloads")
}

// readDownloads: a damaged download is left out or told of as it is, and hides no other.
func readDownloads(w *wardRig, _ localcloudtest.Wound) error {
	page, total, _, err := w.Downloads(w.t.Context(), jobs.DownloadList{JobID: w.ids[0]})
	for _, d := range page {
		if why := d.Check(w.clock.Now()); why != "" || d.JobID != w.ids[0] {
			return fmt.Errorf("a download is listed whose %s", why)
		}
	}
	if err == nil && total < 0 {
		return fmt.Errorf("there are %d downloads", total)
	}
	return err
}

func budgeted(month int) jobs.Submission {
	s := request("org1", month)
	s.KeyID, s.Fresh = "key_1", true
	s.Budget = &jobs.BudgetRequest{Budget: jobs.Budget{Rows: 1000}, Counted: true, AskRows: 1}
	return s
}

func makeBudget(w *wardRig) *firestore.DocumentRef {
	w.submit(w.t, budgeted(1))
	return w.only("ExportBudgets")
}

// readBudget: a damaged day locks nobody out: it is as new, unless it tells of numbers that can be.
func readBudget(w *wardRig, _ localcloudtest.Wound) error {
	days, err := w.BudgetDays(w.t.Context(), []string{"key_1"})
	if err != nil {
		return err
	}
	day := days[0]
	if day.KeyID != "key_1" || !day.Day.Equal(w.clock.Now().Truncate(24*time.Hour)) || day.Left(jobs.Budget{Rows: 1000}).Rows > 1000 {
		return fmt.Errorf("BudgetDays() = %+v", day)
	}
	if day.Rows > 999 {
		return nil
	}
	got, err := w.Submit(w.t.Context(), budgeted(1))
	if err != nil {
		return err
	}
	_, err = w.Update(w.t.Context(), got.Job.ID, "test", func(tx *jobs.Tx) error { return tx.Cancel("no more") })
	return err
}
