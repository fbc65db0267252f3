package worker

import (
	"context"
	"time"

	"go.uber.org/zap"

	"exportd/internal/panics"
	"exportd/internal/telemetry"
	"exportd/internal/tracing"
	"exportd/jobs"
)

// traceFields lead from a line to its trace: to the span of ctx, else to the trace that the work is of.
func (p *Pool) traceFields(ctx context.Context, trace string) []zap.Field {
	if id, span := tracing.IDs(ctx); id != "" {
		return telemetry.SpanFields(id, span, p.TraceProject)
	}
	return telemetry.SpanFields(tracing.TraceID(trace), "", p.TraceProject)
}

// logAttempt writes the one wide line of an attempt.
func (p *Pool) logAttempt(ctx context.Context, j *jobs.Job, part int, begun time.Time, err error, spent jobs.Spent) {
	fields := []zap.Field{
		zap.String("job_id", j.ID), zap.String("request_id", j.RequestID), zap.Int("attempt", j.Attempt), zap.String("org_id", j.OrgID), zap.String("kind", string(j.Kind)),
		zap.String("state", string(j.State)), zap.String("phase", string(j.Phase)), zap.Int64("rows_total", j.RowsTotal),
		zap.Int64("rows_done", j.RowsDone), zap.Int64("bytes_done", j.BytesDone), zap.Duration("took", time.Since(begun)),
	}
	if part >= 0 {
		fields = append(fields, zap.Int("part", part))
	}
	fields = append(fields, p.traceFields(ctx, j.Trace)...)
	for _, step := range spent.Steps() {
		fields = append(fields, zap.Duration(step.Name+"_ms", step.Took))
	}
	if part < 0 && j.State == jobs.Succeeded && j.Slow() {
		fields = append(fields, zap.Bool("slow", true), zap.Duration("expected_ms", j.Expected()))
	}
	p.Metrics.Steps(j.Kind, spent)
	if err == nil {
		p.Metrics.Attempt(j.Kind, j.OrgID, part >= 0, telemetry.AttemptOK, time.Since(begun))
		p.Log.Info("attempt", fields...)
		return
	}
	f := jobs.AsFailure(err)
	fields = append(fields, zap.Error(err))
	outcome := telemetry.AttemptFailed
	if f.Class == jobs.Interrupted {
		outcome = telemetry.AttemptInterrupted
	}
	p.Metrics.Attempt(j.Kind, j.OrgID, part >= 0, outcome, time.Since(begun))
	if f.Class == jobs.Interrupted {
		p.Log.Info("attempt interrupted", fields...)
		return
	}
	fields = append(fields, zap.String("code", string(f.Code)))
	if fault, ok := panics.Of(err); ok {
		p.Panics.Count(panics.Attempt, err)
		p.Log.Error("attempt failed", append(fields, telemetry.StackTrace(fault.Value, fault.Stack))...)
		return
	}
	p.Log.Warn("attempt failed", fields...)
}
