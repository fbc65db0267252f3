package api

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"exportd/internal/dataset"
	"exportd/jobs"
)

// TestFilterForms: a filter in parameters, in q and in the body of a bulk request is the same filter.
func TestFilterForms(t *testing.T) {
	t.Parallel()
	id, of := jobs.NewID(), jobs.NewID()
	values := map[string]string{
		"state": "failed", "kind": "vip-users", "orgId": "org 1, the first", "workspaceId": `w"s\1`, "errorCode": "MISSING_INDEX", "cause": "MISSING_INDEX-0a1b2c3d4e5f", "createdAfter": "7d",
		"createdBefore": "2026-06-15T11:00:00Z", "age": ">2h", "jobId": id, "rerunOf": of, "requestId": "req:1", "batch": "b", "callbackHost": "hooks.example.com:8443",
		"text": "no index", "label": "vip=1", "contentType": "text", "minAttempts": "2", "slow": "true",
	}
	want := jobs.BatchFilter{
		State: jobs.Failed, Kind: "vip-users", OrgID: "org 1, the first", WorkspaceID: `w"s\1`, ErrorCode: jobs.CodeMissingIndex, Cause: "MISSING_INDEX-0a1b2c3d4e5f",
		CreatedAfter: noon.Add(-7 * 24 * time.Hour), CreatedBefore: noon.Add(-2 * time.Hour),
		Search: jobs.Search{JobID: id, RerunOf: of, RequestID: "req:1", BatchID: "b", CallbackHost: "hooks.example.com:8443", Text: "no index", Label: "vip=1", ContentType: "text", MinAttempts: 2, Slow: true},
	}
	if len(values) != len(filterNames) {
		t.Errorf("%d of %d filters are tried", len(values), len(filterNames))
	}
	quote := strings.NewReplacer(`\`, `\\`, `"`, `\"`)
	query, members := url.Values{}, []string{}
	for _, name := range filterNames {
		query.Set(name, values[name])
		members = append(members, `"`+name+`":"`+quote.Replace(values[name])+`"`)
	}
	for _, form := range []struct{ sep, is string }{{" ", ":"}, {",", "="}, {" , ", "="}} {
		var terms []string
		for _, name := range filterNames {
			terms = append(terms, name+form.is+`"`+quote.Replace(values[name])+`"`)
		}
		p := &params{values: url.Values{"q": {strings.Join(terms, form.sep)}}}
		if got := p.jobFilter(dataset.BuiltIn, noon); got != want || p.finish() != nil {
			t.Errorf("q gives %+v, %v, want %+v", got, p.faults, want)
		}
	}
	b := newBench(t)
	if code := b.do(request(t, "key_ops1", http.MethodGet, "/ops/jobs?"+query.Encode())).Code; code != http.StatusOK || b.jobs.list != want.List("", pageJobs) {
		t.Errorf("list = %d %+v", code, b.jobs.list)
	}
	if code, body := ops(t, b, http.MethodPost, "/ops/jobs/rerun", `{"reason":"r","filter":{`+strings.Join(members, ",")+`}}`); code != http.StatusAccepted || b.jobs.batches[0].Filter != want {
		t.Errorf("batch = %d %v", code, body)
	}
	if b.jobs.batches[0].MaxPerSecond != 0 || b.jobs.batches[0].Pace == 0 {
		t.Error("a build that does not know searches would run all jobs of the batch again")
	}
}

// TestFilterText: what q takes, and where it says that it does not.
func TestFilterText(t *testing.T) {
	t.Parallel()
	id := jobs.NewID()
	for q, want := range map[string]jobs.BatchFilter{
		id: {Search: jobs.Search{JobID: id}}, "MISSING_INDEX-0a1b2c3d4e5f": {Cause: "MISSING_INDEX-0a1b2c3d4e5f"}, "connection reset": {Search: jobs.Search{Text: "connection reset"}},
		`"state:failed"`: {Search: jobs.Search{Text: "state:failed"}}, "state:failed  index": {State: jobs.Failed, Search: jobs.Search{Text: "index"}},
		"state=failed,age=<2h": {State: jobs.Failed, CreatedAfter: noon.Add(-2 * time.Hour)}, "text:é slow:true": {Search: jobs.Search{Text: "é", Slow: true}}, ",, ,": {},
	} {
		p := &params{values: url.Values{"q": {q}}}
		if got := p.jobFilter(dataset.BuiltIn, noon); got != want || p.finish() != nil {
			t.Errorf("%q = %+v, %v, want %+v", q, got, p.faults, want)
		}
	}
	for q, want := range map[string]string{
		"stat:failed":             `"q" at character 1: expected one of state, kind`,
		"é index, stat:failed":    `"q" at character 10: expected one of state, kind`,
		"orgId:o state:":          `"q" at character 15: expected a value of state`,
		`orgId:o text:"no end`:    `"q" at character 14: expected a closing " for this one`,
		`text:"a"b`:               `"q" at character 9: expected a blank or a comma`,
		"state:failed state:lost": `"q" at character 14: expected no second state: there is one at character 1`,
		"orgId:o state:lost":      `"q" at character 9: "state" must be one of [queued`,
		"orgId:o minAttempts:x":   `"q" at character 9: "minAttempts" must be a number`,
		"age:2h":                  `"q" at character 1: "age" must be more or less than`,
		"createdAfter:monday":     `"q" at character 1: "createdAfter" must be in ISO 8601`,
		"pageSize:5":              `"q" at character 1: expected one of state, kind`,
		"fileLost:true":           `"q" at character 1: expected one of state, kind`,
		"kind:vip-users":          `"q" at character 1: expected no kind: it is given beside q`,
	} {
		p := &params{values: url.Values{"q": {q}, "kind": {"vip-users"}}}
		p.jobFilter(dataset.BuiltIn, noon)
		if err := p.finish(); err == nil || len(p.faults) != 1 || !strings.HasPrefix(p.faults[0].Message, want) || !slices.Equal(p.faults[0].Path, []string{"q"}) {
			t.Errorf("%q = %+v, want %s", q, p.faults, want)
		}
	}
	b := newBench(t)
	code, body := ops(t, b, http.MethodPost, "/ops/jobs/rerun", `{"reason":"r","filter":{"q":"state:failed text:\"no"}}`)
	if code != http.StatusUnprocessableEntity || !strings.Contains(body["error"].([]any)[0].(map[string]any)["message"].(string), "at character 19") {
		t.Errorf("bulk = %d %v", code, body)
	}
}

func FuzzFilterText(f *testing.F) {
	for _, q := range []string{`state:failed text:"a \" b", x`, `"`, `\`, `a="`, "é:é", strings.Repeat("text:a ", 50)} {
		f.Add(q)
	}
	f.Fuzz(func(t *testing.T, q string) {
		terms, bad := parseTerms(q, filterNames)
		if n := len([]rune(q)); bad != nil && (bad.at < 1 || bad.at > n+1 || bad.want == "") {
			t.Errorf("%q: %+v", q, bad)
		}
		for _, one := range terms {
			if one.at < 1 || one.at > len([]rune(q)) || !slices.Contains(filterNames, one.name) {
				t.Errorf("%q: %+v", q, one)
			}
		}
	})
}
