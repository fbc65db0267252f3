package tracing_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/trace"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"

	"exportd/internal/tracing"
)

// libraries reports whether instrumentation that looks in ctx, or at the process's tracer, finds something.
func libraries(ctx context.Context) bool {
	_, span := otel.Tracer("library").Start(ctx, "x")
	return trace.SpanContextFromContext(ctx).IsValid() || span.IsRecording()
}

// TestOutage: a collector that is down, hangs, is slow, resets, refuses, sends elsewhere, or answers
// nonsense, or without end, slows nobody, is told of once, without what it said, where it is and what it is
// asked with, and holds no process back.
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
	listens := func(answer func(net.Conn)) func(t *testing.T) string {
		return func(t *testing.T) string {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			var served sync.WaitGroup
			served.Go(func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					_, _ = c.Read(make([]byte, 1))
					answer(c)
					_ = c.Close()
				}
			})
			t.Cleanup(func() { _ = l.Close(); served.Wait() })
			return "http://" + l.Addr().String()
		}
	}
	const spans = 20_000   // of 2 KiB and more, were they held
	var taken atomic.Int64 // batches that were answered, if slowly
	for name, tc := range map[string]struct {
		at    func(t *testing.T) string
		why   string
		more  []string
		good  bool  // it takes spans, if slowly, and nothing is told
		holds int64 // what is under way of its answer
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
		"says what it likes": {at: listens(func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 400 xyzzy plugh\r\nContent-Length: 5\r\nConnection: close\r\n\r\nxyzzy")
		}), why: "HTTP status 400"},
		"resets":                {at: listens(func(c net.Conn) { _ = c.(*net.TCPConn).SetLinger(0) }), why: ""},
		"speaks something else": {at: listens(func(c net.Conn) { _, _ = io.WriteString(c, "xyzzy plugh\r\n\r\n") }), why: "makes no sense"},
		"endless": {at: answers(func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 1<<20)); err != nil {
					return
				}
			}
		}), why: "", holds: 16 << 20},
		"sends in circles": {at: answers(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "/plugh?xyzzy")
			w.WriteHeader(http.StatusTemporaryRedirect)
		}), why: "makes no sense"},
		"takes a part": {at: answers(func(w http.ResponseWriter, _ *http.Request) {
			body, _ := proto.Marshal(&collector.ExportTraceServiceResponse{PartialSuccess: &collector.ExportTracePartialSuccess{RejectedSpans: 1, ErrorMessage: "xyzzy"}})
			w.Header().Set("Content-Type", "application/x-protobuf")
			_, _ = w.Write(body)
		}), why: "refuses them"},
		"slow": {at: answers(func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-time.After(50 * time.Millisecond):
				taken.Add(1)
			case <-r.Context().Done():
			}
		}), good: true},
		"busy": {at: answers(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "xyzzy", http.StatusServiceUnavailable) }), why: ""},
		"nonsense": {at: answers(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/x-protobuf")
			fmt.Fprint(w, "xyzzy")
		}), why: "makes no sense"},
		"grpc, down": {at: func(*testing.T) string { return "http://127.0.0.1:1" }, why: "", more: []string{"OTEL_EXPORTER_OTLP_PROTOCOL=grpc"}},
	} {
		t.Run(name, func(t *testing.T) {
			within := "60000" // a busy machine takes its time until it answers, or has not been reached
			if tc.why == "" && !tc.good || tc.why == "no answer in time" {
				within = "300" // until then it is asked again, or waited for
			}
			tracer, lines := open(t, append(tc.more, "OTEL_EXPORTER_OTLP_ENDPOINT="+tc.at(t)+"/plugh", "OTEL_EXPORTER_OTLP_HEADERS=authorization=xyzzy", "OTEL_BSP_SCHEDULE_DELAY=1", "OTEL_BSP_EXPORT_TIMEOUT="+within)...)
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			var slowest time.Duration
			for range spans {
				begun := time.Now()
				_, span := tracer.Continue(t.Context(), whole, tracing.Step{Name: "work", Attrs: []tracing.Attr{tracing.Job("x")}})
				span.End()
				slowest = max(slowest, time.Since(begun))
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > tc.holds+16<<20 {
				t.Errorf("%d spans hold %d MiB", spans, grown>>20)
			}
			tick := time.NewTicker(time.Millisecond)
			defer tick.Stop()
			late := time.After(time.Minute)
			for lines.Len() == 0 && (!tc.good || taken.Load() < 2) { // the close below waits for 2 s alone
				select {
				case <-tick.C:
				case <-late:
					t.Fatal("nothing was taken, and nothing told")
				}
			}
			if tc.good && lines.Len() > 0 {
				t.Errorf("it logs %v", lines.All())
			}
			begun := time.Now()
			tracer.Close()
			t.Logf("slowest span %s, stop %s", slowest, time.Since(begun))
			if tc.good {
				return
			}
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

// TestSettingsAreNotQuoted: the SDK tells of settings that it does not understand with their values, of which
// one is a secret.
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
