package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"exportd/internal/e2e/e2etest"
	"exportd/internal/machinetest"
)

// callbackSettings let callbacks go to this machine, as "exportd-dev run" does by itself.
var callbackSettings = []string{"EXPORTD_CALLBACK_ALLOW_HTTP=true", "EXPORTD_CALLBACK_ALLOW_CIDRS=127.0.0.0/8", "EXPORTD_CALLBACK_ALLOW_PORTS=0"}

// documented is where the receivers are that the README leads to.
const documented = "internal/webhook/testdata/receivers/"

// TestCallbackOfAnExport: a whole export with a callbackUrl, through the service's own processes. Each of the
// documented receivers verifies what comes, refuses it with another secret, and the link in it gives the
// export's file.
func TestCallbackOfAnExport(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	s := e2etest.Demo(t, exportd, t.TempDir(), e2etest.Sizes{Users: 300, Messages: 2000})
	for _, tt := range []struct{ name, interpreter, file string }{
		{"Go", "go", "go/main.go"},
		{"Python", "python3", "python/receiver.py"},
		{"Node", "node", "node/receiver.mjs"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if !bytes.Contains(readme, []byte("("+documented+tt.file+")")) {
				t.Errorf("the README does not lead to %s", documented+tt.file)
			}
			program := receiverProgram(t, tt.interpreter, tt.file)
			front := inFrontOf(t, startReceiver(t, program, s.WebhookSecret))
			c := s.Caller()
			id := c.Submit(t, "vip-messages", s.Messages("callbackUrl", front.URL+"/hook?token=x"), "Cache-Control", "no-cache")
			j := c.Await(t, id, jobWithin)
			got := awaitCallback(t, c, id, "delivered")
			passed := front.passed()
			if len(passed) != 1 || passed[0].status != http.StatusNoContent || got.LastStatus == nil || *got.LastStatus != http.StatusNoContent || got.Attempts != 1 {
				t.Fatalf("callback %+v, receiver got %d requests; want one, verified", got, len(passed))
			}
			t.Logf("called %s after the export had succeeded", passed[0].at.Sub(finishedAt(t, c, id)).Round(time.Millisecond))
			checkCallback(t, c, j, passed[0].body)

			// The same receiver with the secret of somebody else refuses the same event.
			stranger := inFrontOf(t, startReceiver(t, program, "whsec_"+strings.Repeat("A", 44)))
			id = c.Submit(t, "vip-messages", s.Messages("callbackUrl", stranger.URL), "Cache-Control", "no-cache")
			e2etest.Until(t, jobWithin, "a refused callback", func() bool { return len(stranger.passed()) > 0 })
			if status := stranger.passed()[0].status; status != http.StatusUnauthorized {
				t.Errorf("with another secret the receiver answers %d, want 401", status)
			}
			c.Do(t, http.MethodDelete, "/exports/"+id, nil, nil).Want(t, http.StatusNoContent) // no more tries
		})
	}
}

// checkCallback compares the body with the job, and the file behind its link with the job's.
func checkCallback(t *testing.T, c *e2etest.Client, j e2etest.Job, body []byte) {
	t.Helper()
	var e struct {
		Type      string
		Timestamp time.Time
		Data      struct {
			e2etest.Job
			CSVURLExpiresAt *time.Time
			Params          map[string]any
		}
	}
	if err := json.Unmarshal(body, &e); err != nil {
		t.Fatalf("body %s: %v", body, err)
	}
	d := e.Data
	if e.Type != "export.succeeded" || d.JobID != j.JobID || d.Kind != "vip-messages" || d.State != "succeeded" || d.Error != nil ||
		!e.Timestamp.Equal(finishedAt(t, c, j.JobID)) || d.TotalCount == nil || *d.TotalCount != *j.TotalCount || d.CSVURL == nil || d.CSVURLExpiresAt == nil ||
		d.Params["workspaceId"] == nil {
		t.Fatalf("job %+v is called back with %s", j, body)
	}
	file := e2etest.Download(t, *j.CSVURL).Body
	if got := e2etest.Download(t, *d.CSVURL).Body; !bytes.Equal(got, file) || int64(len(got)) != *j.SizeBytes {
		t.Errorf("csvUrl of the callback gives %d bytes, the job's %d", len(got), len(file))
	}
}

// callbackState is what a job says of its callback.
type callbackState struct {
	State      string
	Attempts   int
	LastStatus *int
}

func awaitCallback(t *testing.T, c *e2etest.Client, id, state string) callbackState {
	t.Helper()
	var j struct{ Callback callbackState }
	e2etest.Until(t, jobWithin, "the callback of job "+id+" to be "+state, func() bool {
		j.Callback = callbackState{}
		c.Get(t, "/exports/"+id, nil).Want(t, http.StatusOK).JSON(t, &j)
		return j.Callback.State == state
	})
	return j.Callback
}

func finishedAt(t *testing.T, c *e2etest.Client, id string) time.Time {
	t.Helper()
	var j struct{ FinishedAt time.Time }
	c.Get(t, "/exports/"+id, nil).Want(t, http.StatusOK).JSON(t, &j)
	return j.FinishedAt
}

// receiverProgram is how a documented receiver is run; the one in Go is built first, as the child of "go run"
// would outlive the test.
func receiverProgram(t *testing.T, interpreter, file string) []string {
	t.Helper()
	path := machinetest.Program(t, interpreter)
	source := filepath.Join("../..", documented, file)
	if interpreter != "go" {
		return []string{path, source}
	}
	binary := filepath.Join(t.TempDir(), "receiver")
	if out, err := exec.CommandContext(t.Context(), path, "build", "-o", binary, source).CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", file, err, out)
	}
	return []string{binary}
}

// startReceiver runs a documented receiver and returns where it listens.
func startReceiver(t *testing.T, program []string, secret string) *url.URL {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute) // t.Context would end before Cleanup
	cmd := exec.CommandContext(ctx, program[0], program[1:]...)
	cmd.Env = append(os.Environ(), "WEBHOOK_SECRET="+secret, "PORT=0")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		cancel()
		t.Fatalf("start %v: %v", program, err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // killed
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("%v said nothing: %v", program, err)
	}
	target, err := url.Parse(strings.TrimPrefix(strings.TrimSpace(line), "listening on "))
	if err != nil || target.Host == "" {
		t.Fatalf("%v said %q", program, line)
	}
	return target
}

// front passes callbacks on, byte for byte, and remembers them and their answers.
type front struct {
	*httptest.Server
	mu  sync.Mutex
	got []passedOn
}

type passedOn struct {
	at     time.Time
	body   []byte
	status int
}

func inFrontOf(t *testing.T, receiver *url.URL) *front {
	t.Helper()
	f := &front{}
	transport := &http.Transport{}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := passedOn{at: time.Now()}
		q.body, _ = io.ReadAll(r.Body) // what did not come does not verify
		on, err := http.NewRequestWithContext(r.Context(), r.Method, receiver.String(), bytes.NewReader(q.body))
		if err != nil {
			panic(err)
		}
		on.Header = r.Header.Clone()
		res, err := transport.RoundTrip(on)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		_ = res.Body.Close()
		q.status = res.StatusCode
		f.mu.Lock()
		f.got = append(f.got, q)
		f.mu.Unlock()
		w.WriteHeader(q.status)
	}))
	t.Cleanup(func() {
		f.Close()
		transport.CloseIdleConnections()
	})
	return f
}

func (f *front) passed() []passedOn {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.got)
}
