// Package tracingtest is a collector of OpenTelemetry for tests: it takes what processes export by OTLP, over
// HTTP and gRPC, and shows traces as trees.
package tracingtest

import (
	"compress/gzip"
	"context"
	"encoding/hex"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// Span is one that was received.
type Span struct {
	Service         string
	Trace, ID, From string // in hex; From is the parent's, "" for none
	Name            string
	Kind            string // "server", "client" and so on
	Begun, Ended    time.Time
	Failed          bool
	Attrs           map[string]any
	Links           []string // ids of spans
}

// Collector takes spans. Safe for concurrent use.
type Collector struct {
	collector.UnimplementedTraceServiceServer
	http, grpc string

	mu    sync.Mutex
	spans []Span
	raw   []byte // all requests as they came
	more  chan struct{}
}

// Start begins a collector that ends with the test.
func Start(tb testing.TB) *Collector {
	tb.Helper()
	c := &Collector{more: make(chan struct{}, 1)}
	h := &http.Server{Handler: http.HandlerFunc(c.serve), ReadHeaderTimeout: 5 * time.Second}
	g := grpc.NewServer()
	collector.RegisterTraceServiceServer(g, c)
	var served sync.WaitGroup
	for _, serve := range []struct {
		addr *string
		on   func(net.Listener) error
	}{{&c.http, h.Serve}, {&c.grpc, g.Serve}} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			tb.Fatal(err)
		}
		*serve.addr = "http://" + l.Addr().String()
		served.Go(func() { _ = serve.on(l) }) // ends when it is closed
	}
	tb.Cleanup(func() {
		_ = h.Close()
		g.Stop()
		served.Wait()
	})
	return c
}

// Env are the settings by which a process exports to the collector, without delay.
func (c *Collector) Env() []string {
	return []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + c.http, "OTEL_BSP_SCHEDULE_DELAY=50"}
}

// GRPC is Env for the other protocol.
func (c *Collector) GRPC() []string {
	return []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + c.grpc, "OTEL_EXPORTER_OTLP_PROTOCOL=grpc", "OTEL_BSP_SCHEDULE_DELAY=50"}
}

func (c *Collector) serve(w http.ResponseWriter, r *http.Request) {
	body := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		unpacked, err := gzip.NewReader(body)
		if err != nil {
			http.Error(w, "", http.StatusBadRequest)
			return
		}
		body = unpacked
	}
	raw, err := io.ReadAll(body)
	var req collector.ExportTraceServiceRequest
	if err != nil || r.URL.Path != "/v1/traces" || proto.Unmarshal(raw, &req) != nil {
		http.Error(w, "", http.StatusBadRequest)
		return
	}
	c.add(&req)
	w.Header().Set("Content-Type", "application/x-protobuf")
}

// Export is of the service of gRPC.
func (c *Collector) Export(_ context.Context, req *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	c.add(req)
	return &collector.ExportTraceServiceResponse{}, nil
}

func (c *Collector) add(req *collector.ExportTraceServiceRequest) {
	raw, _ := proto.Marshal(req) // just decoded
	c.mu.Lock()
	defer c.mu.Unlock()
	c.raw = append(c.raw, raw...)
	for _, rs := range req.GetResourceSpans() {
		service, _ := attrs(rs.GetResource().GetAttributes())["service.name"].(string)
		for _, ss := range rs.GetScopeSpans() {
			for _, s := range ss.GetSpans() {
				c.spans = append(c.spans, spanOf(service, s))
			}
		}
	}
	select {
	case c.more <- struct{}{}:
	default:
	}
}

func spanOf(service string, s *otlp.Span) Span {
	out := Span{
		Service: service, Trace: hex.EncodeToString(s.GetTraceId()), ID: hex.EncodeToString(s.GetSpanId()), From: hex.EncodeToString(s.GetParentSpanId()),
		Name: s.GetName(), Kind: strings.ToLower(strings.TrimPrefix(s.GetKind().String(), "SPAN_KIND_")),
		Begun: time.Unix(0, int64(s.GetStartTimeUnixNano())), Ended: time.Unix(0, int64(s.GetEndTimeUnixNano())),
		Failed: s.GetStatus().GetCode() == otlp.Status_STATUS_CODE_ERROR, Attrs: attrs(s.GetAttributes()),
	}
	for _, l := range s.GetLinks() {
		out.Links = append(out.Links, hex.EncodeToString(l.GetSpanId()))
	}
	return out
}

func attrs(kvs []*common.KeyValue) map[string]any {
	out := map[string]any{}
	for _, kv := range kvs {
		switch v := kv.GetValue().GetValue().(type) {
		case *common.AnyValue_StringValue:
			out[kv.GetKey()] = v.StringValue
		case *common.AnyValue_IntValue:
			out[kv.GetKey()] = v.IntValue
		case *common.AnyValue_DoubleValue:
			out[kv.GetKey()] = v.DoubleValue
		case *common.AnyValue_BoolValue:
			out[kv.GetKey()] = v.BoolValue
		default:
			out[kv.GetKey()] = kv.GetValue().String()
		}
	}
	return out
}

// Add puts a span beside those that come, of somebody who exports nothing.
func (c *Collector) Add(s Span) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.spans = append(c.spans, s)
}

// Raw is all that was received, as it came.
func (c *Collector) Raw() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return string(c.raw)
}

// Spans are those received so far.
func (c *Collector) Spans() []Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Span(nil), c.spans...)
}

// Wait waits until done likes what was received.
func (c *Collector) Wait(tb testing.TB, within time.Duration, what string, done func([]Span) bool) []Span {
	tb.Helper()
	late := time.After(within)
	for {
		spans := c.Spans()
		if done(spans) {
			return spans
		}
		select {
		case <-c.more:
		case <-late:
			tb.Fatalf("%s: not within %s; %d spans came:\n%s", what, within, len(spans), Tree(spans))
		}
	}
}
