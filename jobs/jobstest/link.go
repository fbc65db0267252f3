package jobstest

import (
	"errors"
	"slices"
	"testing"
	"time"

	"exportd/jobs"
)

var fileLinkCases = []storeCase{
	{"revokes links of a job, one and all", jobs.Limits{}, revokedLinks},
	{"revokes all links of an org", jobs.Limits{}, revokedOrg},
	{"counts downloads, alike ones of an hour together", jobs.Limits{}, downloads},
}

// acts are what operators did, oldest first.
func (b *bench) acts(t *testing.T) (acts []jobs.AuditAction, last *jobs.AuditEntry) {
	t.Helper()
	page, _, err := b.AuditEntries(t.Context(), jobs.AuditList{})
	if err != nil || len(page) == 0 {
		t.Fatalf("AuditEntries() = %d entries, %v", len(page), err)
	}
	for _, e := range slices.Backward(page) {
		acts = append(acts, e.Action)
	}
	return acts, page[0]
}

func revokedLinks(t *testing.T, b *bench) {
	id := b.job(t, "org", 1)
	revoke := func(link string) func(*jobs.Tx) error {
		return func(tx *jobs.Tx) error { return tx.RevokeLinks(link, "it got out") }
	}
	if _, err := b.Update(t.Context(), id, "me", revoke("")); !errors.Is(err, jobs.ErrTransition) {
		t.Errorf("links of a job without a file are revoked: %v", err)
	}
	b.succeed(t, id)
	one, other := jobs.NewID(), jobs.NewID()
	j := b.update(t, id, revoke(one))
	for link, void := range map[string]bool{one: true, other: false} {
		if why := j.LinkVoid(link, j.Result.Object, 0); (why != "") != void {
			t.Errorf("link %s is void by %q, want %t", link, why, void)
		}
	}
	b.update(t, id, revoke(""))
	j, err := b.Get(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if j.LinkVoid(other, j.Result.Object, 0) == "" || j.LinkVoid(jobs.NewID(), j.Result.Object, 1) != "" || j.LinkVoid(jobs.NewID(), "another", 1) == "" {
		t.Errorf("after all were revoked job is %+v", j)
	}
	acts, last := b.acts(t)
	if !slices.Equal(acts, []jobs.AuditAction{jobs.AuditRevokeLinks, jobs.AuditRevokeLinks}) || last.Target != id || last.Reason != "it got out" || last.Actor != "test" {
		t.Errorf("on record is %v, last %+v", acts, last)
	}
	events, err := b.Events(t.Context(), id)
	if err != nil || events[len(events)-1].Type != jobs.EventLinksRevoked || events[len(events)-1].Reason != "it got out" {
		t.Errorf("the timeline is %+v, %v", events, err)
	}
	for range 100 {
		j = b.update(t, id, revoke(jobs.NewID()))
	}
	_, err = b.Update(t.Context(), id, "me", revoke(jobs.NewID()))
	if !errors.Is(err, jobs.ErrTooManyLinks) {
		t.Errorf("link %d is revoked by itself: %v", len(j.RevokedLinks)+1, err)
	}
	b.update(t, id, revoke(j.RevokedLinks[0])) // once more, which changes nothing
	if j = b.update(t, id, revoke("")); j.LinksRevoked != 2 || len(j.RevokedLinks) != 0 {
		t.Errorf("after all were revoked again %d are left, at generation %d", len(j.RevokedLinks), j.LinksRevoked)
	}
	if j = b.update(t, id, remove); j.LinkVoid(jobs.NewID(), j.Result.Object, 2) == "" {
		t.Error("a link to a deleted job's file is good")
	}
}

func revokedOrg(t *testing.T, b *bench) {
	first, err := b.LinkGeneration(t.Context(), "org")
	if err != nil || first != 0 {
		t.Fatalf("LinkGeneration() = %d, %v", first, err)
	}
	for range 2 {
		next, err := b.RevokeOrgLinks(t.Context(), "org", "me", "a laptop is lost")
		if err != nil || next == first {
			t.Fatalf("RevokeOrgLinks() = %d, %v after %d", next, err, first)
		}
		if got, err := b.LinkGeneration(t.Context(), "org"); err != nil || got != next {
			t.Errorf("LinkGeneration() = %d, %v, want %d", got, err, next)
		}
		first = next
	}
	if other, err := b.LinkGeneration(t.Context(), "org2"); err != nil || other != 0 {
		t.Errorf("LinkGeneration() of another org = %d, %v", other, err)
	}
	acts, last := b.acts(t)
	if !slices.Equal(acts, []jobs.AuditAction{jobs.AuditRevokeOrgLinks, jobs.AuditRevokeOrgLinks}) || last.Target != "org" || last.Actor != "me" || last.Reason != "a laptop is lost" {
		t.Errorf("on record is %v, last %+v", acts, last)
	}
}

func downloads(t *testing.T, b *bench) {
	id, other := b.job(t, "org", 1), b.job(t, "org", 2)
	j, err := b.Get(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	link := jobs.NewID()
	note := func(address string, times int64) {
		t.Helper()
		d := jobs.NewDownload(j, link, "api key k", address, "curl/8", b.Now())
		d.Count, d.OfOrg = times, 3
		if err := b.NoteDownloads(t.Context(), d, jobs.NewDownload(&jobs.Job{ID: other, OrgID: "org"}, "", "ann", "::1", "", b.Now())); err != nil {
			t.Fatalf("NoteDownloads() = %v", err)
		}
		b.Pass(time.Second)
	}
	note("203.0.113.1", 1)
	note("203.0.113.2", 1)
	note("203.0.113.1", 3)
	b.Pass(time.Hour)
	note("203.0.113.1", 1)
	var got []int64
	for token := ""; ; {
		page, total, next, err := b.Downloads(t.Context(), jobs.DownloadList{JobID: id, PageSize: 1, PageToken: token})
		if err != nil || len(page) != 1 || total != 6 {
			t.Fatalf("Downloads(%q) = %+v of %d, %v", token, page, total, err)
		}
		d := page[0]
		got = append(got, d.Count)
		if d.JobID != id || d.OrgID != "org" || d.LinkID != link || d.Asker != "api key k" || d.UserAgent != "curl/8" || d.OfOrg != 3 || d.Revoked(j, 3) || !d.Revoked(j, 4) || d.Check(b.Now()) != "" {
			t.Errorf("a download is %+v", d)
		}
		if token = next; token == "" {
			break
		}
	}
	if !slices.Equal(got, []int64{1, 4, 1}) {
		t.Errorf("downloads, latest first, are %v", got)
	}
	if _, _, _, err := b.Downloads(t.Context(), jobs.DownloadList{JobID: id, PageToken: "x"}); !errors.Is(err, jobs.ErrInvalid) {
		t.Errorf("a token that is none gives %v", err)
	}
	if page, total, _, err := b.Downloads(t.Context(), jobs.DownloadList{JobID: other}); err != nil || len(page) != 2 || total != 4 || page[0].LinkID != "" {
		t.Errorf("Downloads() of another job = %+v of %d, %v", page, total, err)
	}
	b.Pass(jobs.DownloadLife + 2*time.Hour)
	if page, _, _, err := b.Downloads(t.Context(), jobs.DownloadList{JobID: id}); err != nil || len(page) != 0 {
		t.Errorf("after their time Downloads() = %+v, %v", page, err)
	}
}
