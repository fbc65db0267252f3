package tracing_test

import (
	"context"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"exportd/internal/tracing"
	"exportd/internal/tracing/tracingtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	traceID = "4bf92f3577b34da6a3ce929d0e0e4736"
	spanID  = "00f067aa0ba902b7"
	whole   = "00-" + traceID + "-" + spanID + "-01"
)

// open makes a Tracer of settings, which the SDK reads from the process.
func open(t *testing.T, env ...string) (*tracing.Tracer, *observer.ObservedLogs) {
	t.Helper()
	for _, kv := range env {
		name, value, _ := strings.Cut(kv, "=")
		t.Setenv(name, value)
	}
	core, lines := observer.New(zap.DebugLevel)
	tracer, err := tracing.Open(tracing.Config{Service: "exportd-test", Version: "1.2.3", Instance: "w1", Getenv: os.Getenv, Log: zap.New(core)})
	if err != nil {
		t.Fatal(err)
	}
	return tracer, lines
}

func header(values ...string) http.Header { return http.Header{"Traceparent": values} }

// TestTraceOverProcesses: a request in its caller's trace, what a document says of it in another process, and
// the steps there, over both protocols.
func TestTraceOverProcesses(t *testing.T) {
	for name, env := range map[string]func(*tracingtest.Collector) []string{"http": (*tracingtest.Collector).Env, "grpc": (*tracingtest.Collector).GRPC} {
		t.Run(name, func(t *testing.T) {
			c := tracingtest.Start(t)
			api, lines := open(t, env(c)...)
			worker, _ := open(t)
			ctx, request := api.Request(t.Context(), header(whole), time.Now(), "GET", "/orders/export", tracing.Org("org1"))
			if id, span := tracing.IDs(ctx); id != traceID || len(span) != 16 || span == spanID {
				t.Errorf("IDs() = %q, %q", id, span)
			}
			submit, made := tracing.Start(ctx, tracing.Step{Name: "submit", Kind: tracing.Producer})
			document := tracing.Traceparent(submit)
			made.End()
			request.Set(tracing.Status(202))
			request.End()

			ctx, work := worker.Continue(t.Context(), document, tracing.Step{Name: "process", Kind: tracing.Consumer, Links: []string{whole, "nonsense"}})
			begun := time.Now()
			tracing.Past(ctx, tracing.Step{Name: "claim", At: begun}, begun.Add(time.Millisecond))
			work.Fail("SOURCE_UNAVAILABLE")
			work.End()
			api.Close()
			worker.Close()
			spans := c.Spans()
			roots := tracingtest.Roots(spans)
			if len(spans) != 4 || len(roots) != 1 || roots[0].Name != "GET /orders/export" || roots[0].From != spanID || roots[0].Kind != "server" || roots[0].Attrs["exportd.org.id"] != "org1" {
				t.Fatalf("%d spans, roots %+v\n%s", len(spans), roots, tracingtest.Tree(spans))
			}
			for _, s := range spans {
				if s.Trace != traceID || s.Service != "exportd-test" {
					t.Errorf("%s is of trace %s and service %s", s.Name, s.Trace, s.Service)
				}
				if s.Name == "process" && (!s.Failed || s.Attrs["error.type"] != "SOURCE_UNAVAILABLE" || len(s.Links) != 1 || s.Links[0] != spanID) {
					t.Errorf("process is %+v", s)
				}
				if s.Name == "claim" && s.Ended.Sub(s.Begun) != time.Millisecond {
					t.Errorf("claim lasts %s", s.Ended.Sub(s.Begun))
				}
			}
			if lines.Len() > 0 {
				t.Errorf("it logs %v", lines.All())
			}
		})
	}
}

// TestOff: without settings, or where they say so, there is no Tracer, and nothing does anything.
func TestOff(t *testing.T) {
	for _, env := range [][]string{
		nil, {"OTEL_TRACES_EXPORTER=none", "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1"}, {"OTEL_SDK_DISABLED=true", "OTEL_TRACES_EXPORTER=otlp"},
		{"OTEL_TRACES_EXPORTER=zipkin", "OTEL_SDK_DISABLED=false"},
	} {
		tracer, _ := open(t, env...)
		if tracer != nil {
			t.Fatalf("%v makes a Tracer", env)
		}
		ctx, span := tracer.Request(t.Context(), header(whole), time.Now(), "GET", "/")
		same, resumed := tracer.Continue(ctx, whole, tracing.Step{})
		inner, step := tracing.Start(same, tracing.Step{Name: "x"})
		span.Set(tracing.Rows(1))
		span.Fail("x")
		span.Link(whole)
		step.End()
		if span != nil || resumed != nil || step != nil || inner != t.Context() || tracing.Traceparent(inner) != "" {
			t.Errorf("%v: spans %v %v %v", env, span, resumed, step)
		}
		tracer.Close()
	}
	if n := testing.AllocsPerRun(100, func() {
		ctx, span := tracing.Start(t.Context(), tracing.Step{Name: "x"})
		span.End()
		_ = tracing.Traceparent(ctx)
	}); n > 0 {
		t.Errorf("a step allocates %v times without a trace", n)
	}
}

// TestCallersTraceparent: what makes no sense begins a trace of our own; no caller has tracestate, baggage,
// or flags but one carried along.
func TestCallersTraceparent(t *testing.T) {
	c := tracingtest.Start(t)
	tracer, _ := open(t, c.Env()...)
	for name, tc := range map[string]struct {
		h    http.Header
		want bool
	}{
		"whole":                   {header(whole), true},
		"flags of a later level":  {header(whole[:53] + "ff"), true},
		"a later version":         {header("cc" + whole[2:] + "-what-the-future-will-be-like"), true},
		"a later version, bare":   {header("01" + whole[2:]), true},
		"a later version, longer": {header("01" + whole[2:] + "00"), false},
		"version ff":              {header("ff" + whole[2:]), false},
		"version of no digits":    {header("zz" + whole[2:]), false},
		"two":                     {header(whole, whole), false},
		"none":                    {http.Header{}, false},
		"empty":                   {header(""), false},
		"short":                   {header(whole[:54]), false},
		"long":                    {header(whole + "0"), false},
		"long, by a part":         {header(whole + "-00"), false},
		"upper case":              {header(strings.ToUpper(whole)), false},
		"trace of zeros":          {header("00-00000000000000000000000000000000-" + spanID + "-01"), false},
		"span of zeros":           {header("00-" + traceID + "-0000000000000000-01"), false},
		"no digits":               {header("00-" + strings.Repeat("g", 32) + "-" + spanID + "-01"), false},
		"other separators":        {header(strings.ReplaceAll(whole, "-", "_")), false},
		"huge":                    {header(strings.Repeat("0", 1<<20)), false},
		"not text":                {header(string(make([]byte, 55))), false},
	} {
		tc.h.Set("Tracestate", "secret=1")
		tc.h.Set("Baggage", "secret=1")
		ctx, span := tracer.Request(t.Context(), tc.h, time.Now(), "GET", "/"+name)
		id, _ := tracing.IDs(ctx)
		if (id == traceID) != tc.want || len(id) != 32 {
			t.Errorf("%s: the trace is %q; the caller's: want %t", name, id, tc.want)
		}
		if p := tracing.Traceparent(ctx); len(p) != 55 || !strings.HasSuffix(p, "-01") {
			t.Errorf("%s: goes on as %q", name, p)
		}
		span.End()
	}
	tracer.Close()
	if strings.Contains(c.Raw(), "secret") {
		t.Error("what callers wrote beside is exported")
	}
}

// TestCallersCannotForceExports: however many requests say that they are sampled, a bounded number is; one
// that says it is not, is not; and neither takes the place of others.
func TestCallersCannotForceExports(t *testing.T) {
	c := tracingtest.Start(t)
	tracer, _ := open(t, append(c.Env(), "OTEL_TRACES_SAMPLER=parentbased_always_on")...)
	recorded := func(h http.Header, route string, n int) (count int) {
		for range n {
			_, span := tracer.Request(t.Context(), h, time.Now(), "GET", route)
			if span.Recording() {
				count++
			}
			span.End()
		}
		return count
	}
	if n := recorded(header(whole), "/a", 2000); n < 40 || n > 60 {
		t.Errorf("%d of 2000 requests of one instant are recorded, want about 40", n)
	}
	if n := recorded(header(whole[:53]+"00"), "/a", 100); n > 0 {
		t.Errorf("%d requests are recorded that are not sampled", n)
	}
	if n := recorded(nil, "/a", 20); n != 20 {
		t.Errorf("%d of 20 requests without a trace are recorded", n)
	}
	if n := recorded(header(whole), "/b", 20); n != 20 {
		t.Errorf("%d of 20 requests of another route are recorded", n)
	}
	ctx, span := tracer.Continue(t.Context(), whole, tracing.Step{Name: "work under way"})
	if !span.Recording() {
		t.Error("work under way is not recorded")
	}
	if ctx, span = tracer.Continue(ctx, "", tracing.Step{}); span != nil || tracing.Traceparent(ctx) != "" {
		t.Error("work without a trace has one")
	}
	tracer.Close()
}

// TestSamplers: those of OTEL_TRACES_SAMPLER are OpenTelemetry's; one that is none is told of, and the
// default taken.
func TestSamplers(t *testing.T) {
	c := tracingtest.Start(t)
	for _, tc := range []struct {
		name, arg          string
		own, asked, denied bool // recorded: without a parent, with one that is sampled, with one that is not
		told               int
	}{
		{"", "", true, true, false, 0},
		{"always_on", "", true, true, true, 0},
		{"always_off", "", false, false, false, 0},
		{"traceidratio", "0", false, false, false, 0},
		{"parentbased_always_off", "", false, true, false, 0},
		{"parentbased_traceidratio", "1", true, true, false, 0},
		{"parentbased_traceidratio", "NaN", true, true, false, 1},
		{"sometimes", "", true, true, false, 1},
	} {
		tracer, lines := open(t, append(c.Env(), "OTEL_TRACES_SAMPLER="+tc.name, "OTEL_TRACES_SAMPLER_ARG="+tc.arg)...)
		var got [3]bool
		for i, h := range []http.Header{nil, header(whole), header(whole[:53] + "00")} {
			_, span := tracer.Request(t.Context(), h, time.Now(), "GET", "/")
			got[i] = span.Recording()
			span.End()
		}
		if got != [3]bool{tc.own, tc.asked, tc.denied} || lines.Len() != tc.told {
			t.Errorf("%s %s: records %v, %d lines", tc.name, tc.arg, got, lines.Len())
		}
		tracer.Close()
	}
}

// TestDetached: what the libraries of Google see of a context is no span.
func TestDetached(t *testing.T) {
	c := tracingtest.Start(t)
	tracer, _ := open(t, c.Env()...)
	ctx, span := tracer.Request(t.Context(), nil, time.Now(), "GET", "/")
	inner, step := tracing.Start(ctx, tracing.Step{Name: "step"})
	for name, ctx := range map[string]context.Context{"request": ctx, "step": inner} {
		if got := libraries(ctx); got {
			t.Errorf("%s: instrumented libraries would go on with the span", name)
		}
	}
	step.End()
	span.End()
	tracer.Close()
}

// TestResumeSome: of what there may be very many of in one trace, some are told of.
func TestResumeSome(t *testing.T) {
	c := tracingtest.Start(t)
	tracer, _ := open(t, c.Env()...)
	begun := time.Now()
	const all = 500
	for range all {
		_, span := tracer.ContinueSome(t.Context(), whole, tracing.Step{Name: "failed"})
		span.End()
	}
	most := 40 + 20*(int(time.Since(begun).Seconds())+1) // as sampler.go has it
	tracer.Close()
	if n := len(c.Spans()); n < 40 || n > most {
		t.Errorf("%d of %d spans are made, want %d at most", n, all, most)
	}
}
