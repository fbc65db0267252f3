package service

import (
	"os"

	"go.uber.org/zap"

	"exportd/internal/config"
	"exportd/internal/tracing"
	"exportd/internal/version"
)

// openTracer makes what the standard OTEL_ variables ask for: nothing, where they are not set.
func openTracer(cfg config.Config, service string, log *zap.Logger) (*tracing.Tracer, error) {
	return tracing.Open(tracing.Config{
		Service: service, Version: version.Get().Version, Instance: cfg.WorkerID, Getenv: os.Getenv, Log: log,
	})
}
