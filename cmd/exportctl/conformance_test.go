package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"exportd/internal/machinetest"
	"exportd/internal/webhook"
)

const trialSecret = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="

// trial runs all cases against a receiver and gives those that failed.
func trial(t *testing.T, url string) (failed []string) {
	t.Helper()
	r := call{}.run(t.Context(), "conformance", "receiver", url, "--secret", trialSecret, "--json")
	var out struct {
		Cases  []verdict
		Failed int
	}
	decode(t, r.stdout, &out)
	for _, v := range out.Cases {
		if !v.OK {
			failed = append(failed, v.Case)
			if v.Remedy == "" {
				t.Errorf("%s fails and nobody says what to do: %+v", v.Case, v)
			}
		}
	}
	want := exitOK
	if len(failed) > 0 {
		want = exitFailed
	}
	r.want(t, want)
	if out.Failed != len(failed) || len(out.Cases) != len(receiverCases()) {
		t.Errorf("%d of %d cases failed, and %q are said to", out.Failed, len(out.Cases), failed)
	}
	return failed
}

// What came of all cases is told in words to people.
func TestVerdictsAreSaid(t *testing.T) {
	t.Parallel()
	var stdout, stderr output
	a := &app{environment: call{}.environment(&stdout, &stderr)}
	err := a.showVerdicts([]verdict{{Case: "a success", OK: true}, {Case: "a forged one", Got: "204", Remedy: "refuse it"}, {Case: "a slow one", Skipped: true}})
	if said, want := stderr.String(), "1 of 3 cases failed.\n"; said != want || err == nil {
		t.Errorf("it says %q, %v, want %q", said, err, want)
	}
	for _, row := range []string{"a success", "refuse it", "skipped"} {
		if !strings.Contains(stdout.String(), row) {
			t.Errorf("the table has no %q: %s", row, stdout.String())
		}
	}
}

// TestConformanceReceivers: the receivers that the project shows pass in each case.
func TestConformanceReceivers(t *testing.T) {
	t.Parallel()
	own := httptest.NewServer(&webhook.Receiver{Secrets: []webhook.Secret{must(t, trialSecret)}})
	t.Cleanup(own.Close)
	call{}.run(t.Context(), "conformance", "receiver", own.URL, "--secret", trialSecret).want(t, exitOK).says(t, fmt.Sprintf("0 of %d cases failed.", len(receiverCases())))
	receivers := map[string]func(t *testing.T) string{
		"listen": func(*testing.T) string { return own.URL },
		"Python": func(t *testing.T) string {
			return startReceiver(t, machinetest.Program(t, "python3"), "../../internal/webhook/testdata/receivers/python/receiver.py")
		},
		"Node": func(t *testing.T) string {
			return startReceiver(t, machinetest.Program(t, "node"), "../../internal/webhook/testdata/receivers/node/receiver.mjs")
		},
		"Go": func(t *testing.T) string {
			return startReceiver(t, build(t, "../../internal/webhook/testdata/receivers/go"))
		},
		"Python's example": func(t *testing.T) string {
			return startReceiver(t, machinetest.Program(t, "python3"), "../../api/client/examples/receiver.py")
		},
		"Go's example": func(t *testing.T) string { return startReceiver(t, build(t, "../../api/client/examples/receiver")) },
	}
	for name, start := range receivers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if failed := trial(t, start(t)); len(failed) > 0 {
				t.Errorf("it fails in %q", failed)
			}
		})
	}
}

func must(t *testing.T, secret string) webhook.Secret {
	t.Helper()
	s, err := webhook.ParseSecret(secret)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func build(t *testing.T, folder string) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "receiver")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-tags", "nomsgpack", "-o", binary, folder).CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", folder, err, out)
	}
	return binary
}

// pythonClient is the environment in which Python finds the project's client.
func pythonClient(t *testing.T) []string {
	t.Helper()
	source, err := filepath.Abs("../../api/client/python/src")
	if err != nil {
		t.Fatal(err)
	}
	return []string{"PYTHONPATH=" + source, "PYTHONDONTWRITEBYTECODE=1"}
}

// startReceiver starts a program that prints where it listens, and gives its URL.
func startReceiver(t *testing.T, program string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	// The examples ask for the job's file afterwards, and find nobody.
	cmd.Env = append(os.Environ(), "WEBHOOK_SECRET="+trialSecret, "PORT=0", "URL=http://127.0.0.1:1", "KEY=key_none", "SECRET=none")
	cmd.Env = append(cmd.Env, pythonClient(t)...)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if i := strings.Index(lines.Text(), "http://"); i >= 0 {
			go func() { _, _ = io.Copy(io.Discard, out) }() // until it is killed
			return strings.TrimSpace(lines.Text()[i:])
		}
	}
	t.Fatal("the receiver does not say where it listens")
	return ""
}

// flawed is a good receiver but for one thing.
type flawed struct {
	good webhook.Receiver
	seen atomic.Int64
	flaw func(f *flawed, r *http.Request, body []byte, answer int) int
}

func (f *flawed) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(io.LimitReader(r.Body, 8<<20))
	r.Body = io.NopCloser(bytes.NewReader(body))
	rec := httptest.NewRecorder()
	f.good.ServeHTTP(rec, r)
	w.WriteHeader(f.flaw(f, r, body, rec.Code))
}

// TestConformanceCatches: each case finds a receiver that is wrong in what the case is about.
func TestConformanceCatches(t *testing.T) {
	t.Parallel()
	event := func(body []byte) (e struct {
		Type string
		Data map[string]any
	}) {
		_ = json.Unmarshal(body, &e)
		return e
	}
	// signed reports whether the request would be right with other headers or another body.
	signed := func(f *flawed, r *http.Request, body []byte) bool {
		r = r.Clone(r.Context())
		r.Body = io.NopCloser(bytes.NewReader(body))
		rec := httptest.NewRecorder()
		f.good.ServeHTTP(rec, r)
		return rec.Code/100 == 2
	}
	fails := func(of string) func(*flawed, *http.Request, []byte, int) int {
		return func(_ *flawed, _ *http.Request, body []byte, answer int) int {
			if event(body).Type == of {
				return 500
			}
			return answer
		}
	}
	takes := func(is func(f *flawed, r *http.Request, body []byte) bool) func(*flawed, *http.Request, []byte, int) int {
		return func(f *flawed, r *http.Request, body []byte, answer int) int {
			if answer/100 == 4 && is(f, r, body) {
				return 204
			}
			return answer
		}
	}
	clock := func(by time.Duration) func(*flawed, *http.Request, []byte) bool {
		return func(f *flawed, r *http.Request, body []byte) bool {
			return signed(&flawed{good: webhook.Receiver{Secrets: f.good.Secrets, Now: func() time.Time { return time.Now().Add(by) }}}, r, body)
		}
	}
	var ids atomic.Pointer[string]
	flaws := map[string]func(*flawed, *http.Request, []byte, int) int{
		"a callback of a success": func(*flawed, *http.Request, []byte, int) int { return 302 },
		"a failed export":         fails("export.failed"), "a canceled export": fails("export.canceled"), "a ping": fails("export.ping"), "a type of tomorrow": fails("export.archived"),
		"a member of tomorrow": func(_ *flawed, _ *http.Request, body []byte, answer int) int {
			if event(body).Data["later"] != nil {
				return 400
			}
			return answer
		},
		"the same three times": func(_ *flawed, r *http.Request, _ []byte, answer int) int {
			id := r.Header.Get("webhook-id")
			if was := ids.Swap(&id); was != nil && *was == id {
				return 409
			}
			return answer
		},
		"16 at once": func(f *flawed, r *http.Request, _ []byte, answer int) int {
			if f.seen.Add(1) == receiverCrowd {
				return 503
			}
			return answer
		},
		"two signatures": func(_ *flawed, r *http.Request, _ []byte, answer int) int {
			if strings.Contains(r.Header.Get("webhook-signature"), " ") {
				return 401
			}
			return answer
		},
		"another secret": takes(func(_ *flawed, r *http.Request, _ []byte) bool {
			return strings.HasPrefix(r.Header.Get("webhook-signature"), "v1,")
		}),
		"a changed time": takes(func(f *flawed, r *http.Request, body []byte) bool {
			at, _ := strconv.ParseInt(r.Header.Get("webhook-timestamp"), 10, 64)
			r.Header.Set("webhook-timestamp", strconv.FormatInt(at-1, 10))
			return signed(f, r, body)
		}),
		"no signature": takes(func(_ *flawed, r *http.Request, _ []byte) bool { return r.Header.Get("webhook-signature") == "" }),
		"a signature of another version": takes(func(f *flawed, r *http.Request, body []byte) bool {
			r.Header.Set("webhook-signature", strings.ReplaceAll(r.Header.Get("webhook-signature"), "v0,", "v1,"))
			return signed(f, r, body)
		}),
		"a changed body": takes(func(f *flawed, r *http.Request, body []byte) bool {
			return signed(f, r, bytes.Replace(body, []byte(`121`), []byte(`120`), 1))
		}),
		"a changed id":               takes(func(_ *flawed, r *http.Request, _ []byte) bool { return r.Header.Get("webhook-id") == "msg_other" }),
		"one of 10 minutes ago":      takes(clock(-10 * time.Minute)),
		"one of 10 minutes from now": takes(clock(10 * time.Minute)),
		"a body of 4 MiB": func(_ *flawed, _ *http.Request, body []byte, answer int) int {
			return map[bool]int{true: 500, false: answer}[len(body) > 1<<20]
		},
		"a good one after these": func(f *flawed, _ *http.Request, body []byte, answer int) int { return broken(&f.seen, body, answer) },
	}
	for name, flaw := range flaws {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(&flawed{good: webhook.Receiver{Secrets: []webhook.Secret{must(t, trialSecret)}}, flaw: flaw})
			t.Cleanup(server.Close)
			if failed := trial(t, server.URL); !slices.Contains(failed, name) {
				t.Errorf("%q failed", failed)
			}
		})
	}
	for _, c := range receiverCases() {
		if flaws[c.name] == nil {
			t.Errorf("no receiver fails in %q", c.name)
		}
	}
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	if failed := trial(t, gone.URL); len(failed) < len(receiverCases())-1 {
		t.Errorf("of a receiver that is not there only %q fail", failed)
	}
	call{}.run(t.Context(), "conformance", "receiver", "ftp://x", "--secret", trialSecret).want(t, exitUsage)
}

// broken answers 500 to all that come after a huge body.
func broken(seen *atomic.Int64, body []byte, answer int) int {
	if len(body) > 1<<20 {
		seen.Store(1)
	} else if seen.Load() == 1 {
		return 500
	}
	return answer
}
