package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
)

// Page is a page of the rows of any dataset.
type Page struct {
	// Rows are objects as the service's own document (GET /openapi.json) describes them.
	Rows []json.RawMessage
	// NextCursor gives the next page, as the parameter cursor; nil at the end.
	NextCursor *string
}

// maxPage bounds a page, of up to 200 rows of up to 1 MiB.
const maxPage = 256 << 20

// ListRows lists the rows of a dataset that an installation has of its own (EXPORTD_DATASETS_FILE), by its
// parameters, and limit and cursor. VIP users and messages have methods of their own.
func (c *Client) ListRows(ctx context.Context, dataset Kind, params url.Values) (*Page, error) {
	response, err := c.ask(ctx, dataset, "", params, nil)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	var page struct {
		Rows       []json.RawMessage `json:"rows"`
		NextCursor *string           `json:"nextCursor"`
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, maxPage)).Decode(&page); err != nil {
		return nil, fmt.Errorf("read a page of %s: %w", dataset, err)
	}
	return &Page{page.Rows, page.NextCursor}, nil
}

var datasetName = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`)

// ask calls a route of a dataset.
func (c *Client) ask(ctx context.Context, dataset Kind, route string, params url.Values, header http.Header) (*http.Response, error) {
	if !datasetName.MatchString(string(dataset)) {
		return nil, fmt.Errorf("%q cannot be the name of a dataset", dataset)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+"/"+string(dataset)+route+"?"+params.Encode(), nil)
	if err != nil {
		return nil, err
	}
	for name, values := range header {
		r.Header[name] = values
	}
	return c.api.Do(r)
}

// exportOf starts an export of a dataset of the installation's own.
func (c *Client) exportOf(ctx context.Context, r Request, prefer string, cacheControl *string, guard *FormulaGuard) (*http.Response, error) {
	params, header := url.Values{}, http.Header{"Prefer": {prefer}}
	for name, value := range r.Params {
		params.Set(name, value)
	}
	for name, value := range map[string]string{"workspaceId": r.WorkspaceID, "mediumId": r.MediumID, "from": r.From, "to": r.To,
		"callbackUrl": r.CallbackURL, "profile": string(r.Profile)} {
		if value != "" {
			params.Set(name, value)
		}
	}
	if guard != nil {
		params.Set("formulaGuard", string(*guard))
	}
	if cacheControl != nil {
		header.Set("Cache-Control", *cacheControl)
	}
	if r.IdempotencyKey != "" {
		header.Set("Idempotency-Key", r.IdempotencyKey)
	}
	return c.ask(ctx, r.Kind, "/export", params, header)
}
