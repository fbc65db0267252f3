package console_test

import (
	"html"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"exportd/internal/vip"
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

// Whatever the jobs are found by, all of them can be run again, and what is shown is what is done.
func TestBulkByFilter(t *testing.T) {
	t.Parallel()
	d := open(t)
	j := d.failed("org1", "https://hooks.example.com/x", jobs.CodeInternal, "it broke at birthdayMonth", "")
	other := d.failed("org2", "", jobs.CodeInternal, "it broke elsewhere", "")
	p := d.signedIn("key_operator")
	for _, query := range []string{
		"orgId=org1&createdAfter=2026-01-01", "text=birthday", "state=failed&callbackHost=hooks.example.com", "minAttempts=1&orgId=org1", "age=%3C2d&orgId=org1", "jobId=" + j.ID, "requestId=request-1&orgId=org1",
		"q=" + j.ID, "q=birthday", "q=" + url.QueryEscape(`state:failed text:"it broke at"`), "q=callbackHost:hooks.example.com&state=failed",
	} {
		body := p.get("/console/jobs?" + query).body
		if !strings.Contains(body, `value="`+j.ID+`"`) || strings.Contains(body, other.ID) {
			t.Errorf("%q finds %s", query, body)
		}
		to := html.UnescapeString(between(body, `<a class="button quiet" href="/console/act?`, `"`))
		if a := p.get("/console/act?" + to); !strings.Contains(a.body, "<b>1</b> of 1 job will run again") {
			t.Errorf("%q previews %s = %d %s", query, to, a.status, a.body)
		}
	}
	a := p.post("/console/act?do=rerun&all=1&q=birthday+state%3Afailed", url.Values{"csrf": {p.token()}, "once": {"o"}, "reason": {"r"}})
	batches, err := d.store.Batches(t.Context(), 2)
	if want := (jobs.BatchFilter{State: jobs.Failed, Search: jobs.Search{Text: "birthday"}}); err != nil || a.status != http.StatusSeeOther || len(batches) != 1 || batches[0].Filter != want {
		t.Errorf("all again = %d, %+v, %v", a.status, batches, err)
	}
	// A filter that is none, or of something else, must not make it all jobs or callbacks.
	for _, query := range []string{"do=rerun&all=1&texts=birthday", "do=rerun&all=1&origin=x", "do=redeliver-all&state=exhausted&text=x", "do=redeliver-all&q=x", "do=pause&queue=exports&orgId=x", "do=rerun&all=1&q=a&q=b"} {
		if a := p.get("/console/act?" + query); !strings.Contains(a.body, "Nothing is chosen") {
			t.Errorf("%s = %d %s", query, a.status, a.body)
		}
	}
}

// TestPreviewOfMany: what would be run again of many jobs is there at once, of the first 500; all are counted
// on demand.
func TestPreviewOfMany(t *testing.T) {
	t.Parallel()
	d := open(t)
	var j *jobs.Job
	for range 620 {
		j = d.failed("org1", "", jobs.CodeInternal, "it broke", "")
	}
	p := d.signedIn("key_operator")
	for _, query := range []string{"do=rerun&all=1&state=failed", "do=rerun-cause&cause=" + causeOf(j)} {
		body := p.get("/console/act?" + query).body
		if !strings.Contains(body, "of the first 500 it is <b>500</b>") {
			t.Errorf("the preview is %s", body)
		}
		counted := p.get(html.UnescapeString(between(body, `<b>500</b>. <a href="`, `"`))).body
		if !strings.Contains(counted, "<b>620</b> of 620 jobs will run again.") || strings.Contains(between(counted, `<form method="post" action="/console/act`, `"`), "count") {
			t.Errorf("counted, it is %s", counted)
		}
	}
}

// What of a filter is not understood is said at its field, and of the text where in it.
func TestWrongFilter(t *testing.T) {
	t.Parallel()
	p := open(t).signedIn("key_operator")
	if body := p.get("/console/jobs?minAttempts=many").body; !strings.Contains(body, `id="e-minAttempts"`) || !strings.Contains(body, "<details class=\"more\" open") {
		t.Errorf("a wrong filter: %s", body)
	}
	for q, want := range map[string]string{
		"é index, stat:failed <b>": "<code>é index, <mark>stat:failed &lt;b&gt;</mark></code>",
		"orgId:o state:lost":       "<code>orgId:o <mark>state:lost</mark></code>",
		"stat:failed":              "<code><mark>stat:failed</mark></code>",
		"orgId:o state:":           "<code>orgId:o state:<mark> </mark></code>",
	} {
		body := p.get("/console/jobs?q=" + url.QueryEscape(q)).body
		if fault := between(body, `id="e-q">`, "</p>"); !strings.Contains(fault, want) || !strings.Contains(fault, "at character") || !strings.Contains(body, `aria-describedby="e-q"`) {
			t.Errorf("%q says %s, want %s", q, fault, want)
		}
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

// TestFailedPart: a job's page and its cause's say in which part it failed, and which rows that has.
func TestFailedPart(t *testing.T) {
	t.Parallel()
	d := open(t)
	at := vip.Position{Key: vip.TimeKey(time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)), ID: "m1"}.String()
	var l jobs.Lease
	j := d.transit(d.submitted("org1", "", nil).ID,
		func(tx *jobs.Tx) (err error) { l, err = tx.Claim("w1"); return err },
		func(tx *jobs.Tx) error {
			return tx.Plan(l, d.clock(), []jobs.Range{{To: at, Rows: 10}, {From: at, Rows: 10}}, 0)
		})
	for _, step := range []func(*jobs.Tx) error{
		func(tx *jobs.Tx) (err error) { _, l, err = tx.ClaimPart(j.PlanEpoch, 1, "w1"); return err },
		func(tx *jobs.Tx) error {
			_, err := tx.EndPartAttempt(j.PlanEpoch, 1, l, jobs.Fail(jobs.CodeInternal, jobs.Permanent, "it cannot be parsed", "", nil).About("document m7"))
			return err
		},
	} {
		var err error
		if j, err = d.store.UpdatePart(t.Context(), j.ID, jobs.PartID(j.PlanEpoch, 1), "w1", step); err != nil {
			t.Fatal(err)
		}
	}
	p := d.signedIn("key_viewer")
	cause := "/console/causes/" + causeOf(j)
	for page, want := range map[string][]string{
		"/console/jobs/" + j.ID: {"It failed in part 1: ", "rows from 2026-03-04T05:06:07Z, document m1", "rows up to 2026-03-04T05:06:07Z, document m1", `href="` + cause + `"`, "document m7"},
		cause:                   {"document m7", "part 1"},
		"/console/causes":       {"document m7", "in part 1 of ", "<b>1 job</b> of"},
	} {
		a := p.get(page)
		for _, text := range want {
			if !strings.Contains(a.body, text) {
				t.Errorf("%s = %d lacks %q: %s", page, a.status, text, a.body)
			}
		}
	}
	whole := d.failed("org1", "", jobs.CodeInternal, "it broke", "")
	for _, page := range []string{"/console/jobs/" + whole.ID, "/console/causes/" + causeOf(whole)} {
		if a := p.get(page); strings.Contains(a.body, "failed in part") || strings.Contains(a.body, "<td>part ") {
			t.Errorf("%s has a part: %s", page, a.body)
		}
	}
}

// TestBatchesOfCause: where there are more batches than were looked through for those of a cause, its page
// says so.
func TestBatchesOfCause(t *testing.T) {
	t.Parallel()
	d := open(t)
	j := d.failed("org1", "", jobs.CodeInternal, "it broke", "")
	p := d.signedIn("key_viewer")
	const cut, none = "Only the latest 50 batches", "None of the latest 50"
	if body := p.get("/console/causes/" + causeOf(j)).body; strings.Contains(body, cut) || strings.Contains(body, "Batches that") {
		t.Errorf("without a batch it says %s", body)
	}
	for range 51 {
		if _, err := d.store.CreateBatch(t.Context(), jobs.BatchRequest{Filter: jobs.BatchFilter{State: jobs.Failed}, Mode: jobs.RerunFresh, Reason: "r", Actor: "a", MaxPerSecond: 1}); err != nil {
			t.Fatal(err)
		}
	}
	if body := p.get("/console/causes/" + causeOf(j)).body; !strings.Contains(body, cut) || !strings.Contains(body, none) {
		t.Errorf("with 51 others it says %s", body)
	}
}
