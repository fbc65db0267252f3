package console

import (
	"context"
	"net/http"

	"exportd/api/client"
)

// keysPage shows the API keys that an admin may see.
type keysPage struct {
	Org  string
	Keys []client.APIKey
}

func (c *Console) keysPage(ctx context.Context, _ *principal, r *http.Request) (view, error) {
	p := keysPage{Org: r.URL.Query().Get("orgId")}
	params := client.ListKeysParams{}
	if p.Org != "" {
		params.OrgID = &p.Org
	}
	answer, err := c.api.ListKeysWithResponse(ctx, &params)
	if err != nil {
		return view{}, err
	}
	p.Keys = answer.JSON200.Keys
	return view{name: "keys", title: "Keys", data: p}, nil
}
