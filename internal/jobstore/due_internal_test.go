package jobstore

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"cloud.google.com/go/firestore"

	"exportd/internal/localcloud/localcloudtest"
	"exportd/jobs"
)

// TestDueOfSeveralVersions: what is due of several versions comes in one order and page by page, each once
// and none of another version, however many queries it takes.
func TestDueOfSeveralVersions(t *testing.T) {
	t.Parallel()
	cloud := localcloudtest.Start(t)
	client, now := cloud.Firestore, time.Now().UTC().Truncate(time.Second)
	col := client.Collection("ExportJobs")
	var want []string
	batch := client.BulkWriter(t.Context())
	for i := range 120 {
		version, id := i%4+1, fmt.Sprintf("doc%03d", (i*37)%120)
		at := now.Add(time.Duration(i/10-20) * time.Second)
		if _, err := batch.Create(col.Doc(id), map[string]any{"schema": version, "shard": i % 30, "wakeAt": at}); err != nil {
			t.Fatal(err)
		}
		if version < 4 {
			want = append(want, at.Format("05")+id)
		}
	}
	batch.End()
	slices.Sort(want)
	for _, versions := range [][]int{{1, 2, 3}, {3, 1, 2}} {
		for _, limit := range []int{7, 89, 90, 200} {
			var got []string
			q := col.Where("wakeAt", "<=", now).OrderBy("wakeAt", firestore.Asc).OrderBy(firestore.DocumentID, firestore.Asc).Limit(limit)
			for page := q; ; {
				docs, err := firstDue(t.Context(), page, versions, jobs.AllShards(), limit)
				if err != nil {
					t.Fatal(err)
				}
				for _, doc := range docs {
					got = append(got, dueAt(doc).Format("05")+doc.Ref.ID)
				}
				if len(docs) < limit {
					break
				}
				page = q.StartAfter(dueAt(docs[limit-1]), docs[limit-1].Ref)
			}
			if sorted := slices.Sorted(slices.Values(got)); !slices.Equal(sorted, want) {
				t.Errorf("versions %v, pages of %d: %d documents, want %d", versions, limit, len(got), len(want))
			}
		}
	}
	// A partition of ten shards asks for three versions by one query.
	cloud.Faults().ResetCounters()
	if _, err := firstDue(t.Context(), col.Where("wakeAt", "<=", now).OrderBy("wakeAt", firestore.Asc).Limit(5), []int{1, 2, 3}, jobs.AllShards()[:10], 5); err != nil {
		t.Fatal(err)
	}
	if n := cloud.Faults().Counters().Methods["Firestore/RunQuery"].Calls; n != 1 {
		t.Errorf("10 shards of 3 versions take %d queries, want 1: %+v", n, cloud.Faults().Counters().Methods)
	}
}
