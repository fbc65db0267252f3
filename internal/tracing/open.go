package tracing

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.uber.org/zap"
)

// Config says whose spans they are.
type Config struct {
	// Service is the name, if OTEL_SERVICE_NAME gives none; Version that of the build, Instance of the
	// process.
	Service, Version, Instance string
	// Getenv reads the environment. The SDK reads what it needs from the process's own.
	Getenv func(string) string
	// Log is told once that the collector cannot be reached.
	Log *zap.Logger
}

// Open makes a Tracer where the environment names a collector, and a nil one where it does not. It does not
// fail when the collector cannot be reached, nor over a setting that makes no sense: that is logged, and the
// default taken.
func Open(cfg Config) (*Tracer, error) {
	if !wanted(cfg.Getenv, cfg.Log) {
		return nil, nil
	}
	silence(cfg.Log)
	ctx := context.Background() // nothing is sent here
	client, err := newExporter(ctx, cfg.Getenv, cfg.Log)
	if err != nil {
		return nil, fmt.Errorf("open the exporter of traces: %w", err)
	}
	sampler, err := newSampler(cfg.Getenv)
	if err != nil {
		cfg.Log.Warn("a setting of traces is not understood: its default is taken", zap.Error(err))
	}
	// What is found out about a process by itself would hold its command line and its owner.
	res, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithAttributes(
		semconv.ServiceName(cfg.Service), semconv.ServiceVersion(cfg.Version), semconv.ServiceInstanceID(cfg.Instance),
	), resource.WithFromEnv())
	if err != nil {
		cfg.Log.Warn("a setting of traces is not understood: it is left out", zap.String("setting", "OTEL_RESOURCE_ATTRIBUTES"))
	}
	limits := sdk.NewSpanLimits()
	if limits.AttributeValueLengthLimit < 0 {
		limits.AttributeValueLengthLimit = 2 * maxValue
	}
	exporter := newQuiet(client, cfg.Log)
	provider := sdk.NewTracerProvider(sdk.WithBatcher(exporter), sdk.WithResource(res), sdk.WithSampler(sampler), sdk.WithRawSpanLimits(limits))
	return &Tracer{provider: provider, exporter: exporter, tracer: provider.Tracer("exportd")}, nil
}

// wanted: OpenTelemetry's own default would send spans to a collector on this machine; here, somebody has to
// name one.
func wanted(getenv func(string) string, log *zap.Logger) bool {
	if strings.EqualFold(strings.TrimSpace(getenv("OTEL_SDK_DISABLED")), "true") {
		return false
	}
	switch name := strings.TrimSpace(getenv("OTEL_TRACES_EXPORTER")); name {
	case "otlp":
		return true
	case "":
		return getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != "" || getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") != ""
	case "none":
		return false
	default:
		log.Warn("no traces are exported: OTEL_TRACES_EXPORTER can be otlp or none")
		return false
	}
}

// newExporter makes that of the protocol. http/json is http/protobuf, as few collectors take it.
func newExporter(ctx context.Context, getenv func(string) string, log *zap.Logger) (sdk.SpanExporter, error) {
	protocol := strings.TrimSpace(getenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"))
	if protocol == "" {
		protocol = strings.TrimSpace(getenv("OTEL_EXPORTER_OTLP_PROTOCOL"))
	}
	switch protocol {
	case "grpc":
		return otlptracegrpc.New(ctx)
	case "", "http/protobuf", "http/json":
	default:
		log.Warn("a setting of traces is not understood: its default is taken", zap.String("setting", "OTEL_EXPORTER_OTLP_PROTOCOL"))
	}
	return otlptracehttp.New(ctx)
}

// silence has the SDK, which is process-wide in this, write nothing by itself: it would quote settings, of
// which OTEL_EXPORTER_OTLP_HEADERS is a secret, and whatever a collector answers.
func silence(log *zap.Logger) {
	silenceOnce.Do(func() {
		otel.SetLogger(logr.New(&sink{log: log}))
		otel.SetErrorHandler(otel.ErrorHandlerFunc(func(error) {})) // quiet tells what matters
	})
}

var silenceOnce sync.Once
