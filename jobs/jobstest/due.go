package jobstest

import (
	"errors"
	"slices"
	"testing"
	"time"

	"exportd/jobs"
)

var dueCases = []storeCase{
	{"each shard gives what is due in it, page by page", jobs.Limits{}, dueByShard},
	{"what is due longest comes first", jobs.Limits{}, dueOrder},
	{"parts that are held are due when their lease is over", jobs.Limits{}, dueParts},
	{"what is retired is not due until it is written again", jobs.Limits{}, dueRetired},
	{"whoever is forgotten is suspected", jobs.Limits{RunningJobs: 1}, suspects},
	{"a record whose life is over is purged, unless it was run again", jobs.Limits{}, purges},
}

func dueByShard(t *testing.T, b *bench) {
	ids := make([]string, 40)
	for i := range ids {
		ids[i] = b.job(t, "org", i%12+1)
		b.update(t, ids[i], cancel)
	}
	live := b.job(t, "org", 1)
	b.Pass(policy().RecordLife) // none was ever claimed: nothing is to be swept
	if got := b.due(t, jobs.DueJobs); len(got) != 1 || got[0].JobID != live {
		t.Errorf("due of what somebody waits for = %v, want %s alone", got, live)
	}
	var found []string
	for shard := range jobs.Shards {
		var cursor *jobs.DueCursor
		for {
			page, err := b.Due(t.Context(), jobs.DueEnded, []int{shard}, b.Now(), 1, cursor)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range page.Docs {
				if jobs.ShardOf(d.Message.JobID) != shard || d.Foreign || d.Key != b.JobKey(d.Message.JobID) {
					t.Errorf("shard %d gives %+v", shard, d)
				}
				found = append(found, d.Message.JobID)
			}
			if cursor = page.Next; cursor == nil {
				break
			}
		}
	}
	slices.Sort(found)
	slices.Sort(ids)
	if !slices.Equal(found, ids) {
		t.Errorf("the shards gave %d jobs, want the %d that ended, each once", len(found), len(ids))
	}
}

func dueOrder(t *testing.T, b *bench) {
	var want []jobs.Message
	for i := range 6 {
		want = append(want, jobs.Message{JobID: b.job(t, "org", i+1)})
		b.Pass(time.Second)
	}
	if got := b.due(t, jobs.DueJobs); len(got) > 0 {
		t.Errorf("%d jobs are due before their time", len(got))
	}
	b.Pass(policy().NotifyAgain)
	if got := b.due(t, jobs.DueJobs); !slices.Equal(got, want) {
		t.Errorf("due = %v, want %v", got, want)
	}
	b.update(t, want[0].JobID, func(tx *jobs.Tx) error { _, err := tx.Wake(); return err })
	if got := b.due(t, jobs.DueJobs); !slices.Equal(got, want[1:]) {
		t.Errorf("due once the first was woken = %v, want %v", got, want[1:])
	}
}

func dueParts(t *testing.T, b *bench) {
	id := b.job(t, "org", 1)
	j := b.plan(t, id, 3)
	b.claimPart(t, j, 1)
	if got := b.due(t, jobs.DueParts); len(got) > 0 {
		t.Errorf("a part that is held is due: %v", got)
	}
	b.Pass(time.Hour)
	if got := b.due(t, jobs.DueParts); !slices.Equal(got, []jobs.Message{{JobID: id, PlanEpoch: j.PlanEpoch, Part: 1}}) {
		t.Errorf("due parts = %+v", got)
	}
	if got := b.due(t, jobs.DueJobs); !slices.Equal(got, []jobs.Message{{JobID: id}}) {
		t.Errorf("due jobs = %v, want the job", got)
	}
}

func dueRetired(t *testing.T, b *bench) {
	id := b.job(t, "org", 1)
	b.Pass(time.Hour)
	look := func() jobs.Due {
		t.Helper()
		page, err := b.Due(t.Context(), jobs.DueJobs, jobs.AllShards(), b.Now(), 10, nil)
		if err != nil || len(page.Docs) != 1 {
			t.Fatalf("Due = %+v, %v, want the job", page.Docs, err)
		}
		return page.Docs[0]
	}
	early := look()
	b.update(t, id, func(tx *jobs.Tx) error { _, err := tx.Claim("w"); return err })
	if err := b.Retire(t.Context(), early); err != nil && !errors.Is(err, jobs.ErrNotFound) {
		t.Logf("Retire of what was changed = %v", err) // an error or none: it is as it was
	}
	b.Pass(time.Hour)
	if err := b.Retire(t.Context(), look()); err != nil {
		t.Errorf("Retire = %v", err)
	}
	if got := b.due(t, jobs.DueJobs); len(got) > 0 {
		t.Errorf("what was retired is due: %v", got)
	}
	b.update(t, id, func(tx *jobs.Tx) error { _, err := tx.Wake(); return err })
	b.Pass(time.Hour)
	look()
	if err := b.Retire(t.Context(), jobs.Due{Message: jobs.Message{JobID: id}}); err != nil {
		t.Errorf("Retire of what was not found by being due = %v", err)
	}
}

// suspects: a job that waits for a place of which nobody tells it is found by who looks through all.
func suspects(t *testing.T, b *bench) {
	first, second := b.job(t, "org", 1), b.job(t, "org", 2)
	b.claim(t, first)
	if ok, err := b.runs(second); ok || err != nil {
		t.Fatalf("claim beside a running job = %v, %v", ok, err)
	}
	look := func(a jobs.Audit) (found []jobs.Message) {
		t.Helper()
		for after := ""; ; {
			some, batches, next, err := b.Suspects(t.Context(), a, after)
			if err != nil || len(batches) > 0 {
				t.Fatalf("Suspects = %v, %v", batches, err)
			}
			found = append(found, some...)
			if after = next; after == "" {
				return found
			}
		}
	}
	for a := range jobs.Audits {
		if found := look(a); len(found) > 0 {
			t.Errorf("stretch %d suspects %v", a, found)
		}
	}
	b.Pass(11 * time.Minute)
	if found := look(jobs.AuditQueued); !slices.Equal(found, []jobs.Message{{JobID: second}}) {
		t.Errorf("suspected are %v, want the job that waits", found)
	}
}

func purges(t *testing.T, b *bench) {
	gone, again, young := b.job(t, "org", 1), b.job(t, "org", 2), b.job(t, "org", 3)
	b.update(t, gone, cancel)
	b.update(t, again, cancel)
	b.update(t, again, func(tx *jobs.Tx) error { _, err := tx.Rerun(jobs.RerunFresh, ""); return err })
	b.Pass(policy().RecordLife)
	b.update(t, young, cancel)
	for range 2 { // safe to repeat
		if err := b.Purge(t.Context(), []*jobs.Job{{ID: gone}, {ID: again}, {ID: young}, {ID: jobs.NewID()}}); err != nil {
			t.Fatalf("Purge = %v", err)
		}
	}
	if _, err := b.Get(t.Context(), gone); !errors.Is(err, jobs.ErrNotFound) {
		t.Errorf("Get of a purged job = %v, want ErrNotFound", err)
	}
	for _, id := range []string{again, young} {
		if _, err := b.Get(t.Context(), id); err != nil {
			t.Errorf("a job that is not due to go: %v", err)
		}
	}
	b.Pass(9 * 24 * time.Hour)
	events, err := b.Events(t.Context(), gone)
	calls, cerr := b.Callbacks(t.Context(), gone)
	if err != nil || cerr != nil || len(events)+len(calls) > 0 {
		t.Errorf("%d events and %d callbacks are left past their time, %v, %v", len(events), len(calls), err, cerr)
	}
}
