package e2e

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"exportd/internal/e2e/e2etest"
	"exportd/internal/tracing/tracingtest"
)

// operatorTrace is that of whoever runs a job again.
const operatorTrace = "7c9e6679f7425dcfa1d4a3ce929d0e0a"

// TestTraceOfARerun: a rerun, of one job by an operator and of many by a worker, is a trace of its own with
// all that the run does, its callback too, and has a link to the span of the run before, in that one's trace.
// The run before is not added to.
func TestTraceOfARerun(t *testing.T) {
	t.Parallel()
	c := tracingtest.Start(t)
	_, hosts := e2etest.Emulators(t, exportd, t.TempDir())
	env := append(c.Env(), callbackSettings...)
	s := e2etest.Services(t, exportd, hosts, e2etest.Sizes{Users: 60, Messages: 60}, env...)
	e2etest.Worker(t, exportd, hosts, env...)
	receiver := tracedReceiver(t, c)
	caller := s.Caller()
	id := caller.Submit(t, "vip-users", s.Users("callbackUrl", receiver.URL+"/hook"), "Cache-Control", "no-cache", "traceparent", "00-"+callerTrace+"-"+callerSpan+"-01")
	runs := func(n int) []tracingtest.Span {
		t.Helper()
		return c.Wait(t, traceWithin, "all spans of the runs", func(spans []tracingtest.Span) bool {
			return count(spans, "process exports") == n && count(spans, "POST") == n && count(spans, "process callbacks") == n
		})
	}
	first := ofTrace(runs(1), callerTrace)
	rerun := func(path, body string, headers ...string) {
		t.Helper()
		s.Operator().Do(t, http.MethodPost, path, nil, strings.NewReader(body), append(headers, "Content-Type", "application/json")...).Want(t, http.StatusAccepted)
	}
	rerun("/ops/jobs/"+id+"/rerun", `{"reason": "again", "mode": "fresh"}`, "traceparent", "00-"+operatorTrace+"-"+callerSpan+"-01")
	second := checkRerun(t, runs(2), first, "POST /ops/jobs/:jobId/rerun")
	if second[0].Trace != operatorTrace {
		t.Errorf("the operator's rerun is in trace %s", second[0].Trace)
	}
	rerun("/ops/jobs/rerun", `{"reason": "once more", "mode": "fresh", "filter": {"kind": "vip-users", "state": "succeeded"}}`)
	spans := runs(3)
	checkRerun(t, spans, second, "rerun")
	if now := ofTrace(spans, callerTrace); len(now) != len(first) {
		t.Errorf("the first run's trace has grown from %d spans to %d:\n%s", len(first), len(now), tracingtest.Tree(now))
	}
	t.Logf("\n%s", tracingtest.Tree(spans))
}

func ofTrace(spans []tracingtest.Span, trace string) []tracingtest.Span {
	return slices.DeleteFunc(slices.Clone(spans), func(s tracingtest.Span) bool { return s.Trace != trace })
}

// checkRerun gives the trace of the rerun that has a link into the trace of the run before.
func checkRerun(t *testing.T, spans, before []tracingtest.Span, name string) []tracingtest.Span {
	t.Helper()
	at := slices.IndexFunc(spans, func(s tracingtest.Span) bool { return s.Name == name })
	if at < 0 {
		t.Fatalf("no span %s:\n%s", name, tracingtest.Tree(spans))
	}
	again := ofTrace(spans, spans[at].Trace)
	if len(spans[at].Links) != 1 || !slices.ContainsFunc(before, func(s tracingtest.Span) bool { return s.ID == spans[at].Links[0] }) || spans[at].Trace == before[0].Trace {
		t.Errorf("%s has links %v, which lead to none of\n%s", name, spans[at].Links, tracingtest.Tree(before))
	}
	for _, step := range []string{"process exports", "plan", "scan", "upload", "commit", "process callbacks", "POST", "POST /hook"} {
		if count(again, step) != 1 {
			t.Errorf("the trace of the rerun has %d spans %q:\n%s", count(again, step), step, tracingtest.Tree(again))
		}
	}
	return again
}
