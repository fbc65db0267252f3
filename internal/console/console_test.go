package console_test

import (
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"exportd/jobs"
)

// Who signs in sees what there is.
func TestPages(t *testing.T) {
	t.Parallel()
	d := open(t)
	bad := d.failed("org1", "https://hooks.example/x", jobs.CodeMissingIndex, "an index is missing", "make it: https://console.firebase.google.com/project/p/firestore/indexes?create=abc")
	good := d.succeeded("org2", "", 12345)
	running := d.planned("org2", 60, "storage did not answer")
	d.answered(bad, "no such thing")
	exact := d.failedBy("org1", "", jobs.CodeStorageDenied, "the bucket may not be written", "Grant it.", "storage.objects.create on demo-exports")
	b, err := d.store.CreateBatch(t.Context(), jobs.BatchRequest{Filter: jobs.BatchFilter{State: jobs.Failed, ErrorCode: jobs.CodeInternal}, Mode: jobs.RerunResume, Reason: "a batch's reason", Actor: "api key key_operator", MaxPerSecond: 5})
	if err != nil {
		t.Fatal(err)
	}
	p := d.signedIn("key_operator")
	for path, want := range map[string][]string{
		"/console":                                            {"Overview", "12,345 rows", "MISSING_INDEX", "org2", "do=pause&amp;queue=exports"},
		"/console/jobs":                                       {bad.ID, good.ID, running.ID, "Run again"},
		"/console/jobs?state=failed":                          {bad.ID},
		"/console/jobs?createdAfter=x":                        {"not understood", "createdAfter"},
		"/console/jobs/" + bad.ID:                             {"an index is missing", `href="https://console.firebase.google.com/project/p/firestore/indexes?create=abc"`, "no such thing", "Run again", "https://logs.example/?q=" + bad.ID},
		"/console/jobs/" + running.ID:                         {"0 of 6,000 rows", "60 parts", "part 1: running", "storage did not answer"},
		"/console/causes":                                     {"storage.objects.create on demo-exports", "Grant it.", "org1", "do=rerun-cause"},
		"/console/causes/" + causeOf(exact):                   {"storage.objects.create on demo-exports", exact.ID, "Run again"},
		"/console/act?do=rerun-cause&cause=" + causeOf(exact): {"<b>1</b> of 1 job will run again", "One runs first"},
		"/console/jobs?cause=" + causeOf(exact):               {exact.ID},
		"/console/batches":                                    {b.ID, "a batch&#39;s reason"},
		"/console/batches/" + b.ID:                            {"INTERNAL", "End it", "do=pause-batch"},
		"/console/callbacks":                                  {bad.ID, "exhausted", "no such thing"},
		"/console/callbacks?state=exhausted":                  {bad.ID, "Deliver all again that match"},
		"/console/callbacks?since=wrong":                      {bad.ID},
		"/console/callbacks?origin=https://hooks.example":     {"How receivers have answered, the last 7 days", "1 failed attempts, 0 that succeeded", `id="chart-attempts"`},
		"/console/callbacks?state=wrong":                      {"not understood"},
		"/console/audit":                                      {"batch.create", "a batch&#39;s reason", b.ID},
		"/console/audit?action=queue.pause":                   {"Nothing was done"},
		"/console/act?do=redeliver-all&state=exhausted":       {"<b>1 callback</b> will be delivered again"},
		"/console/act?do=pause-batch&batch=" + b.ID:           {b.ID},
		"/console/act?do=rerun&id=" + bad.ID:                  {"go on from what is done", bad.ID},
		"/console/act?do=rerun&all=1&state=failed":            {"<b>2</b> of 2 jobs will run again"},
	} {
		a := p.get(path)
		if a.status != http.StatusOK {
			t.Errorf("%s = %d %s", path, a.status, a.body)
		}
		for _, text := range want {
			if !strings.Contains(a.body, text) {
				t.Errorf("%s does not show %q", path, text)
			}
		}
		if strings.Contains(a.body, secret) {
			t.Errorf("%s shows a secret", path)
		}
	}
	if a := p.get("/console/jobs?state=failed"); strings.Contains(a.body, good.ID) {
		t.Error("the filter filters nothing")
	}
	for _, path := range []string{"/console/jobs/" + strings.Repeat("a", 26), "/console/x"} {
		if a := p.get(path); a.status != http.StatusNotFound {
			t.Errorf("%s = %d", path, a.status)
		}
	}
}

// What is done is done once, in the name of who does it, for a reason.
func TestActs(t *testing.T) {
	t.Parallel()
	d := open(t)
	bad := d.failed("org1", "https://hooks.example/x", jobs.CodeMissingIndex, "an index is missing", "")
	p := d.signedIn("key_operator")
	state := func(id string) jobs.State {
		j, err := d.store.Get(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		return j.State
	}
	if a := p.act("do=rerun&id="+bad.ID, " "); a.status != http.StatusUnprocessableEntity || !strings.Contains(a.body, "Say why") || state(bad.ID) != jobs.Failed {
		t.Errorf("without a reason = %d, the job is %s", a.status, state(bad.ID))
	}
	if a := p.act("do=rerun&id="+bad.ID, "the index is there"); a.status != http.StatusSeeOther || a.header.Get("Location") != "/console/jobs/"+bad.ID+"?said=rerun" || state(bad.ID) != jobs.Queued {
		t.Errorf("run again = %d %s, the job is %s", a.status, a.header, state(bad.ID))
	}
	events, err := d.store.Events(t.Context(), bad.ID)
	if last := events[len(events)-1]; err != nil || last.Type != jobs.EventRerun || last.Actor != "api key key_operator" || last.Reason != "the index is there" {
		t.Errorf("the timeline ends with %+v, %v", last, err)
	}
	if a := p.get("/console/jobs/" + bad.ID + "?said=rerun"); !strings.Contains(a.body, "queued again") {
		t.Error("it is not said what was done")
	}
	// It is queued: once more is not possible, and is said.
	if a := p.act("do=rerun&id="+bad.ID, "again"); a.status != http.StatusUnprocessableEntity || !strings.Contains(a.body, "cannot be rerun") {
		t.Errorf("run again twice = %d %s", a.status, a.body)
	}
	if a := p.act("do=cancel&id="+bad.ID, "not needed"); a.status != http.StatusSeeOther || state(bad.ID) != jobs.Canceled {
		t.Errorf("cancel = %d, the job is %s", a.status, state(bad.ID))
	}
	one, two := d.failed("org1", "", jobs.CodeInternal, "x", ""), d.succeeded("org1", "", 3)
	a := p.act("do=cancel&id="+one.ID+"&id="+two.ID, "both")
	if a.status != http.StatusOK || !strings.Contains(a.body, "0 done, 2 not") {
		t.Errorf("cancel what has ended = %d %s", a.status, a.body)
	}
	if a := p.act("do=pause&queue=exports", "an incident"); a.status != http.StatusSeeOther {
		t.Errorf("pause = %d %s", a.status, a.body)
	}
	if s, err := d.store.Switches(t.Context()); err != nil || !s.Paused[jobs.QueueExports].Paused || s.Paused[jobs.QueueExports].Reason != "an incident" || s.Paused[jobs.QueueExports].Actor != "api key key_operator" {
		t.Errorf("switches = %+v, %v", s, err)
	}
	if a := p.get("/console"); !strings.Contains(a.body, "an incident") || !strings.Contains(a.body, "do=resume&amp;queue=exports") {
		t.Error("the overview does not show that a queue is paused")
	}
	if a := p.act("do=rerun&all=1&state=failed", "all of them"); a.status != http.StatusSeeOther {
		t.Errorf("run all again = %d %s", a.status, a.body)
	}
	b := func() *jobs.Batch {
		all, err := d.store.Batches(t.Context(), 10)
		if err != nil || len(all) == 0 {
			t.Fatal(all, err)
		}
		return all[0]
	}
	for _, do := range []string{"pause-batch", "resume-batch", "cancel-batch"} {
		if a := p.act("do="+do+"&batch="+b().ID, "r"); a.status != http.StatusSeeOther || (do == "pause-batch") == b().PausedAt.IsZero() || (do == "cancel-batch") == b().FinishedAt.IsZero() {
			t.Errorf("%s = %d, the batch %+v", do, a.status, b())
		}
	}
	if all, err := d.store.Batches(t.Context(), 10); err != nil || len(all) != 1 || all[0].Actor != "api key key_operator" || all[0].Filter.State != jobs.Failed {
		t.Errorf("batches = %+v, %v", all, err)
	}
}

var hrefs = regexp.MustCompile(`href="([^"]*)"`)

// A link of a page leads to what the page shows: filters that were lost on the way would run all jobs again.
func TestFiltersAreKept(t *testing.T) {
	t.Parallel()
	d := open(t)
	for range 60 {
		d.failed("org1", "", jobs.CodeMissingIndex, "x", "")
	}
	d.failed("org2", "", jobs.CodeInternal, "x", "")
	p := d.signedIn("key_operator")
	page := p.get("/console/jobs?state=failed&orgId=org1&errorCode=MISSING_INDEX")
	followed := 0
	for _, m := range hrefs.FindAllStringSubmatch(page.body, -1) {
		at, err := url.Parse(html.UnescapeString(m[1]))
		if err != nil {
			t.Fatal(err)
		}
		q := at.Query()
		if !q.Has("all") && !q.Has("pageToken") {
			continue
		}
		followed++
		if q.Get("state") != "failed" || q.Get("orgId") != "org1" || q.Get("errorCode") != "MISSING_INDEX" {
			t.Errorf("%s has lost the filter", m[1])
		}
		a := p.get(at.String())
		if q.Has("all") && !strings.Contains(a.body, "<b>60</b> of 60 jobs") || q.Has("pageToken") && strings.Count(a.body, "name=\"id\"") != 10 {
			t.Errorf("%s leads to %s", m[1], a.body)
		}
	}
	if followed != 2 {
		t.Errorf("%d links with a filter, want 2", followed)
	}
	if a := p.act("do=rerun&all=1&errorCode=MISSING_INDEX", "r"); a.status != http.StatusSeeOther {
		t.Errorf("run again = %d", a.status)
	}
	if all, err := d.store.Batches(t.Context(), 9); err != nil || len(all) != 1 || all[0].Filter.ErrorCode != jobs.CodeMissingIndex {
		t.Errorf("batches = %+v, %v", all, err)
	}
	for _, query := range []string{"do=rerun&all=1&status=failed", "do=rerun&all=1&state%3Dfailed", "do=rerun&all=1&state=failed&state=canceled", "do=rerun&all=1&state=", "do=rerun"} {
		if a := p.get("/console/act?" + query); strings.Contains(a.body, "will run again") {
			t.Errorf("%s is taken for another filter: %s", query, a.body)
		}
		if a := p.post("/console/act?"+query, url.Values{"csrf": {p.token()}, "reason": {"r"}, "once": {query}}); a.status == http.StatusSeeOther {
			t.Errorf("%s is done for another filter", query)
		}
	}
}

// A form that is sent twice is done once.
func TestOnce(t *testing.T) {
	t.Parallel()
	d := open(t)
	p := d.signedIn("key_operator")
	d.failed("org1", "", jobs.CodeInternal, "x", "")
	const query = "do=rerun&all=1&state=failed"
	shown := p.get("/console/act?" + query)
	form := url.Values{"csrf": {tokenField.FindStringSubmatch(shown.body)[1]}, "once": {onceField.FindStringSubmatch(shown.body)[1]}, "reason": {"r"}}
	first, second := p.post("/console/act?"+query, form), p.post("/console/act?"+query, form)
	if all, err := d.store.Batches(t.Context(), 10); err != nil || len(all) != 1 || first.status != http.StatusSeeOther || second.status == http.StatusSeeOther {
		t.Errorf("sent twice = %d, %d, and %d batches, %v", first.status, second.status, len(all), err)
	}
}
