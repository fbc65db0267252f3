package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
)

// Page is a page of the rows of any dataset.
type Page struct {
	// Rows are objects as the service's own document (GET /openapi.json) describes them.
	Rows []json.RawMessage
	// NextCursor gives the next page of most datasets, as their parameter for it; nil at the end.
	NextCursor *string
	// NextOffset gives it of those that page by offset; they have a Total too.
	NextOffset *int
	Total      *int64
}

// maxPage bounds a page, of up to 200 rows of up to 1 MiB.
const maxPage = 256 << 20

// ListRows lists the rows of a dataset by its parameters, limit, and cursor or offset. Those that are built
// in have methods of their own too, like ListUsers.
func (c *Client) ListRows(ctx context.Context, dataset Kind, params url.Values) (*Page, error) {
	response, err := c.ask(ctx, dataset, "", params, nil)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	var members map[string]json.RawMessage
	if err := json.NewDecoder(io.LimitReader(response.Body, maxPage)).Decode(&members); err != nil {
		return nil, fmt.Errorf("read a page of %s: %w", dataset, err)
	}
	var page Page
	for name, value := range members {
		var to any
		switch name {
		case "nextCursor":
			to = &page.NextCursor
		case "nextOffset":
			to = &page.NextOffset
		case "total":
			to = &page.Total
		default: // the one array, which datasets name
			if !bytes.HasPrefix(value, []byte{'['}) {
				continue
			}
			to = &page.Rows
		}
		if err := json.Unmarshal(value, to); err != nil {
			return nil, fmt.Errorf("read a page of %s: %s: %w", dataset, name, err)
		}
	}
	return &page, nil
}

// AllRows goes through the rows of a dataset from the page that params give, page by page; params may have
// the limit of each. It ends behind the last row, or the first error.
func (c *Client) AllRows(ctx context.Context, dataset Kind, params url.Values) iter.Seq2[json.RawMessage, error] {
	return func(yield func(json.RawMessage, error) bool) {
		params := maps.Clone(params)
		if params == nil {
			params = url.Values{}
		}
		cursor := "cursor" // of all datasets but one
		if dataset == KindVipMessages {
			cursor = "before"
		}
		for {
			page, err := c.ListRows(ctx, dataset, params)
			if err != nil {
				yield(nil, err)
				return
			}
			for _, row := range page.Rows {
				if !yield(row, nil) {
					return
				}
			}
			switch {
			case page.NextCursor != nil:
				params.Set(cursor, *page.NextCursor)
			case page.NextOffset != nil:
				params.Set("offset", strconv.Itoa(*page.NextOffset))
			default:
				return
			}
		}
	}
}

// AllJobs goes through the org's jobs, the newest first, page by page; params may have state, kind and
// pageSize. It ends behind the oldest, or the first error.
func (c *Client) AllJobs(ctx context.Context, params ListJobsParams) iter.Seq2[Job, error] {
	return func(yield func(Job, error) bool) {
		params := params // of this loop alone: the next one begins at the first page again
		for {
			page, err := c.ListJobsWithResponse(ctx, &params)
			if err == nil && page.JSON200 == nil {
				err = fmt.Errorf("answer %d is no page of jobs", page.StatusCode())
			}
			if err != nil {
				yield(Job{}, err)
				return
			}
			for _, job := range page.JSON200.Jobs {
				if !yield(job, nil) {
					return
				}
			}
			if params.PageToken = page.JSON200.NextPageToken; params.PageToken == nil {
				return
			}
		}
	}
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
