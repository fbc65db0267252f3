package tracing_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/trace"

	"exportd/internal/tracing"
)

// libraries reports whether instrumentation that looks in ctx, or at the process's tracer, finds something.
func libraries(ctx context.Context) bool {
	_, span := otel.Tracer("library").Start(ctx, "x")
	return trace.SpanContextFromContext(ctx).IsValid() || span.IsRecording()
}

// TestOutage: a collector that is down, hangs, is slow, refuses, or answers nonsense slows nobody, is told
// of once, without what it said, where it is and what it is asked with, and holds no process back.
func TestOutage(t *testing.T) {
	hang := make(chan struct{})
	defer close(hang)
	answers := func(fn http.HandlerFunc) func(t *testing.T) string {
		return func(t *testing.T) string {
			s := httptest.NewServer(fn)
			t.Cleanup(s.CloseClientConnections)
			t.Cleanup(s.Close)
			return s.URL
		}
	}
	for name, tc := range map[string]struct {
		at   func(t *testing.T) string
		why  string
		more []string
	}{
		"down": {at: func(t *testing.T) string {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			return "http://" + l.Addr().String()
		}, why: "connection refused"},
		"hangs": {at: func(t *testing.T) string {
			l, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and says nothing
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = l.Close() })
			return "http://" + l.Addr().String()
		}, why: "no answer in time"},
		"refuses": {at: answers(func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "your token xyzzy is bad", http.StatusUnauthorized)
		}), why: "HTTP status 401"},
		"busy": {at: answers(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "xyzzy", http.StatusServiceUnavailable) }), why: ""},
		"nonsense": {at: answers(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/x-protobuf")
			fmt.Fprint(w, "xyzzy")
		}), why: "makes no sense"},
		"grpc, down": {at: func(*testing.T) string { return "http://127.0.0.1:1" }, why: "", more: []string{"OTEL_EXPORTER_OTLP_PROTOCOL=grpc"}},
	} {
		t.Run(name, func(t *testing.T) {
			tracer, lines := open(t, append(tc.more, "OTEL_EXPORTER_OTLP_ENDPOINT="+tc.at(t)+"/plugh", "OTEL_EXPORTER_OTLP_HEADERS=authorization=xyzzy", "OTEL_BSP_SCHEDULE_DELAY=1", "OTEL_BSP_EXPORT_TIMEOUT=300")...)
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			var slowest time.Duration
			for range 50_000 {
				begun := time.Now()
				_, span := tracer.Continue(t.Context(), whole, tracing.Step{Name: "work", Attrs: []tracing.Attr{tracing.Job("x")}})
				span.End()
				slowest = max(slowest, time.Since(begun))
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 16<<20 {
				t.Errorf("50,000 spans hold %d MiB", grown>>20)
			}
			begun := time.Now()
			tracer.Close()
			t.Logf("slowest span %s, stop %s", slowest, time.Since(begun))
			told := lines.FilterMessageSnippet("cannot be exported").All()
			if len(told) != 1 || lines.Len() != 1 {
				t.Fatalf("%d lines: %v", lines.Len(), lines.All())
			}
			why, _ := told[0].ContextMap()["why"].(string)
			if !strings.Contains(why, tc.why) || strings.Contains(why, "xyzzy") || strings.Contains(why, "plugh") {
				t.Errorf("it says %q, want %q", why, tc.why)
			}
		})
	}
}

// TestRecovery: that the collector is back is told once, with how many spans were lost.
func TestRecovery(t *testing.T) {
	var bad atomic.Bool
	bad.Store(true)
	asked := make(chan struct{}, 100)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if bad.Load() {
			w.WriteHeader(http.StatusForbidden)
		}
		asked <- struct{}{}
	}))
	defer s.Close()
	tracer, lines := open(t, "OTEL_EXPORTER_OTLP_ENDPOINT="+s.URL, "OTEL_BSP_SCHEDULE_DELAY=1")
	one := func() {
		_, span := tracer.Continue(t.Context(), whole, tracing.Step{Name: "work"})
		span.End()
		<-asked
	}
	one()
	one()
	bad.Store(false)
	one()
	one()
	tracer.Close()
	if all := lines.All(); len(all) != 2 || all[1].Message != "traces are exported again" || all[1].ContextMap()["spans_lost"] != int64(2) {
		t.Errorf("it logs %v", all)
	}
}

// TestSettingsAreNotQuoted: the SDK tells of settings that it does not understand with their values, of
// which one is a secret.
func TestSettingsAreNotQuoted(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	defer s.Close()
	tracer, lines := open(t, "OTEL_EXPORTER_OTLP_ENDPOINT="+s.URL, "OTEL_EXPORTER_OTLP_HEADERS=authorization=%zzxyzzy,xyzzy", "OTEL_RESOURCE_ATTRIBUTES=xyzzy", "OTEL_EXPORTER_OTLP_TIMEOUT=xyzzy", "OTEL_BSP_MAX_QUEUE_SIZE=xyzzy", "OTEL_EXPORTER_OTLP_PROTOCOL=xyzzy")
	tracer.Close()
	if lines.Len() == 0 {
		t.Error("nothing is told of settings that make no sense")
	}
	for _, l := range lines.All() {
		if strings.Contains(fmt.Sprint(l.Message, l.ContextMap()), "xyzzy") {
			t.Errorf("a value is quoted: %v", l)
		}
	}
}
