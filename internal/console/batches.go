package console

import (
	"context"
	"net/http"
	"time"

	"exportd/api/client"
)

// batchEvery is how often an open batch is looked at: a document, and a count of its jobs.
const batchEvery = 3 * time.Second

type batchesPage struct{ Batches []client.Batch }

type batchPage struct {
	Batch  client.Batch
	Filter []param
}

func (c *Console) batches(ctx context.Context, _ *principal, _ *http.Request) (view, error) {
	answer, err := c.api.OpsListBatchesWithResponse(ctx)
	if err != nil {
		return view{}, err
	}
	return view{name: "batches", title: "Batches", data: batchesPage{answer.JSON200.Batches}}, nil
}

func (c *Console) batch(ctx context.Context, _ *principal, r *http.Request) (view, error) {
	answer, err := c.api.OpsGetBatchWithResponse(ctx, r.PathValue("id"))
	if err != nil {
		return view{}, err
	}
	b := answer.JSON200
	filter := members(answer.Body, "filter")
	if b.Callbacks != nil {
		filter = members(answer.Body, "callbacks", "filter")
	}
	p := batchPage{Batch: *b, Filter: paramsOf(filter)}
	return view{name: "batch", title: "Batch", data: p, live: b.FinishedAt == nil, every: batchEvery}, nil
}
