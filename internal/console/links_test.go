package console_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"exportd/internal/console"
	"exportd/jobs"
)

// TestRevokeLinks: a job's page says who has downloaded its file; who may operate takes back one link, all of
// the job, or all of its org, with why, once. Who may look sees the same and can do nothing.
func TestRevokeLinks(t *testing.T) {
	t.Parallel()
	d := open(t)
	j := d.succeeded("org1", "", 7)
	link := d.downloaded(j, "<b>wget</b>/1", "203.0.113.7", "203.0.113.7", "198.51.100.9")
	page := "/console/jobs/" + j.ID
	operator, viewer := d.signedIn("key_operator"), d.signedIn("key_viewer")
	for _, p := range []*person{operator, viewer} {
		body := p.get(page).body
		for _, want := range []string{"a link of this service", "<strong>3 downloads</strong>", "203.0.113.7", "198.51.100.9", "api key key_reader", "&lt;b&gt;wget&lt;/b&gt;/1", link} {
			if !strings.Contains(body, want) {
				t.Errorf("the page has no %q:\n%s", want, body)
			}
		}
		if may := strings.Contains(body, "revoke-links"); may != (p == operator) {
			t.Errorf("links to revoking are there: %t", may)
		}
	}
	one, all, ofOrg := "do=revoke-links&id="+j.ID+"&link="+link, "do=revoke-links&id="+j.ID, "do=revoke-links&orgId=org1"
	for _, tc := range []struct{ query, leads, action, reason string }{
		{one, page + "?said=revoke-links", "links.revoke", "sent to the wrong address"},
		{all, page + "?said=revoke-links", "links.revoke", "the bucket was copied"},
		{ofOrg, "/console/audit?said=revoke-links", "links.revoke_org", "a laptop is lost"},
	} {
		if a := viewer.post("/console/act?"+tc.query, url.Values{"csrf": {viewer.token()}, "once": {"x"}, "reason": {"r"}}); a.status != http.StatusForbidden {
			t.Errorf("%s by a viewer = %d", tc.query, a.status)
		}
		if a := operator.act(tc.query, ""); a.status != http.StatusUnprocessableEntity {
			t.Errorf("%s without a reason = %d", tc.query, a.status)
		}
		d.pass(time.Second)
		a := operator.act(tc.query, tc.reason)
		if a.status != http.StatusSeeOther || a.header.Get("Location") != tc.leads {
			t.Fatalf("%s = %d to %s", tc.query, a.status, a.header.Get("Location"))
		}
		if after := operator.get(tc.leads); !strings.Contains(after.body, "lead nowhere any more") {
			t.Errorf("%s says nothing of it", tc.leads)
		}
		if !strings.Contains(operator.get(page).body, link+"</code> revoked") || strings.Contains(operator.get(page).body, "link="+link) {
			t.Errorf("after %s the page does not show the link as revoked", tc.query)
		}
		entries, _, err := d.store.AuditEntries(t.Context(), jobs.AuditList{PageSize: 1})
		if err != nil || len(entries) != 1 || string(entries[0].Action) != tc.action || entries[0].Reason != tc.reason || entries[0].Actor != "api key key_operator" {
			t.Errorf("%s: the audit has %+v, %v", tc.query, entries, err)
		}
		now, err := d.store.Get(t.Context(), j.ID)
		if err != nil {
			t.Fatal(err)
		}
		if named := slices.Contains(now.RevokedLinks, link); named != (tc.query == one) || now.LinksRevoked != map[string]int64{one: 0, all: 1, ofOrg: 1}[tc.query] {
			t.Errorf("%s: links %q and %d generations are revoked", tc.query, now.RevokedLinks, now.LinksRevoked)
		}
	}
	if generation, err := d.store.LinkGeneration(t.Context(), "org1"); err != nil || generation != 1 {
		t.Errorf("the org's links are of generation %d, %v", generation, err)
	}
	for _, query := range []string{"do=revoke-links", "do=revoke-links&id=a&id=b", "do=revoke-links&id=a&orgId=b", "do=revoke-links&orgId=a&link=b", "do=revoke-links&link=b"} {
		if a := operator.get("/console/act?" + query); !strings.Contains(a.body, "Nothing is chosen") {
			t.Errorf("%s = %s", query, a.body)
		}
	}
	other := d.succeeded("org1", "", 1)
	if a := operator.act("do=revoke-links&id="+other.ID+"&link=nothing", "r"); a.status != http.StatusUnprocessableEntity || !strings.Contains(a.body, "must be the id of a link") {
		t.Errorf("a link that is none = %d %s", a.status, a.body)
	}
}

// TestDownloadsWithoutLinks: where csvUrl is Cloud Storage's, the page says that not all is seen, and there
// is nothing to revoke.
func TestDownloadsWithoutLinks(t *testing.T) {
	t.Parallel()
	d := open(t, func(_ *desk, c *console.Config) { c.OwnLinks = false })
	body := d.signedIn("key_operator").get("/console/jobs/" + d.succeeded("org1", "", 7).ID).body
	if !strings.Contains(body, "where downloads are not seen from here") || !strings.Contains(body, "No download on record") || strings.Contains(body, "revoke-links") {
		t.Errorf("the page is\n%s", body)
	}
	if failed := d.signedIn("key_operator").get("/console/jobs/" + d.failed("org1", "", jobs.CodeInternal, "m", "r").ID).body; strings.Contains(failed, "Downloads") {
		t.Error("a job without a file has downloads")
	}
}
