package jobstore_test

import (
	"maps"
	"slices"
	"testing"
	"time"

	"cloud.google.com/go/firestore"

	"exportd/jobs"
)

// TestDueForeign: what no transition can be made on is told apart, and can be taken out of what is due.
func TestDueForeign(t *testing.T) {
	t.Parallel()
	b := open(t, jobs.Limits{})
	past := b.clock.Now().Add(-time.Hour)
	due := func(more map[string]any) map[string]any {
		doc := map[string]any{"schema": jobs.SchemaVersion, "shard": 3, "wakeAt": past}
		for k, v := range more {
			doc[k] = v
		}
		return doc
	}
	gone := jobs.NewID()
	for path, doc := range map[string]map[string]any{
		"ExportJobs/Foreign":                 due(nil),
		"ExportJobs/" + gone + "/parts/x":    due(map[string]any{"planEpoch": 1, "index": 2}),
		"ExportJobs/other/parts/1-00002":     due(map[string]any{"planEpoch": 1, "index": 2}),
		"ExportJobs/" + gone + "/parts/text": due(map[string]any{"index": "two"}),
		"ExportCallbacks/x":                  due(map[string]any{"jobId": gone}),
		"Elsewhere/a/parts/1-00002":          due(map[string]any{"planEpoch": 1, "index": 2}),
	} {
		if _, err := b.client.Doc(path).Create(t.Context(), doc); err != nil {
			t.Fatal(err)
		}
	}
	for kind, want := range map[jobs.DueKind]int{jobs.DueJobs: 1, jobs.DueParts: 3, jobs.DueCallbacks: 1} {
		page, err := b.Due(t.Context(), kind, jobs.AllShards(), b.clock.Now(), 100, nil)
		if err != nil || len(page.Docs) != want {
			t.Fatalf("Due(%d) = %d documents, %v, want %d", kind, len(page.Docs), err, want)
		}
		for _, d := range page.Docs {
			if !d.Foreign {
				t.Errorf("%s is taken for one of ours", d.Key)
			}
			if err := b.Retire(t.Context(), d); err != nil {
				t.Error(err)
			}
		}
		if left := b.due(t, kind); len(left) != 0 {
			t.Errorf("retired and still due: %v", left)
		}
	}
	if doc, err := b.client.Doc("Elsewhere/a/parts/1-00002").Get(t.Context()); err != nil || doc.Data()["wakeAt"] == nil {
		t.Errorf("a document of somebody else was touched: %v", err)
	}
}

// TestShardIsMended: a document without a shard gets it with the next write of whatever kind.
func TestShardIsMended(t *testing.T) {
	t.Parallel()
	b := open(t, jobs.Limits{})
	want := map[int]bool{}
	for n := 0; !want[0] && n < 1000; n++ { // until one belongs in shard 0, which is what none reads as
		s := request("org", 1)
		s.Fresh = true
		id := b.submit(t, s).Job.ID
		if _, err := b.client.Collection("ExportJobs").Doc(id).Update(t.Context(), []firestore.Update{{Path: "shard", Value: firestore.Delete}}); err != nil {
			t.Fatal(err)
		}
		b.update(t, id, func(*jobs.Tx) error { return nil })
		want[jobs.ShardOf(id)] = true
	}
	b.clock.Pass(time.Hour)
	found := map[int]bool{}
	for _, m := range b.due(t, jobs.DueJobs) {
		found[jobs.ShardOf(m.JobID)] = true
	}
	if !maps.Equal(found, want) {
		t.Errorf("due are jobs of the shards %v, want %v", found, want)
	}
}

// TestNoShardIsNotShardZero: of a job that is in no shard as queries see it, null or missing reads as shard
// 0. One job in 30 belongs there, and was taken for one that is in its shard: nobody looked at it again.
func TestNoShardIsNotShardZero(t *testing.T) {
	t.Parallel()
	b := open(t, jobs.Limits{})
	for name, value := range map[string]any{"null": nil, "missing": firestore.Delete, "a text": "0"} {
		id := ""
		for n := 0; id == ""; n++ { // until one belongs in shard 0
			s := request("org", 1)
			s.Fresh = true
			if got := b.submit(t, s).Job.ID; jobs.ShardOf(got) == 0 {
				id = got
			}
			if n == 1000 {
				t.Fatal("of 1000 jobs none is in shard 0")
			}
		}
		if _, err := b.client.Collection("ExportJobs").Doc(id).Update(t.Context(), []firestore.Update{{Path: "shard", Value: value}}); err != nil {
			t.Fatal(err)
		}
		found := false
		for after := ""; ; {
			names, _, next, err := b.Suspects(t.Context(), jobs.AuditQueued, after)
			if err != nil {
				t.Fatal(err)
			}
			found = found || slices.Contains(names, jobs.Message{JobID: id})
			if after = next; after == "" {
				break
			}
		}
		if !found {
			t.Errorf("shard %s: nobody looks after the job", name)
		}
	}
}
