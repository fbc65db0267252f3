package console

import (
	"context"
	"encoding/json"
	"html/template"
	"net/http"
	"net/url"
	"slices"

	"exportd/api/client"
)

// pageSize is how many jobs a page has; all of them can be selected at once.
const pageSize = "50"

// field is a filter of jobs: a parameter of the API by its name, as it stands in the URL of the page.
type field struct {
	Name, Label, Hint string
	Choices           []string
	Value             string
	Fault             string
	// Before and Rest are the value up to where it does not parse, and from there, if that is known.
	Before, Rest string
	More         bool // stands behind the others, which are enough for most
	Wide         bool // has a line to itself
}

// fieldsOf are those that stand with the others, or behind them.
func fieldsOf(all []field, more bool) []field {
	return slices.DeleteFunc(slices.Clone(all), func(f field) bool { return f.More != more })
}

// jobFields are the filters that are offered, which are those that the API has: as one text, and each by
// itself. The API says what each takes, and where one does not parse.
func jobFields() []field {
	return []field{
		{Wide: true, Name: "q", Label: "Find", Hint: `a job's id, words of its error, or state:failed age:<12h text:"no index"`},
		{Name: "state", Label: "State", Choices: []string{"queued", "running", "succeeded", "failed", "canceled", "expired"}},
		{Name: "errorCode", Label: "Error", Hint: "MISSING_INDEX"},
		{Name: "orgId", Label: "Org"}, {Name: "cause", Label: "Cause"},
		{Name: "workspaceId", Label: "Workspace"},
		{Name: "kind", Label: "Kind", Hint: "vip-users"},
		{Name: "createdAfter", Label: "Created after", Hint: "2026-11-25T18:00"},
		{Name: "createdBefore", Label: "Created before", Hint: "2026-11-26"},
		{More: true, Name: "text", Label: "Error has the text", Hint: "birthdayMonth"}, {More: true, Name: "requestId", Label: "Request"},
		{More: true, Name: "callbackHost", Label: "Callback to host", Hint: "hooks.example.com"}, {More: true, Name: "label", Label: "Label"},
		{More: true, Name: "contentType", Label: "Content type"}, {More: true, Name: "batch", Label: "Batch"},
		{More: true, Name: "minAttempts", Label: "Attempts, at least", Hint: "2"}, {More: true, Name: "slow", Label: "Slow", Choices: []string{"true"}},
		{More: true, Name: "age", Label: "Asked for, ago", Hint: ">2h or <7d"}, {More: true, Name: "jobId", Label: "Job"}, {More: true, Name: "rerunOf", Label: "With other parameters, of job"},
	}
}

// jobsPage is what the list of jobs shows.
type jobsPage struct {
	Fields []field
	Faults []client.Fault
	Jobs   []client.OpsJob
	// Next is the query of the next page, First that of the first one where this is another, All that of
	// running all again that match. They are encoded as a whole: as plain texts their & and = would become
	// part of one value.
	Next, First, All template.URL
	Path             string
}

// anyFilled reports whether something is asked for.
func anyFilled(fields []field) bool {
	return slices.ContainsFunc(fields, func(f field) bool { return f.Value != "" })
}

// Filtered are for templates: what is not there may be so by the filter.
func (p jobsPage) Filtered() bool      { return anyFilled(p.Fields) }
func (p callbacksPage) Filtered() bool { return anyFilled(p.Fields) }
func (p auditPage) Filtered() bool     { return anyFilled(p.Fields) }

// filterOf takes from a query what filters jobs.
func filterOf(q url.Values, fields []field) url.Values {
	filter := url.Values{}
	for _, f := range fields {
		if v := q.Get(f.Name); v != "" {
			filter.Set(f.Name, v)
		}
	}
	return filter
}

// filled writes into fields what a query has for them, and gives that and what the API is to be asked: the
// same, at the page that the query names.
func filled(q url.Values, fields []field) (filter, ask url.Values) {
	filter = filterOf(q, fields)
	for i := range fields {
		fields[i].Value = filter.Get(fields[i].Name)
	}
	ask = cloned(filter)
	if token := q.Get("pageToken"); token != "" {
		ask.Set("pageToken", token)
	}
	return filter, ask
}

// raw has a request carry a query as it is: the API judges it.
func raw(q url.Values) client.RequestEditorFn {
	return func(_ context.Context, r *http.Request) error {
		r.URL.RawQuery = q.Encode()
		return nil
	}
}

func (c *Console) jobs(ctx context.Context, _ *principal, r *http.Request) (view, error) {
	q := r.URL.Query()
	p := jobsPage{Fields: jobFields(), Path: home + "/jobs"}
	filter, ask := filled(q, p.Fields)
	ask.Set("pageSize", pageSize)
	if ask.Has("pageToken") {
		p.First = template.URL(filter.Encode())
	}
	answer, err := c.api.OpsListJobsWithResponse(ctx, nil, raw(ask))
	if refused, ok := refusal(err); ok && len(refused.Faults) > 0 {
		p.Faults, p.Fields = refused.Faults, faulty(p.Fields, refused.Faults)
		return view{name: "jobs", title: "Jobs", data: p}, nil
	}
	if err != nil {
		return view{}, err
	}
	p.Jobs = answer.JSON200.Jobs
	p.All = template.URL(target{verb: verbNamed("rerun"), All: true, Filter: filter}.query().Encode())
	p.Next = nextPage(filter, answer.JSON200.NextPageToken)
	return view{name: "jobs", title: "Jobs", data: p}, nil
}

// faulty notes at each field what is wrong with it, and where in it.
func faulty(fields []field, faults []client.Fault) []field {
	for _, fault := range faults {
		i := slices.IndexFunc(fields, func(f field) bool { return len(fault.Path) > 0 && f.Name == fault.Path[0] })
		if i < 0 {
			continue
		}
		f := &fields[i]
		f.Fault = fault.Message
		value := []rune(f.Value)
		if at, ok := fault.Context["position"].(float64); ok && at >= 1 && int(at) <= len(value)+1 { // counted from 1
			f.Before, f.Rest = string(value[:int(at)-1]), string(value[int(at)-1:])
		}
	}
	return fields
}

func cloned(q url.Values) url.Values {
	out := url.Values{}
	for name, values := range q {
		out[name] = slices.Clone(values)
	}
	return out
}

// members reads an object of an answer as it came, with what the client has no field for.
func members(body []byte, path ...string) map[string]any {
	var of map[string]any
	if json.Unmarshal(body, &of) != nil {
		return nil
	}
	for _, name := range path {
		of, _ = of[name].(map[string]any)
	}
	return of
}
