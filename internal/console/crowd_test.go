//go:build chromium

package console_test

import (
	"flag"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/firestore"

	"exportd/internal/browser"
	"exportd/internal/jobstore"
	"exportd/internal/localcloud/localcloudtest"
	"exportd/jobs"
)

const (
	crowdCauses = 500
	// maxRead bounds what a page may read of a database: documents, an aggregation's 1,000 index entries
	// being one. The overview reads 13 hours of rollups, at most 30 documents each, and 25 orgs of each hour;
	// all else is a page of 50 and what it counts.
	maxRead = 13*30 + 13*2*25*jobs.OrgRollups + 200
	// maxAsked bounds what a page asks of the API.
	maxAsked = 4
)

var crowdJobs = flag.Int("crowd", 100_000, "jobs of TestCrowdInChromium; fewer while one works on pages")

// crowd is a desk on the embedded cloud, with 100,000 jobs of a night and 500 causes. A night of some 40 jobs
// is made by their transitions, and each of those copied under other names and times.
func crowd(t *testing.T) (*desk, *localcloudtest.Cloud) {
	cloud := localcloudtest.Start(t)
	d := openOn(t, func(policy jobs.Policy, now func() time.Time) store {
		return jobstore.New(jobstore.Config{Client: cloud.Firestore, Policy: policy, Now: now})
	})
	d.mu.Lock()
	d.now = time.Now().UTC().Truncate(time.Second)
	d.mu.Unlock()
	d.night(t, 60)
	made, err := cloud.Firestore.Collection("ExportJobs").Documents(t.Context()).GetAll()
	if err != nil {
		t.Fatal(err)
	}
	made = slices.DeleteFunc(made, func(doc *firestore.DocumentSnapshot) bool {
		state := doc.Data()["state"]
		return state == string(jobs.Running) || state == string(jobs.Queued)
	})
	bulk := cloud.Firestore.BulkWriter(t.Context())
	set := func(collection, id string, doc map[string]any) {
		if _, err := bulk.Set(cloud.Firestore.Collection(collection).Doc(id), doc); err != nil {
			t.Fatal(err)
		}
	}
	whats := make([]jobs.Cause, crowdCauses)
	for i := range whats {
		whats[i] = jobs.Cause{Code: jobs.CodeMissingIndex, What: fmt.Sprintf("VipUsers_%03d (workspaceId ASC, birthdayMonth ASC, createdAt DESC, __name__ DESC)", i)}
	}
	end := d.clock()
	for i := range *crowdJobs {
		doc := made[i%len(made)].Data()
		at := end.Add(-time.Duration(*crowdJobs-i) * 400 * time.Millisecond)
		late := at.Sub(doc["createdAt"].(time.Time))
		for _, name := range []string{"startedAt", "claimedAt", "finishedAt", "snapshotTime", "queuedAt", "fileExpiresAt", "wakeAt", "expiresAt"} {
			if was, ok := doc[name].(time.Time); ok {
				doc[name] = was.Add(late)
			}
		}
		if e, failed := doc["error"].(map[string]any); failed && doc["state"] == "failed" {
			c := whats[i%crowdCauses]
			e["code"], e["what"], e["cause"], e["message"] = string(c.Code), c.What, c.ID(), "the database has no index for this query"
		}
		doc["createdAt"] = at
		id := jobs.NewID()
		if result, ok := doc["result"].(map[string]any); ok && result["object"] != nil { // its file is in a folder of its own
			result["object"] = strings.ReplaceAll(result["object"].(string), made[i%len(made)].Ref.ID, id)
		}
		set("ExportJobs", id, doc)
	}
	for i, c := range whats {
		at := end.Add(-time.Duration(i) * 30 * time.Second)
		set("ExportCauses", c.ID(), map[string]any{
			"code": c.Code, "what": c.What, "message": "the database has no index for this query",
			"remedy": "Make it: https://console.firebase.google.com/project/demo/firestore/indexes?create_composite=" + strings.Repeat("Ck5wcm9qZWN0cy9kZW1v", 6), "firstMicros": at.Add(-9 * time.Hour).UnixMicro(), "lastAt": at, "expiresAt": end.Add(time.Hour * 240),
		})
	}
	for hour := range 12 {
		at := end.Add(-time.Duration(hour) * time.Hour).Truncate(time.Hour)
		counts := map[string]any{}
		for name, n := range map[jobs.Counter]int64{jobs.CountEnd(jobs.Succeeded): 7200, jobs.CountEnd(jobs.Failed): 950, jobs.CountFailure(jobs.CodeMissingIndex): 950, jobs.CountRows: 38_000_000, jobs.CountRunMs: 70_000_000} {
			counts[string(name)] = firestore.Increment(n * int64(hour%5+2) / 4)
		}
		for org := range 12 {
			key := jobs.RollupKey{Hour: at, Shard: 0}
			if org > 0 {
				key.OrgID = fmt.Sprintf("org_%04d", org)
			}
			slots := map[string]any{}
			for _, minute := range []string{"00", "15", "30", "45"} {
				slots[minute] = map[string]any{"vip-users": counts}
			}
			doc := map[string]any{"hour": at, "orgId": key.OrgID, "shard": 0, "expiresAt": at.Add(jobs.RollupLife), "slots": slots}
			if org > 0 {
				doc["rows"], doc["runMs"] = int64(org)*38_000_000, int64(org)*70_000_000
			}
			if _, err := bulk.Set(cloud.Firestore.Collection("ExportRollups").Doc(key.ID()), doc, firestore.MergeAll); err != nil {
				t.Fatal(err)
			}
		}
	}
	bulk.End()
	list, err := d.store.List(t.Context(), jobs.List{PageSize: 100})
	if err != nil || slices.ContainsFunc(list.Jobs, func(j *jobs.Job) bool { return j.Error != nil && j.Error.Code == jobs.CodeInvalidJob }) {
		t.Fatalf("a copy is no job that can be: %v", err)
	}
	return d, cloud
}

// TestCrowdInChromium: every page at 100,000 jobs and 500 causes, in light, dark and on a phone: as
// TestConsole of a few, and with a bound on what it takes to make it.
func TestCrowdInChromium(t *testing.T) {
	text := axeText(t)
	begun := time.Now()
	d, cloud := crowd(t)
	t.Logf("%d jobs made in %s", *crowdJobs, time.Since(begun).Round(time.Second))
	d.change("key_operator", func(k *keyOf) { k.Scopes = append(k.Scopes, "platform") })
	person := d.signedIn("key_operator")
	pages := d.everyPage(t)
	for page, path := range pages { // before one is open, which would read and ask meanwhile
		d.pass(time.Minute) // nothing is known from before
		d.forgetAsked()
		before := cloud.Faults().Counters().DocumentsRead
		begun := time.Now()
		a := person.get(path)
		took := time.Since(begun)
		read, asked := cloud.Faults().Counters().DocumentsRead-before, d.forgetAsked()
		if a.status >= http.StatusInternalServerError || read > maxRead || asked > maxAsked {
			t.Errorf("%s = %d, after %d documents and %d requests of the API", page, a.status, read, asked)
		}
		t.Logf("%-14s %4d ms, %4d documents, %d requests of the API, %3d kB", page, took.Milliseconds(), read, asked, len(a.body)/1024)
	}
	p := browser.Open(t, d.URL+"/console/sign-in")
	signIn(p, d, "key_operator")
	for page, path := range pages {
		for _, look := range []string{"light", "dark", "phone"} {
			p.Size(1280, 900, false)
			if look == "phone" {
				p.Size(390, 844, true)
			}
			p.Dark(look == "dark")
			p.Go(d.URL + path)
			judged(t, p, "crowd "+page+" "+look, text)
			shoot(p, "crowd-"+page+"-"+look, true)
		}
	}
	p.Close()
}

// forgetAsked says how often the API was asked since the last time.
func (d *desk) forgetAsked() (n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, times := range d.asked {
		n += times
	}
	clear(d.asked)
	return n
}
