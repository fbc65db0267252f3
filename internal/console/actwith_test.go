package console_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"exportd/jobs"
)

// A job is run again with other parameters by a form: as a new job that leads to the first, whose parameters
// stay as they are. What the API refuses is said at its field, with what was typed.
func TestRunAgainWith(t *testing.T) {
	t.Parallel()
	d := open(t)
	p := d.signedIn("key_operator")
	j := d.failed("org1", "", jobs.CodeTooManyRows, "too many rows", "Ask for fewer.")
	at := "/console/act?do=rerun-with&id=" + j.ID
	if shown := p.get("/console/jobs/" + j.ID).body; !strings.Contains(shown, `href="/console/act?do=rerun-with&amp;id=`+j.ID+`"`) {
		t.Errorf("the job's page has no form: %s", shown)
	}
	send := func(change url.Values) reply {
		_, shown, _ := strings.Cut(p.get(at).body, "<main")
		form := url.Values{"reason": {"fewer rows"}}
		for _, name := range []string{"csrf", "once", "with.mediumId", "with.workspaceId", "with.profile", "with.formulaGuard"} {
			form.Set(name, between(shown, `name="`+name+`" value="`, `"`))
		}
		for name, values := range change {
			form[name] = values
		}
		return p.post(at, form)
	}
	a := send(url.Values{"with.profile": {"nonsense"}, "another-name": {"birthdayMonth"}, "another-value": {"5"}})
	if a.status != http.StatusUnprocessableEntity || !strings.Contains(a.body, `value="nonsense"`) || !strings.Contains(a.body, `id="e-profile"`) || !strings.Contains(a.body, `value="birthdayMonth"`) || !strings.Contains(a.body, "was <span") {
		t.Errorf("a wrong value = %d %s", a.status, a.body)
	}
	if a := send(url.Values{"reason": {" "}}); a.status != http.StatusUnprocessableEntity {
		t.Errorf("without a reason = %d", a.status)
	}
	a = send(url.Values{"with.profile": {"excel"}, "another-name": {"birthdayMonth"}, "another-value": {"5"}})
	id, ok := strings.CutPrefix(a.header.Get("Location"), "/console/jobs/")
	id, _, _ = strings.Cut(id, "?")
	if a.status != http.StatusSeeOther || !ok || id == j.ID {
		t.Fatalf("the form = %d %s %s", a.status, a.header, a.body)
	}
	made, err := d.store.Get(t.Context(), id)
	if err != nil || made.RerunOf != j.ID || made.OrgID != j.OrgID || made.Params.Text("profile") != "excel" || made.Params.Text("mediumId") != j.Params.Text("mediumId") {
		t.Fatalf("the new job is %+v, %v", made, err)
	}
	if was, err := d.store.Get(t.Context(), j.ID); err != nil || was.State != jobs.Failed || was.Params.Text("profile") != "rfc4180" {
		t.Errorf("the first job is %+v, %v", was, err)
	}
	if shown := p.get(a.header.Get("Location")).body; !strings.Contains(shown, "a rerun of <a") || !strings.Contains(shown, "<dt>birthdayMonth</dt>") || !strings.Contains(shown, "fewer rows") {
		t.Errorf("the new job's page: %s", shown)
	}
	for _, query := range []string{"do=rerun-with", "do=rerun-with&all=1", "do=rerun-with&id=" + j.ID + "&id=" + id} {
		if a := p.get("/console/act?" + query); !strings.Contains(a.body, "Nothing") {
			t.Errorf("%s = %d %s", query, a.status, a.body)
		}
	}
	v := d.signedIn("key_viewer")
	if a := v.post(at, url.Values{"csrf": {v.token()}, "reason": {"x"}, "with.profile": {"excel"}}); a.status != http.StatusForbidden {
		t.Errorf("a viewer's form = %d", a.status)
	}
}
