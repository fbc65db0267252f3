package api

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"exportd/jobs"
)

// failedExport is a failed export of messages of org1.
func failedExport() jobs.Job {
	return jobs.Job{
		ID: jobs.NewID(), Schema: jobs.SchemaVersion, OrgID: "org1", KeyID: "key_hook", Kind: "vip-messages", State: jobs.Failed, CreatedAt: noon, FinishedAt: noon,
		Error: &jobs.JobError{Code: jobs.CodeTooManyRows, Message: "too many rows"}, CallbackURL: "https://hooks.customer.com/x?token=t",
		Params: jobs.Params{"workspaceId": "ws1", "mediumId": "ch1", "from": noon.AddDate(0, 0, -20), "to": noon.Add(time.Microsecond), "label": "refund"},
	}
}

func TestRerunWith(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	j := b.jobs.set(failedExport())
	path := "/ops/jobs/" + j.ID + "/rerun"
	code, body := postBody(t, b, path, `{"reason":"too many rows","mode":"fresh","params":{"from":"2026-06-10","label":null,"formulaGuard":false}}`)
	if code != http.StatusAccepted || body["mode"] != "fresh" || len(b.jobs.submitted) != 1 || len(b.queue.notified) != 1 {
		t.Fatalf("rerun = %d %v, notified %v", code, body, b.queue.notified)
	}
	job, _ := body["job"].(map[string]any)
	if job["rerunOf"] != j.ID || job["jobId"] == j.ID || b.queue.notified[0].JobID != job["jobId"] {
		t.Errorf("job = %v, notified %v", job, b.queue.notified)
	}
	s := b.jobs.submitted[0]
	if s.OrgID != "org1" || s.KeyID != "key_hook" || s.CallbackURL != j.CallbackURL || s.Rerun == nil || s.Rerun.Of != j.ID || s.Rerun.Reason != "too many rows" ||
		s.Rerun.Actor != "api key key_ops1" || s.Rerun.Changes != "formulaGuard=off, from=2026-06-10, no label" {
		t.Errorf("submitted %+v, %+v", s, s.Rerun)
	}
	if from := s.Params.Time("from"); !from.Equal(time.Date(2026, 6, 10, 0, 0, 0, 0, time.UTC)) || !s.Params.Time("to").Equal(noon.Add(time.Microsecond)) || s.Params.Text("label") != "" || s.Params.FormulaGuard() {
		t.Errorf("params = %v", s.Params)
	}
	if b.jobs.jobs[j.ID].State != jobs.Failed {
		t.Error("the job itself was changed")
	}
	// Two clicks are one rerun; an equal job that somebody else asked for is none of it.
	b.jobs.attach = b.jobs.jobs[job["jobId"].(string)]
	if code, again := postBody(t, b, path, `{"reason":"r","params":{"from":"2026-06-10"}}`); code != http.StatusAccepted || again["job"].(map[string]any)["jobId"] != job["jobId"] || len(b.queue.notified) != 1 {
		t.Errorf("the same again = %d %v, notified %v", code, again, b.queue.notified)
	}
	other := failedExport()
	other.State, other.Error, other.FinishedAt = jobs.Queued, nil, time.Time{}
	b.jobs.attach = b.jobs.set(other)
	if code, again := postBody(t, b, path, `{"reason":"r","params":{}}`); code != http.StatusAccepted || again["job"].(map[string]any)["rerunOf"] != j.ID || len(b.queue.notified) != 2 {
		t.Errorf("beside an equal job = %d %v", code, again)
	}
}

// TestRerunWithFormats: a job of any format can be run again with other parameters, and one that becomes CSV
// is guarded as one that was asked for as CSV.
func TestRerunWithFormats(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for _, format := range []string{jobs.FormatJSONL, jobs.FormatParquet} {
		j := failedExport()
		j.Params = j.Params.With(jobs.ParamFormat, format).With(jobs.ParamProfile, jobs.ProfileRFC4180).With(jobs.ParamFormulaGuard, false)
		path := "/ops/jobs/" + b.jobs.set(j).ID + "/rerun"
		for _, test := range []struct {
			changes, format string
			guard           bool
		}{{`"from":"2026-06-10"`, format, false}, {`"format":null`, jobs.FormatCSV, true}, {`"format":"csv","formulaGuard":false`, jobs.FormatCSV, false}} {
			b.jobs.submitted = nil
			code, body := postBody(t, b, path, `{"reason":"r","params":{`+test.changes+`}}`)
			if code != http.StatusAccepted || len(b.jobs.submitted) != 1 {
				t.Errorf("%s with %s = %d %v", format, test.changes, code, body)
				continue
			}
			if p := b.jobs.submitted[0].Params; p.Format() != test.format || p.FormulaGuard() != test.guard {
				t.Errorf("%s with %s is of %v", format, test.changes, p)
			}
		}
	}
}

func TestRerunWithFaults(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	j := b.jobs.set(failedExport())
	damaged, deleted, unknown := failedExport(), failedExport(), failedExport()
	deleted.DeletedAt = noon
	unknown.Kind, unknown.Params = "orders", jobs.Params{}
	b.jobs.set(damaged)
	b.jobs.jobs[damaged.ID].Fingerprint = strings.Repeat("0", 64)
	b.jobs.set(deleted)
	b.jobs.set(unknown)
	long := strings.Repeat("x", maxText+1)
	for _, test := range []struct{ id, body, want string }{
		{j.ID, `{"params":{}}`, "reason any.required"},
		{j.ID, `{"reason":"r","params":[]}`, "params any.only"},
		{j.ID, `{"reason":"r","params":"from=2026-06-10"}`, "params any.only"},
		{j.ID, `{"reason":"r","mode":"resume","params":{}}`, "mode any.only"},
		{j.ID, `{"reason":"r","params":{"from":null}}`, "params.from any.required"},
		{j.ID, `{"reason":"r","params":{"from":"2026-06-20"}}`, "params.to date.greater"},
		{j.ID, `{"reason":"r","params":{"from":"2025-06-20"}}`, "params.to date.range"},
		{j.ID, `{"reason":"r","params":{"from":{"a":1}}}`, "params.from any.only"},
		{j.ID, `{"reason":"r","params":{"contentType":"x","nope":1,"label":"` + long + `"}}`, "params.label string.max, params.contentType any.only, params.nope any.unknown"},
		{j.ID, `{"reason":"r","params":{"profile":7,"callbackUrl":"https://x.example.com"}}`, "params.profile any.only, params.callbackUrl any.unknown"},
		{j.ID, `{"reason":"r","params":{"workspaceId":"ws2"}}`, "404"},
		{j.ID, `{"reason":"r","params":{"mediumId":"loose"}}`, "403"},
		{damaged.ID, `{"reason":"r","params":{}}`, "409"},
		{deleted.ID, `{"reason":"r","params":{}}`, "404"},
		{unknown.ID, `{"reason":"r","params":{}}`, "409"},
	} {
		r := request(t, "key_ops1", http.MethodPost, "/ops/jobs/"+test.id+"/rerun")
		r.Body, r.ContentLength = readCloser{strings.NewReader(test.body)}, int64(len(test.body))
		w := b.do(r)
		got := map[int]string{403: "403", 404: "404", 409: "409", 202: "202"}[w.Code]
		if w.Code == http.StatusUnprocessableEntity {
			got = faultsOf(t, w)
		}
		if got != test.want {
			t.Errorf("%.80s = %d %s, want %s: %.200s", test.body, w.Code, got, test.want, w.Body)
		}
	}
	if len(b.jobs.submitted) > 0 {
		t.Errorf("submitted %v", b.jobs.submitted)
	}
}
