package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"exportd/internal/tracing"
	"exportd/internal/tracing/tracingtest"
)

// TestPanicIsReported: a panic is answered with 500, and its line has the form by which Error Reporting
// groups it.
func TestPanicIsReported(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(c *Config) { c.Jobs = (*fakeJobs)(nil) })
	if w := b.do(request(t, "key_one1", http.MethodGet, "/exports")); w.Code != http.StatusInternalServerError || strings.Contains(w.Body.String(), "nil pointer") {
		t.Errorf("it answers %d %s", w.Code, w.Body)
	}
	lines := strings.Split(strings.TrimSpace(b.log.String()), "\n")
	var line struct {
		Stack string `json:"stack_trace"`
	}
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &line); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(line.Stack, "panic: runtime error: invalid memory address or nil pointer dereference\n\ngoroutine ") || !strings.Contains(line.Stack, "(*fakeJobs).List(") {
		t.Errorf("stack_trace is %s", line.Stack)
	}
}

// TestForcedTraces: a traceparent that says "sampled" begins nothing for whoever is not known, and for
// whoever is no more traces a second than the process begins by itself.
func TestForcedTraces(t *testing.T) { // not parallel: the exporter is set up by the environment
	c := tracingtest.Start(t)
	for _, v := range c.Env() {
		name, value, _ := strings.Cut(v, "=")
		t.Setenv(name, value)
	}
	tracer, err := tracing.Open(tracing.Config{Service: "exportd-api", Getenv: os.Getenv, Log: zap.NewNop()})
	if err != nil || tracer == nil {
		t.Fatal(tracer, err)
	}
	b := newBench(t, func(c *Config) { c.Tracer = tracer })
	send := func(i int, r *http.Request) int {
		r.Header.Set("traceparent", fmt.Sprintf("00-%032x-%016x-01", i+1, i+1))
		r.Header.Set("tracestate", strings.Repeat("x=y,", 100))
		w := httptest.NewRecorder()
		b.ServeHTTP(w, r)
		return w.Code
	}
	for i := range 200 {
		forged := request(t, "key_one1", http.MethodGet, "/workspaces")
		forged.Header.Set("x-signature", strings.Repeat("0", 64))
		for _, r := range []*http.Request{
			httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/workspaces", nil), request(t, "key_unknown", http.MethodGet, "/workspaces"),
			request(t, "key_dead", http.MethodGet, "/workspaces"), forged,
		} {
			if code := send(i, r); code != http.StatusUnauthorized && code != http.StatusTooManyRequests {
				t.Fatalf("a stranger is answered %d", code)
			}
		}
	}
	const known = 400
	begun := time.Now()
	for i := range known {
		send(1000+i, request(t, "key_one1", http.MethodGet, "/workspaces"))
	}
	most := 40 + 20*(int(time.Since(begun).Seconds())+1) // as sampler.go has it
	tracer.Close()
	spans := c.Spans()
	for _, s := range spans {
		if s.Trace < fmt.Sprintf("%032x", 1001) {
			t.Fatalf("a stranger has begun %+v", s)
		}
	}
	if n := len(tracingtest.Roots(spans)); n == 0 || n > most {
		t.Errorf("%d of %d requests are traced, want %d at most", n, known, most)
	}
}
