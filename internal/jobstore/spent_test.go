package jobstore_test

import (
	"math"
	"testing"
	"time"

	"cloud.google.com/go/firestore"

	"exportd/jobs"
)

// TestSpentIsStored: what a job and its parts have spent comes back as it was written, and the document of a
// job that has spent nothing does not have it.
func TestSpentIsStored(t *testing.T) {
	t.Parallel()
	b := open(t, jobs.Limits{})
	id := b.submit(t, request("org1", 1)).Job.ID
	spent := jobs.Spent{Count: 12 * time.Millisecond, Plan: 7}
	b.update(t, id, func(tx *jobs.Tx) error {
		l, err := tx.Claim("w")
		if err != nil {
			return err
		}
		tx.Spent = spent
		return tx.Plan(l, tx.Now, []jobs.Range{{Rows: 1}, {Rows: 2}}, 0)
	})
	var l jobs.Lease
	j := b.update(t, id, func(tx *jobs.Tx) (err error) { _, l, err = tx.ClaimPart(1, 1, "w"); return err })
	under := jobs.Spent{Wait: time.Second, Scan: 2 * time.Second, Encode: 3, Yield: 4, Upload: 5, Compose: 6}
	if _, err := b.UpdatePart(t.Context(), id, jobs.PartID(1, 1), "w", func(tx *jobs.Tx) error {
		tx.Spent = under
		_, err := tx.RenewPart(1, 1, l, 1, 1)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	parts, err := b.Parts(t.Context(), j)
	if err != nil || len(parts) != 2 || parts[1].Total() != under || parts[0].Total() != (jobs.Spent{}) {
		t.Fatalf("parts = %+v, %v", parts, err)
	}
	got, err := b.Get(t.Context(), id)
	if err != nil || got.Spent.Count != spent.Count || got.Spent.Plan != 7 || got.SpentWith(parts).PartWait != time.Second {
		t.Errorf("job = %+v, %v", got.Spent, err)
	}
}

// TestDamagedSpent: whatever the fields hold that say where the time went, job and part are whole, go on, and
// show nothing that no clock can have measured.
func TestDamagedSpent(t *testing.T) {
	t.Parallel()
	b := open(t, jobs.Limits{})
	id := b.submit(t, request("org1", 1)).Job.ID
	j := b.update(t, id, func(tx *jobs.Tx) error {
		l, err := tx.Claim("w")
		if err != nil {
			return err
		}
		return tx.Plan(l, tx.Now, []jobs.Range{{Rows: 1}, {Rows: 2}}, 0)
	})
	job := b.client.Collection("ExportJobs").Doc(id)
	for _, value := range []any{5, "x", nil, []any{1}, map[string]any{"scan": "x", "encode": -5, "upload": int64(math.MinInt64), "wait": int64(math.MaxInt64), "count": 1.5, "more": true}, 1e308, time.Now(), firestore.Delete} {
		for _, ref := range []*firestore.DocumentRef{job, job.Collection("parts").Doc(jobs.PartID(1, 0))} {
			if _, err := ref.Update(t.Context(), []firestore.Update{{Path: "spent", Value: value}, {Path: "under", Value: value}, {Path: "told", Value: value}, {Path: "readyAt", Value: value}}); err != nil {
				t.Fatal(err)
			}
		}
		got, err := b.Get(t.Context(), id)
		if err != nil || got.State != jobs.Running || got.Check(b.clock.Now()) != nil {
			t.Fatalf("%v: Get() = %+v, %v", value, got, err)
		}
		parts, err := b.Parts(t.Context(), j)
		if err != nil || parts[0].Damage != "" || parts[0].Check(got, b.clock.Now()) != nil {
			t.Fatalf("%v: parts = %+v, %v", value, parts, err)
		}
		if s := got.SpentWith(parts); min(s.Wait, s.PartWait, s.Count, s.Scan, s.Encode, s.Upload) < 0 {
			t.Errorf("%v: spent %+v", value, s)
		}
	}
	if _, err := b.UpdatePart(t.Context(), id, jobs.PartID(1, 0), "w", func(tx *jobs.Tx) error { _, _, err := tx.ClaimPart(1, 0, "w"); return err }); err != nil {
		t.Error(err)
	}
}
