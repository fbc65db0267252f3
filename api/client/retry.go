package client

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"exportd/internal/backoff"
)

// Error is an answer of 400 and above.
type Error struct {
	Status  int
	Message string
	// Faults are all that is wrong with the parameters, of a 422.
	Faults []Fault
	// Code and Retryable say why an export failed, Code is "" for other errors.
	Code      ErrorCode
	Retryable bool
	// State is what a job is that would have to be something else, of a 409.
	State State
	// RunningJobIDs are what keeps an export from being queued, of a 429.
	RunningJobIDs []string
	// JobID is the job that the answer is about, "" if there is none.
	JobID string
	// RequestID names the request to those who run the service.
	RequestID string
	// Budget is what is left of the key's day where the export is more; such a request is not sent again.
	Budget *BudgetLeft
	// RetryAfter is how long the service wants to be left alone; 0 if it did not say.
	RetryAfter time.Duration
}

// Fault is one thing that is wrong with a parameter.
type Fault struct {
	Message string         `json:"message"` // begins with the parameter in quotes
	Path    []string       `json:"path"`
	Type    string         `json:"type"` // like "any.required"
	Context map[string]any `json:"context"`
}

// Error gives the status and everything that the service said.
func (e *Error) Error() string {
	text := e.Message
	if len(e.Faults) > 0 {
		texts := make([]string, len(e.Faults))
		for i, f := range e.Faults {
			texts[i] = f.Message
		}
		text = strings.Join(texts, "; ")
	}
	return fmt.Sprintf("%s (%d %s, request %s)", text, e.Status, http.StatusText(e.Status), e.RequestID)
}

// temporary reports whether the same request may work later.
func (e *Error) temporary() bool {
	if e.Budget != nil {
		return false // it is spent for the day
	}
	switch e.Status {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// maxErrorBody bounds what is read of an error: the service's own are far smaller.
const maxErrorBody = 1 << 20

// errorOf reads an answer of 400 and above, and closes it.
func errorOf(r *http.Response) *Error {
	defer r.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(r.Body, maxErrorBody)) // what could be read
	var fields struct {
		Message       string      `json:"message"`
		Error         []Fault     `json:"error"`
		Code          ErrorCode   `json:"code"`
		Retryable     bool        `json:"retryable"`
		State         State       `json:"state"`
		RunningJobIDs []string    `json:"runningJobIds"`
		Budget        *BudgetLeft `json:"budget"`
	}
	if json.Unmarshal(body, &fields) != nil || fields.Message == "" && len(fields.Error) == 0 {
		fields.Message = "not an answer of exportd" // a proxy's, most likely
	}
	e := &Error{
		Status: r.StatusCode, Message: fields.Message, Faults: fields.Error, Code: fields.Code, Retryable: fields.Retryable,
		State: fields.State, RunningJobIDs: fields.RunningJobIDs, RequestID: r.Header.Get("X-Request-Id"), Budget: fields.Budget,
		JobID: jobIDIn(r.Header.Get("Location")),
	}
	e.RetryAfter = retryAfterOf(r.Header, time.Now())
	return e
}

// retryAfterOf reads both forms of a Retry-After, seconds and a date, which is taken by the clock of who
// answered where it tells its time; 0 if there is none that makes sense.
func retryAfterOf(h http.Header, now time.Time) time.Duration {
	text := h.Get("Retry-After")
	if s, err := strconv.ParseUint(text, 10, 32); err == nil {
		return time.Duration(s) * time.Second
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return 0
	}
	if theirs, err := http.ParseTime(h.Get("Date")); err == nil {
		now = theirs
	}
	return max(0, at.Sub(now))
}

// jobIDIn reads the job's id out of /exports/{jobId}.
func jobIDIn(path string) string {
	if id, ok := strings.CutPrefix(path, "/exports/"); ok {
		return id
	}
	return ""
}

// retrier sends requests, again where that is safe, and makes errors of error answers.
type retrier struct {
	client *http.Client
	tries  int
}

const (
	// firstPause and lastPause are those between tries: ten tries take about two minutes.
	firstPause = 500 * time.Millisecond
	lastPause  = 30 * time.Second
	// maxRetryAfter bounds what is believed of a Retry-After.
	maxRetryAfter = 5 * time.Minute
)

// Do sends a request. Only requests that may be repeated are: of POST, those that cancel.
func (c *retrier) Do(r *http.Request) (*http.Response, error) {
	repeatable := r.Method == http.MethodGet || r.Method == http.MethodDelete || strings.HasSuffix(r.URL.Path, "/cancel")
	pauses := backoff.Doubling(firstPause, lastPause)
	for n := 0; ; n++ {
		if n > 0 && r.GetBody != nil {
			body, err := r.GetBody()
			if err != nil {
				return nil, err
			}
			r.Body = body
		}
		response, err := c.client.Do(r)
		if err == nil && response.StatusCode < http.StatusBadRequest {
			if err = arrived(response); err == nil {
				return response, nil
			}
		}
		var wait time.Duration
		if err == nil {
			e := errorOf(response)
			err, wait = e, e.RetryAfter
			if !e.temporary() {
				return nil, err
			}
		}
		if !repeatable || n+1 >= c.tries || r.Context().Err() != nil {
			return nil, err
		}
		if sleepErr := backoff.Sleep(r.Context(), max(pauses.Next(), min(wait, maxRetryAfter))); sleepErr != nil {
			return nil, errors.Join(sleepErr, err)
		}
	}
}

// maxAhead bounds what is read of an answer before it is handed on: all but pages of large rows are smaller.
const maxAhead = 1 << 20

// arrived waits for the beginning of a JSON answer, which is all of most: one that breaks off there is asked
// for again. Streams are left alone.
func arrived(r *http.Response) error {
	if !strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") {
		return nil
	}
	start, err := io.ReadAll(io.LimitReader(r.Body, maxAhead))
	if err != nil {
		return errors.Join(fmt.Errorf("read answer: %w", err), r.Body.Close())
	}
	r.Body = &readAhead{io.MultiReader(bytes.NewReader(start), r.Body), r.Body}
	return nil
}

// readAhead is a body of which some was read.
type readAhead struct {
	io.Reader
	io.Closer
}

// StatusOf returns the status of an error answer, 0 for other errors.
func StatusOf(err error) int {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Status
	}
	return 0
}

var _ HttpRequestDoer = (*retrier)(nil)
