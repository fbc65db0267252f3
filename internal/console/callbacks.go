package console

import (
	"context"
	"html/template"
	"net/http"

	"exportd/api/client"
)

// callbacksPage shows deliveries, the receivers to which nothing is sent, and how all have answered.
type callbacksPage struct {
	Fields    []field
	Faults    []client.Fault
	Callbacks []client.OpsCallback
	Receivers []client.Receiver
	Histories []history
	Partial   bool // there are more than Histories are of
	Over      string
	Chart     []chart // of the one receiver that is asked for
	Next      template.URL
	All       template.URL // query of delivering all again that match; "" where none can be
	Path      string
}

func callbackFields() []field {
	return []field{
		{Name: "state", Label: "State", Choices: []string{"pending", "delivered", "exhausted", "blocked", "gone", "suspended", "dropped", "damaged"}},
		{Name: "orgId", Label: "Org"}, {Name: "origin", Label: "Receiver", Hint: "https://hooks.example.com"}, {Name: "cause", Label: "Cause"},
		{Name: "createdAfter", Label: "Ended after", Hint: "12h"}, {Name: "createdBefore", Label: "Ended before"},
	}
}

func (c *Console) callbacks(ctx context.Context, _ *principal, r *http.Request) (view, error) {
	q := r.URL.Query()
	p := callbacksPage{Fields: callbackFields(), Path: home + "/callbacks"}
	filter, ask := filled(q, p.Fields)
	ask.Set("pageSize", pageSize)
	v := view{name: "callbacks", title: "Callbacks and receivers"}
	receivers, err := c.api.OpsListReceiversWithResponse(ctx)
	if err != nil {
		return view{}, err
	}
	p.Receivers = receivers.JSON200.Receivers
	if err := c.histories(ctx, &p, q); err != nil {
		return view{}, err
	}
	answer, err := c.api.OpsListCallbacksWithResponse(ctx, nil, raw(ask))
	if refused, ok := refusal(err); ok && len(refused.Faults) > 0 {
		p.Faults, p.Fields = refused.Faults, faulty(p.Fields, refused.Faults)
		v.data = p
		return v, nil
	}
	if err != nil {
		return view{}, err
	}
	p.Callbacks, p.Next = answer.JSON200.Callbacks, nextPage(filter, answer.JSON200.NextPageToken)
	if t := (target{verb: verbNamed("redeliver-all"), Filter: filter}); filter.Get("state") != "" {
		p.All = template.URL(t.query().Encode())
	}
	v.data = p
	return v, nil
}
