package console

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"exportd/api/client"
)

// withParam is a parameter in the form that runs a job again with others.
type withParam struct {
	Name, Value, Was, Fault string
}

// Changed reports whether it is another one than the job has.
func (p withParam) Changed() bool { return p.Value != p.Was }

const (
	// withPrefix is before the name of a parameter in the form, so that none can be taken for a field of it.
	withPrefix = "with."
	// anotherName and anotherValue are the fields of a parameter that the job has not.
	anotherName, anotherValue = "another-name", "another-value"
)

// withParams reads the job of t, and what a form has for its parameters; as they are where there is no form.
func (c *Console) withParams(ctx context.Context, t target, form url.Values) ([]withParam, *client.OpsJob, error) {
	answer, err := c.api.OpsGetJobWithResponse(ctx, t.IDs[0])
	if err != nil {
		return nil, nil, err
	}
	var all []withParam
	for _, p := range paramsOf(members(answer.Body, "job", "params")) {
		one := withParam{Name: p.Name, Value: p.Value, Was: p.Value}
		if values := form[withPrefix+p.Name]; len(values) == 1 {
			one.Value = strings.TrimSpace(values[0])
		}
		all = append(all, one)
	}
	return all, &answer.JSON200.Job, nil
}

// rerunWith runs a job again with what a form has changed, as a new job, and gives that one's page.
func (c *Console) rerunWith(ctx context.Context, r *http.Request, t target, fields map[string]any) (string, error) {
	all, _, err := c.withParams(ctx, t, r.PostForm)
	if err != nil {
		return "", err
	}
	changes := map[string]any{}
	for _, p := range all {
		switch {
		case !p.Changed():
		case p.Value == "":
			changes[p.Name] = nil
		default:
			changes[p.Name] = p.Value
		}
	}
	if name := strings.TrimSpace(r.PostForm.Get(anotherName)); name != "" {
		changes[name] = strings.TrimSpace(r.PostForm.Get(anotherValue))
	}
	fields["params"] = changes
	answer, err := c.api.OpsRerunJobWithBodyWithResponse(ctx, t.IDs[0], asJSON, body(fields), c.once(r, t.IDs[0]))
	if err != nil {
		return "", err
	}
	return pageOfJob(answer.JSON202.Job.JobID) + "?said=rerun-with", nil
}

// faultyParams notes at each parameter what the API says of it.
func faultyParams(all []withParam, faults []client.Fault) {
	for _, fault := range faults {
		name := fault.Path[max(0, len(fault.Path)-1):]
		if i := slices.IndexFunc(all, func(p withParam) bool { return len(name) > 0 && p.Name == name[0] }); i >= 0 {
			all[i].Fault = fault.Message
		}
	}
}
