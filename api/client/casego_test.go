package client_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"exportd/api/client"
)

// TestCases has the Go client do the cases, with the waits of a bubble.
func TestCases(t *testing.T) {
	t.Parallel()
	f := readCases(t)
	s := newCaseServer(f)
	passed := make([]bool, len(f.Cases))
	for i := range f.Cases {
		c := &f.Cases[i]
		t.Run(c.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newPipeListener()
				server := &http.Server{Handler: s}
				server.SetKeepAlivesEnabled(false) // or Go's transport tries again by itself
				served := make(chan error, 1)
				go func() { served <- server.Serve(l) }()
				g := &goCase{caseFile: f, base: "http://127.0.0.1" + s.pathOf(i), transport: &http.Transport{DialContext: l.dial, ResponseHeaderTimeout: 45 * time.Second}, dir: t.TempDir()}
				began := time.Now()
				outcome := g.do(t.Context(), c.Call)
				waited := time.Since(began).Seconds()
				if c.Waits == nil && waited > 0 { // a stall
					waited = 0
				}
				passed[i] = s.judge(t, i, ended{c.Name, outcome, waited})
				g.transport.CloseIdleConnections()
				_ = server.Close()
				<-served
			})
		})
	}
	f.tell(t, "go", passed)
}

// pipeListener has connections within the process, on which waiting takes no time.
type pipeListener struct {
	conns chan net.Conn
	done  chan struct{}
}

func newPipeListener() *pipeListener {
	return &pipeListener{make(chan net.Conn), make(chan struct{})}
}

func (l *pipeListener) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case l.conns <- there:
		return here, nil
	case <-l.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { close(l.done); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{} }

// goCase does the call of a case.
type goCase struct {
	*caseFile
	base      string
	transport *http.Transport
	dir       string
}

type goCall struct {
	Do, Kind, JobID, Reason, IdempotencyKey, Part string
	Params                                        map[string]string
	Fresh, Progress                               bool
	Attempts, SignatureVersion                    int
	BaseURL, Key, Secret                          *string
	Date, Nonce, Method, URL, Body                string
	Secrets                                       []string
	Headers                                       map[string]string
	Now                                           int64
	out                                           map[string]any
}

func (g *goCase) do(ctx context.Context, call map[string]any) map[string]any {
	var c goCall
	raw, err := json.Marshal(call)
	if err == nil {
		err = json.Unmarshal(raw, &c)
	}
	if err != nil {
		panic(err)
	}
	c.out = map[string]any{}
	if err := g.run(ctx, &c); err != nil {
		c.out["error"] = errorOutcome(err)
	}
	return plain(c.out)
}

// plain gives values the types that JSON's have.
func plain(m map[string]any) map[string]any {
	raw, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	var out map[string]any
	if err := json.Unmarshal(raw, &out); err != nil {
		panic(err)
	}
	if e, ok := out["error"].(map[string]any); ok {
		maps.DeleteFunc(e, empty)
	}
	maps.DeleteFunc(out, empty)
	return out
}

func empty(_ string, v any) bool { return v == nil || v == "" || v == 0.0 || v == false }

func (g *goCase) run(ctx context.Context, c *goCall) error {
	switch c.Do {
	case "sign":
		c.out["signature"] = client.Sign(*c.Secret, c.Date)
		return nil
	case "sign2":
		return c.sign2()
	case "verify":
		return c.verify()
	}
	config := client.Config{BaseURL: g.base, Key: g.Key, Secret: g.Secret, Transport: g.transport, Attempts: c.Attempts, SignatureVersion: c.SignatureVersion}
	if c.Do == "new" {
		return c.config(config)
	}
	api, err := client.New(config)
	if err != nil {
		return err
	}
	r := client.Request{Kind: client.Kind(c.Kind), Params: c.Params, Fresh: c.Fresh, IdempotencyKey: c.IdempotencyKey}
	switch c.Do {
	case "export", "resume":
		return c.export(ctx, api, r)
	case "submit":
		job, err := api.Submit(ctx, r)
		if err == nil {
			c.out["jobId"], c.out["state"] = job.JobID, job.State
		}
		return err
	case "cancel":
		answer, err := api.CancelJobWithResponse(ctx, c.JobID, client.CancelJobJSONRequestBody{Reason: &c.Reason})
		if err == nil {
			c.out["jobId"], c.out["state"] = answer.JSON202.JobID, answer.JSON202.State
		}
		return err
	case "delete":
		answer, err := api.DeleteJobWithResponse(ctx, c.JobID, client.DeleteJobJSONRequestBody{})
		c.out["deleted"] = err == nil && answer.StatusCode() == http.StatusNoContent
		return err
	case "save":
		return c.save(ctx, api, g.dir)
	case "quote":
		return c.quote(ctx, api, r)
	case "manifest":
		return c.manifest(ctx, api)
	case "verifyFile":
		return c.verifyFile(ctx, api, g.dir)
	case "rows", "jobs":
		return c.list(ctx, api)
	}
	return fmt.Errorf("nobody can do %q", c.Do)
}

func (c *goCall) export(ctx context.Context, api *client.Client, r client.Request) error {
	var states []client.State
	if c.Progress {
		r.OnProgress = func(j *client.Job) { states = append(states, j.State) }
	}
	var result *client.Result
	var err error
	if c.Do == "export" {
		result, err = api.Export(ctx, r)
	} else {
		var job *client.Job
		if job, err = api.Wait(ctx, c.JobID, nil); err == nil {
			result, err = api.ResultOf(job)
		}
	}
	if err != nil {
		return err
	}
	var file bytes.Buffer
	if _, err := result.Download(ctx, &file); err != nil {
		return err
	}
	c.out["rows"], c.out["jobId"], c.out["file"] = result.TotalCount, result.Job.JobID, file.String()
	if states != nil {
		c.out["states"] = states
	}
	return nil
}

func (c *goCall) save(ctx context.Context, api *client.Client, dir string) error {
	job, err := api.Wait(ctx, c.JobID, nil)
	if err != nil {
		return err
	}
	path := filepath.Join(dir, "out.csv")
	if c.Part != "" {
		if err := os.WriteFile(client.PartPath(path, c.JobID), []byte(c.Part), 0o600); err != nil {
			return err
		}
	}
	err = api.Save(ctx, job, path, nil)
	for name, member := range map[string]string{path: "file", client.PartPath(path, c.JobID): "left"} {
		if raw, err := os.ReadFile(name); err == nil {
			c.out[member] = string(raw)
		}
	}
	return err
}

func (c *goCall) quote(ctx context.Context, api *client.Client, r client.Request) error {
	q, err := api.Quote(ctx, r)
	if err != nil {
		return err
	}
	var refusals []string
	for _, r := range q.Refusals {
		refusals = append(refusals, r.Code)
	}
	maps.Copy(c.out, map[string]any{"rows": q.Rows, "bytes": q.EstimatedBytes, "seconds": q.EstimatedSeconds, "ahead": q.JobsAhead, "attachesTo": q.AttachesTo.JobID, "refusals": refusals})
	return nil
}

func (c *goCall) manifest(ctx context.Context, api *client.Client) error {
	answer, err := api.GetManifestWithResponse(ctx, c.JobID)
	if err != nil {
		return err
	}
	m := answer.JSON200
	var columns []string
	for _, column := range m.TableSchema.Columns {
		columns = append(columns, column.Name)
	}
	maps.Copy(c.out, map[string]any{"rows": m.Rows, "columns": columns, "without": m.WithoutSortField})
	return nil
}

func (c *goCall) verifyFile(ctx context.Context, api *client.Client, dir string) error {
	path := filepath.Join(dir, "out.csv")
	if err := os.WriteFile(path, []byte(c.Part), 0o600); err != nil {
		return err
	}
	parts, err := api.Verify(ctx, c.JobID, path)
	if err != nil {
		return err
	}
	broken := []int64{}
	for _, p := range parts {
		broken = append(broken, p.Offset)
	}
	c.out["broken"] = broken
	return nil
}

func (c *goCall) list(ctx context.Context, api *client.Client) error {
	ids := []string{}
	defer func() { c.out["ids"] = ids }()
	if c.Do == "jobs" {
		state := client.State(c.Params["state"])
		for job, err := range api.AllJobs(ctx, client.ListJobsParams{State: &state}) {
			if err != nil {
				return err
			}
			ids = append(ids, job.JobID)
		}
		return nil
	}
	params := url.Values{}
	for name, value := range c.Params {
		params.Set(name, value)
	}
	for row, err := range api.AllRows(ctx, client.Kind(c.Kind), params) {
		var id struct{ ID string }
		if err == nil {
			err = json.Unmarshal(row, &id)
		}
		if err != nil {
			return err
		}
		ids = append(ids, id.ID)
	}
	return nil
}

func (c *goCall) config(config client.Config) error {
	config.BaseURL = "https://api.test"
	for to, value := range map[*string]*string{&config.BaseURL: c.BaseURL, &config.Key: c.Key, &config.Secret: c.Secret} {
		if value != nil {
			*to = *value
		}
	}
	_, err := client.New(config)
	c.out["made"] = err == nil
	return err
}

func (c *goCall) sign2() error {
	r, err := http.NewRequest(c.Method, c.URL, strings.NewReader(c.Body))
	if err != nil {
		return err
	}
	client.SetSignature2(r, []byte(c.Body), *c.Key, *c.Secret, time.Now())
	r.Header.Set("X-Date", c.Date)
	r.Header.Set("X-Nonce", c.Nonce)
	c.out["signature"] = client.Sign2(r, []byte(c.Body), *c.Secret)
	return nil
}

func (c *goCall) verify() error {
	header := http.Header{}
	for name, value := range c.Headers {
		header.Set(name, value)
	}
	callback, err := client.VerifyCallback(header, []byte(c.Body), time.Unix(c.Now, 0), c.Secrets...)
	if err != nil {
		return err
	}
	maps.Copy(c.out, map[string]any{"id": callback.ID, "type": callback.Type, "jobId": callback.Data.JobID, "rows": callback.Data.TotalCount})
	return nil
}

// errorOutcome says of an error what the cases compare.
func errorOutcome(err error) map[string]any {
	out := map[string]any{"kind": "other", "says": err.Error(), "jobId": client.JobIDOf(err)}
	var failed *client.FailedError
	var answer *client.Error
	var network net.Error
	switch {
	case errors.As(err, &failed):
		out["kind"], out["state"] = "failed", failed.Job.State
		if e := failed.Job.Error; e != nil {
			out["code"], out["retryable"] = e.Code, e.Retryable
		}
	case errors.As(err, &answer):
		maps.Copy(out, map[string]any{"kind": "answer", "status": answer.Status, "code": answer.Code, "retryable": answer.Retryable, "state": answer.State,
			"requestId": answer.RequestID, "retryAfter": answer.RetryAfter.Seconds()})
		if answer.RunningJobIDs != nil {
			out["running"] = answer.RunningJobIDs
		}
		if answer.Budget != nil {
			out["budget"] = answer.Budget
		}
		var faults []string
		for _, f := range answer.Faults {
			faults = append(faults, f.Type+" "+strings.Join(f.Path, "."))
		}
		if faults != nil {
			out["faults"] = faults
		}
	case errors.Is(err, client.ErrCorrupt):
		out["kind"] = "corrupt"
	case errors.Is(err, client.ErrNoFile):
		out["kind"] = "noFile"
	case errors.Is(err, client.ErrCallback):
		out["kind"] = "callback"
	case errors.As(err, &network), strings.Contains(err.Error(), "download: "):
		out["kind"] = "network"
	}
	return out
}
