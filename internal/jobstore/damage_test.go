package jobstore_test

import (
	"maps"
	"testing"
	"time"

	"cloud.google.com/go/firestore"

	"exportd/jobs"
)

// TestRoleUntil2200: a role that somebody gave until 2200 is taken by the next who asks for it; it stopped
// every rescue before.
func TestRoleUntil2200(t *testing.T) {
	t.Parallel()
	b := open(t, jobs.Limits{})
	role := b.client.Collection("ExportLeases").Doc("role-rescuer")
	for name, until := range map[string]any{
		"in 2200": time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC), "by a clock an hour ahead": b.clock.Now().Add(time.Hour),
		"as text": "tomorrow", "as null": nil,
	} {
		if _, err := role.Set(t.Context(), map[string]any{"kind": "role", "owner": "somebody", "until": until}); err != nil {
			t.Fatal(err)
		}
		if ok, err := b.Acquire(t.Context(), "rescuer", "w1", 10*time.Second); err != nil || !ok {
			t.Errorf("Acquire() of a role with an end %s = %t, %v", name, ok, err)
		}
		if ok, err := b.Acquire(t.Context(), "rescuer", "w2", 10*time.Second); err != nil || ok {
			t.Errorf("Acquire() of a role that was just taken = %t, %v", ok, err)
		}
	}
}

// TestGuardedByIsRead: the columns of guarded cells are read as they were written, also beside a field that
// holds another type; what is no number among them is damage.
func TestGuardedByIsRead(t *testing.T) {
	t.Parallel()
	b := open(t, jobs.Limits{})
	want := map[string]int64{"id": 2, "displayName": 40}
	for name, tc := range map[string]struct {
		updates []firestore.Update
		damaged bool
		want    map[string]int64
	}{
		"whole":                {want: want},
		"beside another field": {updates: []firestore.Update{{Path: "spent", Value: "x"}}, want: want},
		"of another type":      {updates: []firestore.Update{{Path: "result.guardedBy.columns.id", Value: "x"}}, damaged: true},
	} {
		id := b.submit(t, request("org", 1)).Job.ID
		set := append([]firestore.Update{{Path: "result.guardedBy", Value: jobs.GuardedBy{Object: "o", Columns: want}}}, tc.updates...)
		for _, u := range set {
			if _, err := b.client.Collection("ExportJobs").Doc(id).Update(t.Context(), []firestore.Update{u}); err != nil {
				t.Fatal(err)
			}
		}
		j, err := b.Get(t.Context(), id)
		if err != nil || (j.State == jobs.Failed) != tc.damaged {
			t.Errorf("%s: %+v, %v", name, j, err)
			continue
		}
		if got := j.Result.GuardedBy; tc.want != nil && (got == nil || got.Object != "o" || !maps.Equal(got.Columns, tc.want)) {
			t.Errorf("%s: guarded are %+v", name, got)
		}
	}
}

// TestDamagedJobIsShownAsFailed: whoever reads a damaged job ends it, whatever its document holds, and lists
// show it as what it is about to be ended as.
func TestDamagedJobIsShownAsFailed(t *testing.T) {
	t.Parallel()
	b := open(t, jobs.Limits{})
	fields := []firestore.Update{
		{Path: "params", Value: firestore.Delete}, {Path: "state", Value: 5}, {Path: "createdAt", Value: "yesterday"}, {Path: "createdAt", Value: firestore.Delete},
		{Path: "partsTotal", Value: 2_000_000_000}, {Path: "epoch", Value: -7}, {Path: "lease", Value: "x"}, {Path: "schema", Value: nil}, {Path: "result.rows", Value: 1e308},
	}
	var ids []string
	for i, f := range fields {
		id := b.submit(t, request("org", i%12+1)).Job.ID
		if _, err := b.client.Collection("ExportJobs").Doc(id).Update(t.Context(), []firestore.Update{f}); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	seen := map[string]jobs.State{}
	for token := ""; ; {
		page, err := b.List(t.Context(), jobs.List{PageSize: 2, PageToken: token})
		if err != nil {
			t.Fatalf("List() = %v", err)
		}
		for _, j := range page.Jobs {
			seen[j.ID] = j.State
		}
		if token = page.Next; token == "" {
			break
		}
	}
	for i, id := range ids {
		if s, ok := seen[id]; ok && s != jobs.Failed || !ok && fields[i].Path != "createdAt" {
			t.Errorf("%s: listed as %q", fields[i].Path, s)
		}
		j, err := b.Get(t.Context(), id)
		if err != nil || j.State != jobs.Failed || j.Error.Code != jobs.CodeInvalidJob || j.Error.Remedy == "" {
			t.Errorf("%s: Get() = %+v, %v", fields[i].Path, j, err)
		}
		doc, err := b.client.Collection("ExportJobs").Doc(id).Get(t.Context())
		if state, _ := doc.DataAt("state"); err != nil || state != "failed" {
			t.Errorf("%s: it is stored as %v, %v", fields[i].Path, state, err)
		}
	}
	if _, err := b.client.Collection("ExportLeases").Doc("x").Set(t.Context(), map[string]any{"kind": "dead", "count": -1}); err != nil {
		t.Fatal(err)
	}
	if st, err := b.Stats(t.Context()); err != nil || st.States[jobs.Failed] != int64(len(ids)) {
		t.Errorf("Stats() = %+v, %v", st, err)
	}
}

// TestNewerJobIsLeftAlone: a document that another build wrote is not touched, also when this one cannot read
// it; it was overwritten before.
func TestNewerJobIsLeftAlone(t *testing.T) {
	t.Parallel()
	b := open(t, jobs.Limits{})
	id := b.submit(t, request("org", 1)).Job.ID
	ref := b.client.Collection("ExportJobs").Doc(id)
	if _, err := ref.Update(t.Context(), []firestore.Update{{Path: "schema", Value: jobs.SchemaVersion + 1}, {Path: "lease", Value: []any{"two", "holders"}}}); err != nil {
		t.Fatal(err)
	}
	was, err := ref.Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if j, err := b.Get(t.Context(), id); err != nil || j.Schema != jobs.SchemaVersion+1 || j.State != jobs.Queued {
		t.Errorf("Get() = %+v, %v", j, err)
	}
	_, _ = b.Update(t.Context(), id, "test", func(tx *jobs.Tx) error { _, err := tx.Wake(); return err })
	if now, err := ref.Get(t.Context()); err != nil || !now.UpdateTime.Equal(was.UpdateTime) {
		t.Errorf("it was written: %v, %v", now.Data(), err)
	}
}

// TestForeignPointers: a fingerprint or a key that leads to the job of another request, or of another org,
// gives nobody that job.
func TestForeignPointers(t *testing.T) {
	t.Parallel()
	b := open(t, jobs.Limits{})
	theirs := b.submit(t, request("org2", 1)).Job
	ours := request("org1", 1)
	ours.IdempotencyKey = "k"
	first := b.submit(t, ours).Job
	for _, col := range []string{"ExportFingerprints", "ExportIdempotency"} {
		docs, err := b.client.Collection(col).Documents(t.Context()).GetAll()
		if err != nil {
			t.Fatal(err)
		}
		for _, doc := range docs {
			for _, ups := range [][]firestore.Update{{{Path: "jobId", Value: theirs.ID}}, {{Path: "fingerprint", Value: theirs.Fingerprint}}, {{Path: "expiresAt", Value: "never"}}} {
				if _, err := doc.Ref.Update(t.Context(), ups); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	got := b.submit(t, ours)
	if got.Job.ID == theirs.ID || got.Job.ID == first.ID || got.Job.OrgID != "org1" {
		t.Errorf("Submit() by damaged pointers = %+v", got.Job)
	}
}
