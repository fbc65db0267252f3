package e2etest

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"exportd/internal/apikey"
	"exportd/internal/localcloud/localcloudtest"
)

// Client makes signed requests as a caller does. It follows no redirects.
type Client struct {
	URL        string
	ID, Secret string
	// V2 signs by version 2, as keys of operators and admins must.
	V2 bool
}

// transport is shared: connections are the same for all keys.
var transport = &http.Client{
	Timeout:       90 * time.Second,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// CloseIdle closes the callers' connections: the next request comes on a new one.
func CloseIdle() { transport.CloseIdleConnections() }

// Run runs the tests of a package and gives its exit code: also 1 when goroutines are left.
func Run(m *testing.M) int {
	code := m.Run()
	transport.CloseIdleConnections() // which are goroutines
	if code == 0 {
		if err := goleak.Find(localcloudtest.LeakOptions()...); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return code
}

// Response is an answer, read to its end.
type Response struct {
	Status int
	Header http.Header
	Body   []byte
}

// Sign is the signature of an x-date header.
func Sign(secret, date string) string {
	m := hmac.New(sha256.New, []byte(secret))
	m.Write([]byte(date))
	return hex.EncodeToString(m.Sum(nil))
}

// Get makes a signed GET. headers are names and values by turns.
func (c *Client) Get(tb testing.TB, path string, query url.Values, headers ...string) Response {
	tb.Helper()
	return c.Do(tb, http.MethodGet, path, query, nil, headers...)
}

// Do makes a signed request. The test fails if no answer comes.
func (c *Client) Do(tb testing.TB, method, path string, query url.Values, body io.Reader, headers ...string) Response {
	tb.Helper()
	r, err := c.Try(tb.Context(), method, path, query, body, headers...)
	if err != nil {
		tb.Fatalf("%s %s: %v", method, path, err)
	}
	return r
}

// Try is Do that returns the error of a request that got no answer.
func (c *Client) Try(ctx context.Context, method, path string, query url.Values, body io.Reader, headers ...string) (Response, error) {
	date := time.Now().UTC().Format("2006-01-02T15:04:05.000Z")
	if !c.V2 {
		signed := []string{"x-api-key", c.ID, "x-date", date, "x-signature", Sign(c.Secret, date)}
		return Send(ctx, method, c.URL+path, query, body, append(signed, headers...)...)
	}
	var content []byte
	if body != nil {
		var err error
		if content, err = io.ReadAll(body); err != nil {
			return Response{}, err
		}
		body = bytes.NewReader(content)
	}
	target := c.URL + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, target, nil)
	if err != nil {
		return Response{}, err
	}
	apikey.SignRequest(req, c.ID, c.Secret, content, time.Now())
	var signed []string
	for name, values := range req.Header {
		signed = append(signed, name, values[0])
	}
	return Send(ctx, method, target, nil, body, append(signed, headers...)...)
}

// Send makes a request with just these headers (names and values by turns, repeated ones sent repeatedly).
func Send(ctx context.Context, method, target string, query url.Values, body io.Reader, headers ...string) (Response, error) {
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return Response{}, err
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	resp, err := transport.Do(req)
	if err != nil {
		return Response{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return Response{resp.StatusCode, resp.Header, b}, err
}

// JSON decodes the body. Numbers keep their text (json.Number).
func (r Response) JSON(tb testing.TB, into any) {
	tb.Helper()
	d := json.NewDecoder(strings.NewReader(string(r.Body)))
	d.UseNumber()
	if err := d.Decode(into); err != nil {
		tb.Fatalf("status %d with %.300q: %v", r.Status, r.Body, err)
	}
}

// Want fails the test if the status is another one, and returns the answer.
func (r Response) Want(tb testing.TB, status int) Response {
	tb.Helper()
	if r.Status != status {
		tb.Fatalf("status = %d, want %d; body: %.600s", r.Status, status, r.Body)
	}
	return r
}

// Job is what the tests look at of a job.
type Job struct {
	JobID, Kind, State, StatusURL string
	CreatedAt, SnapshotTime       *time.Time
	TotalCount, SizeBytes         *int64
	CSVURL, CRC32C                *string
	GuardedCells                  *int64
	Attempt                       int
	Error                         *struct{ Code, Message string }
	Progress                      Progress
}

// Progress is how far a job is.
type Progress struct {
	RowsDone              int64
	RowsTotal             *int64
	Percent               int
	PartsDone, PartsTotal int
	Bytes                 int64
}

// Job asks for a job, waiting for its end for at most wait seconds.
func (c *Client) Job(tb testing.TB, id string, wait string) Job {
	tb.Helper()
	var j Job
	var headers []string
	if wait != "" {
		headers = []string{"Prefer", "wait=" + wait}
	}
	c.Get(tb, "/exports/"+id, nil, headers...).Want(tb, http.StatusOK).JSON(tb, &j)
	return j
}

// Ended says whether the job has ended.
func (j Job) Ended() bool { return j.State != "queued" && j.State != "running" }

// Await long-polls a job to its end.
func (c *Client) Await(tb testing.TB, id string, within time.Duration) Job {
	tb.Helper()
	deadline := time.Now().Add(within)
	for {
		j := c.Job(tb, id, "10")
		if j.Ended() {
			return j
		}
		if time.Now().After(deadline) {
			tb.Fatalf("job %s is %s after %s: %+v", id, j.State, within, j.Progress)
		}
	}
}

// Submit asks for an export without waiting and returns the job's id.
func (c *Client) Submit(tb testing.TB, kind string, query url.Values, headers ...string) string {
	tb.Helper()
	r := c.Get(tb, "/"+kind+"/export", query, append([]string{"Prefer", "respond-async"}, headers...)...)
	location := r.Header.Get("Location") + r.Header.Get("Content-Location")
	id, ok := strings.CutPrefix(location, "/exports/")
	if (r.Status != http.StatusAccepted && r.Status != http.StatusOK) || !ok {
		tb.Fatalf("export of %s: status %d, location %q: %.600s", kind, r.Status, location, r.Body)
	}
	return id
}

// exportWithin is many times what the largest export takes on a machine of its own.
const exportWithin = 4 * time.Minute

// Export asks for a new export, waits for its end and downloads the file.
func (c *Client) Export(tb testing.TB, kind string, query url.Values) (Job, []byte) {
	tb.Helper()
	id := c.Submit(tb, kind, query, "Cache-Control", "no-cache")
	j := c.Await(tb, id, exportWithin)
	if j.State != "succeeded" || j.CSVURL == nil {
		tb.Fatalf("job %s is %s: %+v", id, j.State, j.Error)
	}
	return j, Download(tb, *j.CSVURL).Body
}

// Download gets a csvUrl as a browser does: a plain GET.
func Download(tb testing.TB, link string) Response {
	tb.Helper()
	r, err := Follow(tb.Context(), link)
	if err != nil {
		tb.Fatalf("download: %v", err)
	}
	return r.Want(tb, http.StatusOK)
}

// Follow gets what a link leads to, also where it is the service's own, which leads on.
func Follow(ctx context.Context, link string, headers ...string) (Response, error) {
	r, err := Send(ctx, http.MethodGet, link, nil, nil, headers...)
	if err == nil && r.Status == http.StatusFound {
		r, err = Send(ctx, http.MethodGet, r.Header.Get("Location"), nil, nil, headers...)
	}
	return r, err
}
