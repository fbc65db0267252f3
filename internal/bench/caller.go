package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"exportd/internal/apikey"
)

// caller makes signed requests to the API.
type caller struct {
	url, key, secret string
	http             *http.Client
}

// newCaller keeps so many connections open.
func newCaller(apiURL, key, secret string, connections int) *caller {
	transport := &http.Transport{MaxIdleConns: connections, MaxIdleConnsPerHost: connections}
	return &caller{apiURL, key, secret, &http.Client{Transport: transport, Timeout: time.Minute}}
}

func (c *caller) close() { c.http.CloseIdleConnections() }

// get makes a request, with more headers as names and values by turns, and reads the answer to its end. A
// status other than 2xx is an error.
func (c *caller) get(ctx context.Context, path string, query url.Values, headers ...string) ([]byte, error) {
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url+path, nil)
	if err != nil {
		return nil, err
	}
	date := time.Now().UTC().Format("2006-01-02T15:04:05.000Z")
	req.Header.Set("X-Api-Key", c.key)
	req.Header.Set("X-Date", date)
	req.Header.Set("X-Signature", apikey.Sign(c.secret, date))
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode/100 != 2 {
		err = fmt.Errorf("GET %s: %s: %.300s", path, resp.Status, body)
	}
	return body, err
}

// job is what the API says of an export.
type job struct {
	ID         string     `json:"jobId"`
	State      string     `json:"state"`
	CreatedAt  time.Time  `json:"createdAt"`
	FinishedAt *time.Time `json:"finishedAt"`
	CSVURL     string     `json:"csvUrl"`
	Rows       int64      `json:"totalCount"`
	Size       int64      `json:"sizeBytes"`
	CRC32C     string     `json:"crc32c"`
}

// export asks for a new export of messages and waits for its end.
func (c *caller) export(ctx context.Context, query url.Values) (job, error) {
	var j job
	body, err := c.get(ctx, "/vip-messages/export", query, "Prefer", "respond-async", "Cache-Control", "no-cache")
	for err == nil {
		if err = json.Unmarshal(body, &j); err != nil {
			return j, fmt.Errorf("decode job: %w", err)
		}
		switch j.State {
		case "queued", "running":
			body, err = c.get(ctx, "/exports/"+j.ID, nil, "Prefer", "wait=25")
		case "succeeded":
			return j, nil
		default:
			return j, fmt.Errorf("job %s is %s: %.600s", j.ID, j.State, body)
		}
	}
	return j, err
}
