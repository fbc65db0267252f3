package console

import (
	"context"
	"html/template"
	"net/http"

	"exportd/api/client"
	"exportd/jobs"
)

// auditPage shows who did what, when and why.
type auditPage struct {
	Fields  []field
	Faults  []client.Fault
	Entries []client.AuditEntry
	Next    template.URL
	Path    string
}

// auditActions are what the audit can be asked for.
func auditActions() []string {
	names := make([]string, len(jobs.AuditActions))
	for i, a := range jobs.AuditActions {
		names[i] = string(a)
	}
	return names
}

func (c *Console) audit(ctx context.Context, _ *principal, r *http.Request) (view, error) {
	q := r.URL.Query()
	p := auditPage{Path: home + "/audit", Fields: []field{
		{Name: "since", Label: "Since", Hint: "12h"}, {Name: "until", Label: "Until"}, {Name: "actor", Label: "Who", Hint: "api key key_1"},
		{Name: "action", Label: "What", Choices: auditActions()}, {Name: "target", Label: "To what"},
	}}
	filter, ask := filled(q, p.Fields)
	answer, err := c.api.OpsListAuditWithResponse(ctx, nil, raw(ask))
	if refused, ok := refusal(err); ok && len(refused.Faults) > 0 {
		p.Faults, p.Fields = refused.Faults, faulty(p.Fields, refused.Faults)
		return view{name: "audit", title: "Audit", data: p}, nil
	}
	if err != nil {
		return view{}, err
	}
	p.Entries, p.Next = answer.JSON200.Entries, nextPage(filter, answer.JSON200.NextPageToken)
	return view{name: "audit", title: "Audit", data: p}, nil
}
