// Package telemetry makes what a process tells of itself: logs and metrics.
//
// Logs are JSON lines on standard error: one wide line per request and one per attempt, with keys in
// snake_case besides those that Google's Cloud Logging and Error Reporting read. Metrics are Prometheus's.
// Every label has its values from a closed set, and what is outside it is "other": callers, documents and
// servers may say anything, and make no series.
package telemetry

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// LogConfig says how a process logs.
type LogConfig struct {
	// Level is the least that is written: debug, info, warn or error.
	Level string
	// Changing, if set, is given Level and says from then on what the least is.
	Changing *zap.AtomicLevel
	// Plain writes text for a terminal, not JSON.
	Plain bool
	// Service and Version name the program to Error Reporting, which groups by them.
	Service, Version string
}

// NewLogger makes a logger that writes lines to w.
func NewLogger(w io.Writer, cfg LogConfig) (*zap.Logger, error) {
	least, err := zapcore.ParseLevel(cfg.Level)
	if err != nil {
		return nil, fmt.Errorf("log level %q: %w", cfg.Level, err)
	}
	var lv zapcore.LevelEnabler = least
	if cfg.Changing != nil {
		cfg.Changing.SetLevel(least)
		lv = cfg.Changing
	}
	out := zapcore.Lock(zapcore.AddSync(w))
	if cfg.Plain {
		enc := zap.NewProductionEncoderConfig()
		enc.EncodeTime = zapcore.TimeEncoderOfLayout("15:04:05.000")
		enc.EncodeLevel = zapcore.CapitalLevelEncoder
		enc.EncodeDuration = zapcore.StringDurationEncoder
		return zap.New(zapcore.NewCore(zapcore.NewConsoleEncoder(enc), out, lv)), nil
	}
	core := zapcore.NewCore(zapcore.NewJSONEncoder(cloudEncoding), out, lv)
	return zap.New(reported{core, cfg}, zap.AddCaller()), nil
}

// cloudEncoding has the keys that Cloud Logging makes a LogEntry's own fields of.
// https://docs.cloud.google.com/logging/docs/structured-logging
var cloudEncoding = zapcore.EncoderConfig{
	TimeKey: "time", LevelKey: "severity", MessageKey: "message", NameKey: "logger",
	EncodeTime: zapcore.RFC3339NanoTimeEncoder, EncodeDuration: zapcore.MillisDurationEncoder, EncodeLevel: severity,
	LineEnding: zapcore.DefaultLineEnding,
}

// severity gives zap's levels the names of Cloud Logging.
func severity(l zapcore.Level, enc zapcore.PrimitiveArrayEncoder) {
	switch {
	case l <= zapcore.DebugLevel:
		enc.AppendString("DEBUG")
	case l == zapcore.InfoLevel:
		enc.AppendString("INFO")
	case l == zapcore.WarnLevel:
		enc.AppendString("WARNING")
	case l == zapcore.ErrorLevel:
		enc.AppendString("ERROR")
	default:
		enc.AppendString("CRITICAL")
	}
}

// reported adds to each error what Error Reporting groups it by: without a stack trace it wants a type, the
// service and where the line was written.
// https://docs.cloud.google.com/error-reporting/docs/formatting-error-messages
type reported struct {
	zapcore.Core
	cfg LogConfig
}

const reportedType = "type.googleapis.com/google.devtools.clouderrorreporting.v1beta1.ReportedErrorEvent"

// With is of zapcore.Core.
func (r reported) With(fields []zapcore.Field) zapcore.Core {
	return reported{r.Core.With(fields), r.cfg}
}

// Check is of zapcore.Core.
func (r reported) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if r.Enabled(e.Level) {
		return ce.AddCore(e, r)
	}
	return ce
}

// Write is of zapcore.Core.
func (r reported) Write(e zapcore.Entry, fields []zapcore.Field) error {
	if e.Level < zapcore.ErrorLevel {
		return r.Core.Write(e, fields)
	}
	more := append(fields[:len(fields):len(fields)],
		zap.String("@type", reportedType),
		zap.Dict("serviceContext", zap.String("service", r.cfg.Service), zap.String("version", r.cfg.Version)))
	if e.Caller.Defined {
		more = append(more, zap.Dict("context", zap.Dict("reportLocation",
			zap.String("filePath", strings.TrimSuffix(e.Caller.TrimmedPath(), ":"+strconv.Itoa(e.Caller.Line))), zap.Int("lineNumber", e.Caller.Line), zap.String("functionName", e.Caller.Function))))
	}
	return r.Core.Write(e, more)
}

// StackTrace is a field of a line about a panic: Error Reporting groups by it. stack is what
// runtime/debug.Stack gave.
func StackTrace(value any, stack []byte) zap.Field {
	return zap.String("stack_trace", fmt.Sprintf("panic: %v\n\n%s", value, stack))
}

// HTTPRequest is what Cloud Logging shows of a request beside its line. It has no URL but the route: paths
// and queries hold ids, and may hold rights.
type HTTPRequest struct {
	Method, Route, UserAgent, RemoteIP, Protocol string
	Status, Bytes                                int
	Took                                         time.Duration
}

// MarshalLogObject is of zapcore.ObjectMarshaler.
func (r HTTPRequest) MarshalLogObject(enc zapcore.ObjectEncoder) error {
	enc.AddString("requestMethod", r.Method)
	enc.AddString("requestUrl", r.Route)
	enc.AddInt("status", r.Status)
	enc.AddString("responseSize", strconv.Itoa(r.Bytes))
	enc.AddString("userAgent", r.UserAgent)
	enc.AddString("remoteIp", r.RemoteIP)
	enc.AddString("protocol", r.Protocol)
	enc.AddString("latency", strconv.FormatFloat(r.Took.Seconds(), 'f', 6, 64)+"s")
	return nil
}
