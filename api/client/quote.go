package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// Quote is what an export would come to if it began now. Rows are exact; the rest is estimated.
type Quote struct {
	Rows      int64     `json:"rows"`
	CountedAt time.Time `json:"countedAt"`
	// WithoutSortField are the documents that the filters choose and that are no rows, as they lack the field
	// that rows are sorted by; nil where they are not counted.
	WithoutSortField *int64 `json:"withoutSortField"`
	// EstimatedBytes are those of the file; exact where BytesExact.
	EstimatedBytes int64 `json:"estimatedBytes"`
	BytesExact     bool  `json:"bytesExact"`
	// EarlierRows are those of the export that Request.Since names, nil without one. What has changed is not
	// known before both are compared: rows, bytes and seconds are those of all rows.
	EarlierRows *int64 `json:"earlierRows"`
	// EstimatedReads are the documents that Firestore bills.
	EstimatedReads int64 `json:"estimatedReads"`
	EstimatedParts int   `json:"estimatedParts"`
	// EstimatedFiles are those of the zip that the file will be, 0 where it is none.
	EstimatedFiles int `json:"estimatedFiles"`
	// EstimatedSeconds are until the file is there, JobsAhead the org's exports that end before this one
	// begins.
	EstimatedSeconds float64 `json:"estimatedSeconds"`
	JobsAhead        int64   `json:"jobsAhead"`
	// WaitsForWorker is that there is none: it begins when there is one, and EstimatedSeconds are from then
	// on.
	WaitsForWorker bool `json:"waitsForWorker"`
	OpensInExcel   bool `json:"opensInExcel"`
	// AttachesTo is the job that the request would get; nil for one of its own.
	AttachesTo *struct {
		JobID     string `json:"jobId"`
		State     State  `json:"state"`
		StatusURL string `json:"statusUrl"`
	} `json:"attachesTo"`
	// Refusals are what the request would be refused for, or its job fail by.
	Refusals []struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	} `json:"refusals"`
	// Budget is what is left of the key's day, before this export; nil for a key without a budget.
	Budget *BudgetLeft `json:"budget"`
}

// Quote says what an export would come to, and starts none.
func (c *Client) Quote(ctx context.Context, r Request) (*Quote, error) {
	params := r.query()
	params.Set("dryRun", "true")
	response, err := c.ask(ctx, r.Kind, "/export", params, r.header())
	if err != nil {
		return nil, fmt.Errorf("quote export: %w", err)
	}
	defer response.Body.Close()
	var answer struct {
		DryRun bool `json:"dryRun"`
		Quote
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, maxErrorBody)).Decode(&answer); err != nil {
		return nil, fmt.Errorf("quote export: %w", err)
	}
	if !answer.DryRun { // it has no such parameter, or is something else
		return nil, fmt.Errorf("quote export: answer %d is no quote", response.StatusCode)
	}
	return &answer.Quote, nil
}
