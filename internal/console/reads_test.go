package console_test

import (
	"flag"
	"fmt"
	"net/http"
	"testing"
	"time"

	"cloud.google.com/go/firestore"

	"exportd/internal/jobstore"
	"exportd/internal/localcloud/localcloudtest"
	"exportd/jobs"
)

var overviewJobs = flag.Int("overview", 600, "jobs of TestOverviewReads")

var manyJobs = flag.Int("many", 100_000, "jobs of BenchmarkMany")

// filled is a desk on the embedded cloud with jobs of a night, half of them failed, by so many causes; and
// rollups of 12 hours as 4 workers leave them, with 10 orgs of which each has all its documents.
func filled(tb testing.TB, many, causes int) (*desk, *localcloudtest.Cloud) {
	tb.Helper()
	cloud := localcloudtest.Start(tb)
	d := openOn(tb, func(policy jobs.Policy, now func() time.Time) store {
		return jobstore.New(jobstore.Config{Client: cloud.Firestore, Policy: policy, Now: now})
	})
	d.mu.Lock()
	d.now = time.Now().UTC().Truncate(time.Hour).Add(30 * time.Minute)
	d.mu.Unlock()
	docs := cloud.Firestore.Collection("ExportJobs")
	failed, done := d.failedBy("org_1", "", jobs.CodeMissingIndex, "no index", "Make it.", "x"), d.succeeded("org_1", "", 1000)
	bulk, end := cloud.Firestore.BulkWriter(tb.Context()), d.clock()
	set := func(ref *firestore.DocumentRef, doc map[string]any) {
		if _, err := bulk.Set(ref, doc); err != nil {
			tb.Fatal(err)
		}
	}
	like := [2]map[string]any{}
	for i, j := range []*jobs.Job{failed, done} {
		doc, err := docs.Doc(j.ID).Get(tb.Context())
		if err != nil {
			tb.Fatal(err)
		}
		like[i] = doc.Data()
	}
	for i := range many {
		doc, at := like[i%2], end.Add(-time.Duration(many-i)*11*time.Hour/time.Duration(many))
		doc["createdAt"], doc["startedAt"], doc["finishedAt"] = at, at, at
		if e, ok := doc["error"].(map[string]any); ok && i%2 == 0 {
			c := jobs.Cause{Code: jobs.CodeMissingIndex, What: fmt.Sprint("index ", i/2%causes)}
			e["what"], e["cause"] = c.What, c.ID()
		}
		set(docs.Doc(jobs.NewID()), doc)
	}
	for i := range causes {
		c, at := jobs.Cause{Code: jobs.CodeMissingIndex, What: fmt.Sprint("index ", i)}, end.Add(-time.Duration(i)*time.Second)
		set(cloud.Firestore.Collection("ExportCauses").Doc(c.ID()), map[string]any{
			"code": c.Code, "what": c.What, "message": "m", "remedy": "r", "firstMicros": at.Add(-9 * time.Hour).UnixMicro(), "lastAt": at, "expiresAt": end.Add(240 * time.Hour)})
	}
	counts := map[string]any{string(jobs.CountEnd(jobs.Succeeded)): int64(7), string(jobs.CountRows): int64(70_000), string(jobs.CountRunMs): int64(90_000)}
	for hour := range 13 {
		at := end.Add(-time.Duration(hour) * time.Hour).Truncate(time.Hour)
		for org := range 11 {
			key := jobs.RollupKey{Hour: at}
			shards := 4
			if org > 0 {
				key.OrgID, shards = fmt.Sprintf("org_%d", org), jobs.OrgRollups
			}
			for key.Shard = range shards {
				doc := map[string]any{"hour": at, "orgId": key.OrgID, "shard": key.Shard, "expiresAt": at.Add(jobs.RollupLife), "slots": map[string]any{"05": map[string]any{"vip-users": counts}}}
				if org > 0 {
					doc["rows"], doc["runMs"] = int64(70_000), int64(90_000)
				}
				set(cloud.Firestore.Collection("ExportRollups").Doc(key.ID()), doc)
			}
		}
	}
	bulk.End()
	return d, cloud
}

// TestOverviewReads: what an overview costs that is open for an hour, of a small fleet: documents read by two
// minutes of looks, times thirty. All who have it open share its looks (TestStreams).
func TestOverviewReads(t *testing.T) {
	t.Parallel()
	d, cloud := filled(t, *overviewJobs, 10)
	p := d.signedIn("key_viewer")
	read := func() int64 { return cloud.Faults().Counters().DocumentsRead }
	open := func() {
		if a := p.get("/console"); a.status != http.StatusOK {
			t.Fatalf("overview = %d %s", a.status, a.body)
		}
	}
	before := read()
	open()
	first := read() - before
	const every, minutes = 10 * time.Second, 2
	before = read()
	for range minutes * time.Minute / every {
		d.pass(every)
		open()
	}
	hour := (read() - before) * 60 / minutes
	t.Logf("%d documents for the first look, %d for an hour", first, hour)
	if first > 3000 || hour > 45_000 {
		t.Errorf("%d documents were read for the first look, at most 3000 are allowed for; %d for an hour, at most 45000", first, hour)
	}
}

// BenchmarkMany makes the pages of operators at 100,000 jobs and 500 causes, of which nothing is remembered.
func BenchmarkMany(b *testing.B) {
	d, cloud := filled(b, *manyJobs, 500)
	p := d.signedIn("key_operator")
	id := jobs.Cause{Code: jobs.CodeMissingIndex, What: "index 7"}.ID()
	for _, page := range []string{"/console", "/console/jobs", "/console/jobs?state=failed&cause=" + id, "/console/causes", "/console/causes/" + id} {
		b.Run(page, func(b *testing.B) {
			before := cloud.Faults().Counters().DocumentsRead
			for b.Loop() {
				d.pass(time.Minute)
				if a := p.get(page); a.status != http.StatusOK {
					b.Fatalf("%s = %d %s", page, a.status, a.body)
				}
			}
			b.ReportMetric(float64(cloud.Faults().Counters().DocumentsRead-before)/float64(b.N), "documents/op")
		})
	}
}
