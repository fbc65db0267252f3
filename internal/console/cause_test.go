package console_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"exportd/jobs"
)

// A button of a cause asks whether it is mended, and its page says what came of it.
func TestProbeButton(t *testing.T) {
	t.Parallel()
	d := open(t)
	j := d.failedBy("org1", "", jobs.CodeBucketMissing, "there is no bucket", "Make it.", "demo-exports")
	p := d.signedIn("key_operator")
	for _, page := range []string{"/console/causes/" + causeOf(j), "/console/causes"} {
		_, shown, _ := strings.Cut(p.get(page).body, "<main")
		action := between(shown, `<form method="post" action="`, `"`)
		form := url.Values{}
		for _, name := range []string{"csrf", "once", "reason"} {
			form.Set(name, between(shown, `name="`+name+`" value="`, `"`))
		}
		a := p.post(strings.ReplaceAll(action, "&amp;", "&"), form)
		if a.status != http.StatusSeeOther || a.header.Get("Location") != "/console/causes/"+causeOf(j)+"?said=probe" {
			t.Fatalf("the button of %s = %d %s %s", page, a.status, a.header, a.body)
		}
	}
	body := p.get("/console/causes/" + causeOf(j) + "?said=probe").body
	if !strings.Contains(body, "<strong>fixed</strong>") || !strings.Contains(body, "the bucket is there") {
		t.Errorf("after the look the page has %s", body)
	}
	entries, _, err := d.store.AuditEntries(t.Context(), jobs.AuditList{PageSize: 10})
	if err != nil || len(entries) != 2 || entries[0].Reason != "is it mended?" {
		t.Errorf("the audit has %v, %v", entries, err)
	}
	// Who may only look has no button, and is refused without one.
	v := d.signedIn("key_viewer")
	if body := v.get("/console/causes/" + causeOf(j)).body; strings.Contains(body, "do=probe") {
		t.Error("a viewer has a button")
	}
	if a := v.post("/console/act?do=probe&cause="+causeOf(j), url.Values{"csrf": {v.token()}, "reason": {"x"}}); a.status != http.StatusForbidden {
		t.Errorf("a viewer's look = %d", a.status)
	}
}

// between is what stands in a text after one piece and before the next.
func between(text, after, before string) string {
	_, rest, _ := strings.Cut(text, after)
	found, _, _ := strings.Cut(rest, before)
	return found
}

// What runs all again takes the filters that say which jobs by themselves; by another one nothing offers to,
// so that none is lost on the way.
func TestBulkByFilter(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.failed("org1", "https://hooks.example.com/x", jobs.CodeInternal, "it broke at birthdayMonth", "")
	p := d.signedIn("key_operator")
	for query, offered := range map[string]bool{
		"state=failed": true, "orgId=org1&createdAfter=2026-01-01": true, "": true, "text=birthday": false, "state=failed&callbackHost=hooks.example.com": false, "minAttempts=1": false,
	} {
		body := p.get("/console/jobs?" + query).body
		if !strings.Contains(body, `name="id"`) || strings.Contains(body, "all=1") != offered {
			t.Errorf("%q: offered is not %v: %s", query, offered, body)
		}
	}
	for _, query := range []string{"do=rerun&all=1&text=birthday", "do=rerun&all=1&slow=true&state=failed"} {
		if a := p.get("/console/act?" + query); !strings.Contains(a.body, "Nothing") {
			t.Errorf("%s = %d", query, a.status)
		}
	}
	// What of a filter is not understood is said at its field.
	if body := p.get("/console/jobs?minAttempts=many").body; !strings.Contains(body, `id="e-minAttempts"`) || !strings.Contains(body, "<details class=\"more\" open") {
		t.Errorf("a wrong filter: %s", body)
	}
}

// A job leads to its logs and to its trace, with what it has in their places, escaped; without a trace there
// is no link to one.
func TestLinksOut(t *testing.T) {
	t.Parallel()
	d := open(t)
	const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
	s, err := d.store.Submit(t.Context(), jobs.Submission{OrgID: "org1", KeyID: "key_reader", RequestID: "a b&c/d", Kind: "vip-users", Params: jobs.Params{"workspaceId": "ws1"}, Fresh: true, Trace: "00-" + trace + "-00f067aa0ba902b7-01"})
	if err != nil {
		t.Fatal(err)
	}
	p := d.signedIn("key_viewer")
	traced, untraced := p.get("/console/jobs/"+s.Job.ID).body, p.get("/console/jobs/"+d.submitted("org1", "", nil).ID).body
	for _, want := range []string{`href="https://logs.example/?q=` + s.Job.ID + `&amp;r=a%20b%26c%2Fd"`, `href="https://logs.example/trace/` + trace + `"`} {
		if !strings.Contains(traced, want) {
			t.Errorf("the page has no %s", want)
		}
	}
	if strings.Contains(untraced, "/trace/") || !strings.Contains(untraced, "&amp;r=request-1") {
		t.Error("a job without a trace leads to one, or not to its logs")
	}
}
