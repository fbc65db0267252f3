package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"exportd/internal/apikey"
	"exportd/internal/demo"
	"exportd/jobs"
)

// caller sends export requests as a patient client does: again until they are answered, under an idempotency
// key, so that an answer that got lost starts no second job.
type caller struct {
	fleet     *fleet
	demo      demo.Summary
	http      *http.Client
	receivers *receivers

	mu          sync.Mutex
	accepted    map[string]*accepted
	comparable  []*accepted // that files of changes can be asked for since
	requests    int
	retries     int
	refused     int // answers of a build that does not know what is asked for
	redelivered int // callbacks that the operator had sent again
}

// accepted is a job that the API said yes to.
type accepted struct {
	id       string
	path     string     // of the request, with what is not of its form
	form     url.Values // in which its file was asked for
	callback string     // its callbackUrl, "" if it has none
	canceled bool       // by the script
}

// target is the path and query of the request.
func (a *accepted) target() string {
	target := a.path + "&" + a.form.Encode()
	if a.callback != "" {
		target += "&callbackUrl=" + url.QueryEscape(a.callback)
	}
	return target
}

// request is one to the API, by the demo's caller or operator.
type request struct {
	method, path, body string
	header             map[string]string
	operator           bool
}

// job is what the chaos suite reads of an answer.
type job struct {
	JobID        string     `json:"jobId"`
	Kind         string     `json:"kind"`
	State        string     `json:"state"`
	Attempt      int        `json:"attempt"`
	TotalCount   *int64     `json:"totalCount"`
	CSVURL       *string    `json:"csvUrl"`
	SnapshotTime *time.Time `json:"snapshotTime"`
	Error        *struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
	Progress struct {
		RowsDone int64 `json:"rowsDone"`
		Percent  int   `json:"percent"`
	} `json:"progress"`
}

// send asks one of the APIs, and another when that fails.
func (c *caller) send(ctx context.Context, rng *rand.Rand, r request) (int, []byte, error) {
	key, secret := c.demo.APIKey, c.demo.Secret
	if r.operator {
		key, secret = c.demo.OpsAPIKey, c.demo.OpsSecret
	}
	var last error
	for try := 0; ctx.Err() == nil; try++ {
		base := c.fleet.apiURLs[(rng.IntN(apiCount)+try)%apiCount]
		req, err := http.NewRequestWithContext(ctx, r.method, base+r.path, strings.NewReader(r.body))
		if err != nil {
			return 0, nil, err
		}
		if r.operator {
			apikey.SignRequest(req, key, secret, []byte(r.body), time.Now())
		} else {
			date := time.Now().UTC().Format(time.RFC3339Nano)
			req.Header.Set("x-api-key", key)
			req.Header.Set("x-date", date)
			req.Header.Set("x-signature", apikey.Sign(secret, date))
		}
		for k, v := range r.header {
			req.Header.Set(k, v)
		}
		res, err := c.http.Do(req)
		if err == nil {
			body, rerr := io.ReadAll(io.LimitReader(res.Body, 1<<20))
			_ = res.Body.Close()
			if rerr == nil && res.StatusCode < 500 && res.StatusCode != http.StatusTooManyRequests {
				return res.StatusCode, body, nil
			}
			err = fmt.Errorf("%s: %s", res.Status, body)
		}
		last = err
		c.mu.Lock()
		c.retries++
		c.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(50+rng.IntN(200)) * time.Millisecond):
		}
	}
	return 0, nil, fmt.Errorf("%w: %w", context.Cause(ctx), last)
}

// export submits one request of a random kind, size and form.
func (c *caller) export(ctx context.Context, rng *rand.Rand, n int) error {
	a, err := c.randomExport(ctx, rng)
	if err != nil {
		return err
	}
	if rng.IntN(2) == 0 { // half of them want to be called back
		a.callback = c.receivers.expect(n, randomManner(rng))
	}
	header := map[string]string{"Prefer": "respond-async", "Cache-Control": "no-cache", "Idempotency-Key": fmt.Sprintf("chaos-%d", n)}
	c.mu.Lock()
	c.requests++
	c.mu.Unlock()
	status, body, err := c.send(ctx, rng, request{method: http.MethodGet, path: a.target(), header: header})
	// The build before refuses what it does not know. Whoever is asked next may be of this one.
	for err == nil && c.fleet.builds.mixed() && status == http.StatusUnprocessableEntity {
		c.mu.Lock()
		c.refused++
		c.mu.Unlock()
		pause(ctx, time.Duration(50+rng.IntN(200))*time.Millisecond)
		status, body, err = c.send(ctx, rng, request{method: http.MethodGet, path: a.target(), header: header})
	}
	if err != nil {
		return err
	}
	var j job
	if status != http.StatusAccepted || json.Unmarshal(body, &j) != nil || j.JobID == "" {
		return fmt.Errorf("export %s answered %d: %.300s", a.target(), status, body)
	}
	a.id = j.JobID
	c.mu.Lock()
	c.accepted[a.id] = a
	c.mu.Unlock()
	if rng.IntN(8) == 0 { // one in eight is canceled, a little later
		if !pause(ctx, time.Duration(rng.IntN(3000))*time.Millisecond) {
			return nil
		}
		return c.cancel(ctx, rng, a.id)
	}
	if a.form.Get(jobs.ParamFormat) != jobs.FormatParquet && a.form.Get(jobs.ParamProfile) == "" {
		c.mu.Lock()
		c.comparable = append(c.comparable, a)
		c.mu.Unlock()
	}
	return nil
}

func (c *caller) cancel(ctx context.Context, rng *rand.Rand, id string) error {
	status, body, err := c.send(ctx, rng, request{method: http.MethodPost, path: "/exports/" + id + "/cancel"})
	if err != nil {
		return err
	}
	switch status {
	case http.StatusAccepted:
		c.mu.Lock()
		c.accepted[id].canceled = true
		c.mu.Unlock()
		return nil
	case http.StatusConflict: // it has ended already
		return nil
	}
	return fmt.Errorf("cancel answered %d: %.300s", status, body)
}

// randomExport is a request for a window of a few hours up to the widest, or for users; or for what has
// changed since one.
func (c *caller) randomExport(ctx context.Context, rng *rand.Rand) (*accepted, error) {
	if rng.IntN(4) == 0 {
		if a, err := c.earlier(ctx, rng); a != nil || err != nil {
			return a, err
		}
	}
	q, kind := url.Values{"workspaceId": {c.demo.WorkspaceID}, "mediumId": {c.demo.MediumID}}, "vip-messages"
	if rng.IntN(3) == 0 {
		kind = "vip-users"
		if rng.IntN(2) == 0 {
			q.Set("hasBirthday", "true")
		}
	} else {
		from, _ := time.Parse(time.DateOnly, c.demo.From)
		days := []int{1, 1, 3, 10, 30}[rng.IntN(5)]
		from = from.AddDate(0, 0, rng.IntN(31-days))
		q.Set("from", from.Format(time.DateOnly))
		q.Set("to", from.AddDate(0, 0, days).Format(time.DateOnly))
		if rng.IntN(4) == 0 {
			q.Set("contentType", "text")
		}
	}
	a := &accepted{path: "/" + kind + "/export?" + q.Encode(), form: url.Values{}}
	randomForm(rng, kind, a.form)
	return a, nil
}

// earlier asks for what has changed since an export that has ended; nil if the one that was drawn has not.
func (c *caller) earlier(ctx context.Context, rng *rand.Rand) (*accepted, error) {
	c.mu.Lock()
	var base *accepted
	if n := len(c.comparable); n > 0 {
		base = c.comparable[rng.IntN(n)]
	}
	c.mu.Unlock()
	if base == nil {
		return nil, nil
	}
	j, err := c.get(ctx, rng, base.id)
	if err != nil || j.State != string(jobs.Succeeded) {
		return nil, err
	}
	form := maps.Clone(base.form)
	form.Set(jobs.ParamSince, base.id)
	return &accepted{path: base.path, form: form}, nil
}

// get asks for a job.
func (c *caller) get(ctx context.Context, rng *rand.Rand, id string) (job, error) {
	var j job
	status, body, err := c.send(ctx, rng, request{method: http.MethodGet, path: "/exports/" + id})
	if err != nil {
		return j, err
	}
	if status != http.StatusOK {
		return j, fmt.Errorf("job %s answered %d: %.300s", id, status, body)
	}
	return j, json.Unmarshal(body, &j)
}

// redeliver has the operator send a job's callback again.
func (c *caller) redeliver(ctx context.Context, rng *rand.Rand, id string) error {
	status, body, err := c.send(ctx, rng, request{
		method: http.MethodPost, path: "/ops/jobs/" + id + "/callback/redeliver", body: `{"reason": "chaos: its receiver works again"}`, operator: true,
	})
	switch {
	case err != nil:
		return err
	case status == http.StatusAccepted:
		c.redelivered++
		return nil
	case status == http.StatusConflict: // a try has just begun
		return nil
	}
	return fmt.Errorf("redelivery of the callback of job %s answered %d: %.300s", id, status, body)
}
