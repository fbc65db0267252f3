package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"exportd/internal/localcloud/fault"
)

// control is the URL under which the embedded cloud is shaped and counts its calls.
type control string

// call makes a request and reads the answer into out unless that is nil.
func (c control) call(ctx context.Context, method, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("encode %s: %w", path, err)
	}
	req, err := http.NewRequestWithContext(ctx, method, string(c)+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= http.StatusBadRequest {
		return fmt.Errorf("%s %s: %s", method, path, resp.Status)
	}
	if out == nil {
		return nil
	}
	return json.NewDecoder(resp.Body).Decode(out)
}

// shape makes each Firestore stream as slow as one on the way to Google; the zero Rule ends that.
func (c control) shape(ctx context.Context, r fault.Rule) error {
	cfg := fault.Config{}
	if r != (fault.Rule{}) {
		cfg.Rules = map[string]fault.Rule{"Firestore/*": r}
	}
	return c.call(ctx, http.MethodPut, "/faults", cfg, nil)
}

func (c control) counters(ctx context.Context) (fault.Counters, error) {
	var out fault.Counters
	err := c.call(ctx, http.MethodGet, "/counters", nil, &out)
	return out, err
}

// quiet waits until the job's last calls, which come after its end, have been made.
func (c control) quiet(ctx context.Context) (fault.Counters, error) {
	const still = 250 * time.Millisecond
	last, err := c.counters(ctx)
	tick := time.NewTicker(still)
	defer tick.Stop()
	for err == nil {
		select {
		case <-ctx.Done():
			return last, ctx.Err()
		case <-tick.C:
		}
		var now fault.Counters
		now, err = c.counters(ctx)
		if sameCalls(last, now) {
			return now, err
		}
		last = now
	}
	return last, err
}

func sameCalls(a, b fault.Counters) bool {
	return a.DocumentsRead == b.DocumentsRead && a.DocumentsWritten == b.DocumentsWritten && calls(a, "Storage/") == calls(b, "Storage/")
}
