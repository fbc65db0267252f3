package client

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"exportd/internal/backoff"
)

// Result is a finished export.
type Result struct {
	// TotalCount is the number of rows.
	TotalCount int64
	// Job is everything else about it.
	Job    *Job
	client *Client
}

// FailedError is a job that ended without a file.
type FailedError struct{ Job *Job }

// Error says how it ended.
func (e *FailedError) Error() string {
	if e.Job.Error != nil {
		return fmt.Sprintf("export %s: %s: %s (%s)", e.Job.JobID, e.Job.State, e.Job.Error.Message, e.Job.Error.Code)
	}
	return fmt.Sprintf("export %s: %s", e.Job.JobID, e.Job.State)
}

// Export runs an export and waits until its file is there, however long that takes: bound it with ctx. It
// survives restarts of the service and times when it cannot be reached (see Config.Attempts). A program that
// is started again and asks for the same attaches to the same job. Errors: *Error, *FailedError, those of the
// network, and ctx's; once there is a job, JobIDOf finds its id in them.
func (c *Client) Export(ctx context.Context, r Request) (*Result, error) {
	id, err := c.submit(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("submit export: %w", err)
	}
	job, err := c.Wait(ctx, id, r.OnProgress)
	if err != nil {
		return nil, err
	}
	return c.ResultOf(job)
}

// ResultOf makes a Result of a job that has succeeded, and a *FailedError of any other.
func (c *Client) ResultOf(job *Job) (*Result, error) {
	if job.State != StateSucceeded || job.TotalCount == nil {
		return nil, &FailedError{job}
	}
	return &Result{TotalCount: *job.TotalCount, Job: job, client: c}, nil
}

// Submit starts an export, or attaches to the job that an equal request started, and does not wait for it.
func (c *Client) Submit(ctx context.Context, r Request) (*Job, error) {
	id, err := c.submit(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("submit export: %w", err)
	}
	return c.GetJob(ctx, id)
}

// submit returns the job's id.
func (c *Client) submit(ctx context.Context, r Request) (id string, err error) {
	if r.Fresh && r.IdempotencyKey == "" {
		r.IdempotencyKey = rand.Text() // a try whose answer was lost must not start another job
	}
	response, err := c.ask(ctx, r.Kind, "/export", r.query(), r.header())
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, maxErrorBody)) // so that the connection is used again
	location := response.Header.Get("Location")
	if response.StatusCode == http.StatusOK { // done already
		location = response.Header.Get("Content-Location")
	}
	if id = jobIDIn(location); id == "" {
		return "", errors.New("the answer names no job")
	}
	return id, nil
}

// query is what r says of the rows and of the file. What does not belong to the kind the service refuses.
func (r *Request) query() url.Values {
	params := url.Values{}
	for name, value := range r.Params {
		params.Set(name, value)
	}
	set := func(name, value string) {
		if value != "" {
			params.Set(name, value)
		}
	}
	r.rows(set)
	r.file(set)
	set("callbackUrl", r.CallbackURL)
	return params
}

func (r *Request) header() http.Header {
	header := http.Header{"Prefer": {"respond-async"}}
	if r.Fresh {
		header.Set("Cache-Control", "no-cache")
	}
	if r.IdempotencyKey != "" {
		header.Set("Idempotency-Key", r.IdempotencyKey)
	}
	if r.TestScenario != "" {
		header.Set("Export-Test-Scenario", string(r.TestScenario))
	}
	return header
}

// GetJob shows a job as it is now.
func (c *Client) GetJob(ctx context.Context, id string) (*Job, error) {
	job, _, err := c.poll(ctx, id, 0)
	return job, err
}

// poll asks for a job, held by the service for up to wait seconds.
func (c *Client) poll(ctx context.Context, id string, wait int) (*Job, time.Duration, error) {
	prefer := "wait=" + strconv.Itoa(wait)
	r, err := c.GetJobWithResponse(ctx, id, &GetJobParams{Prefer: &prefer})
	if err != nil {
		return nil, 0, &jobError{id, err}
	}
	if r.JSON200 == nil {
		return nil, 0, &jobError{id, fmt.Errorf("answer %d is not a job", r.StatusCode())}
	}
	return r.JSON200, retryAfterOf(r.HTTPResponse.Header, time.Now()), nil
}

// longWait is how many seconds the service holds a request at most.
const longWait = 25

// Wait waits until a job has ended and returns it, whatever became of it. onProgress, if not nil, is called
// with the job about once a second and when it has ended.
func (c *Client) Wait(ctx context.Context, id string, onProgress func(*Job)) (*Job, error) {
	wait := longWait
	if onProgress != nil {
		wait = 1
	}
	for {
		asked := time.Now()
		job, after, err := c.poll(ctx, id, wait)
		if err != nil {
			return nil, err
		}
		if onProgress != nil {
			onProgress(job)
		}
		switch job.State {
		case StateQueued, StateRunning:
		default:
			return job, nil
		}
		// A service that could not hold the request has said when to come again.
		if held := time.Since(asked); held < time.Duration(wait)*time.Second {
			if err := backoff.Sleep(ctx, max(time.Second, min(after, lastPause))-min(held, time.Second)); err != nil {
				return nil, &jobError{id, err}
			}
		}
	}
}

// jobError is an error with the job that it is about.
type jobError struct {
	id  string
	err error
}

func (e *jobError) Error() string { return "job " + e.id + ": " + e.err.Error() }
func (e *jobError) Unwrap() error { return e.err }

// JobIDOf finds the job that an error of this package is about, to come back with; "" if there is none.
func JobIDOf(err error) string {
	if e, ok := errors.AsType[*jobError](err); ok {
		return e.id
	}
	if e, ok := errors.AsType[*FailedError](err); ok {
		return e.Job.JobID
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.JobID
	}
	return ""
}
