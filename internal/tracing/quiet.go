package tracing

import (
	"context"
	"errors"
	"net"
	"regexp"
	"sync"
	"sync/atomic"

	"github.com/go-logr/logr"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// quiet is an exporter that tells once that it cannot export, and once that it can again.
type quiet struct {
	sdk.SpanExporter
	log *zap.Logger

	mu      sync.Mutex
	failing bool
	lost    int
}

func newQuiet(e sdk.SpanExporter, log *zap.Logger) *quiet { return &quiet{SpanExporter: e, log: log} }

// ExportSpans is of sdk.SpanExporter. The spans of a failed try are lost: the exporter has tried for as long
// as they may wait.
func (q *quiet) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	err := q.SpanExporter.ExportSpans(ctx, spans)
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case err != nil:
		q.lost += len(spans)
		if !q.failing {
			q.log.Warn("traces cannot be exported; exports go on without, and this is not told again until they can", zap.String("why", reason(errors.Join(err, ctx.Err()))))
		}
	case q.failing:
		q.log.Info("traces are exported again", zap.Int("spans_lost", q.lost))
		q.lost = 0
	}
	q.failing = err != nil
	return nil
}

// abandon ends an export that is under way.
func (q *quiet) abandon() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = q.Shutdown(ctx) // it has no time
}

var refusal = regexp.MustCompile(`failed to send to \S+: ([1-5][0-9]{2})\b`)

// reason says why an export failed without what the collector wrote, or where it is: the address may carry
// rights.
func reason(err error) string {
	var timeout net.Error
	var op *net.OpError
	switch s, isStatus := status.FromError(err); {
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "no answer in time"
	case errors.As(err, &op):
		return op.Op + ": " + op.Err.Error()
	case isStatus && s.Code() != codes.Unknown:
		return "gRPC status " + s.Code().String()
	}
	// "failed to send to URL: 401 Unauthorized (body: ...)", of which the collector writes all but the
	// number.
	if m := refusal.FindStringSubmatch(err.Error()); m != nil {
		return "HTTP status " + m[1]
	}
	return "the collector refuses them, or its answer makes no sense"
}

// sink takes what the SDK logs: of what is wrong with settings only that something is.
type sink struct {
	log  *zap.Logger
	told atomic.Int32
}

// maxTold bounds the lines of a process about its settings.
const maxTold = 10

func (s *sink) Init(logr.RuntimeInfo)          {}
func (s *sink) Enabled(int) bool               { return false } // warnings are of what quiet and open tell
func (s *sink) Info(int, string, ...any)       {}
func (s *sink) WithValues(...any) logr.LogSink { return s }
func (s *sink) WithName(string) logr.LogSink   { return s }
func (s *sink) Error(_ error, msg string, _ ...any) {
	if s.told.Add(1) <= maxTold {
		s.log.Warn("a setting of traces is not understood: its default is taken", zap.String("what", msg))
	}
}
