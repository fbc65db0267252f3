package tracing

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/time/rate"
)

// Traces that a process begins for one route or kind of work, a second and at once, beside what
// OTEL_TRACES_SAMPLER says: by itself, and as many because a caller's traceparent is sampled. So nobody who
// has a key decides how much is exported. An export is 10 spans, and 400 with many parts: at most 8,000 spans
// a second, of about half a kilobyte.
const (
	beginEverySecond = 20
	beginAtOnce      = 40
	// maxBeginners is far above the number of routes.
	maxBeginners = 256
)

type beginner struct{}

// beginning marks what is not yet anybody's work under way.
func beginning(name string) context.Context {
	return context.WithValue(context.Background(), beginner{}, name)
}

// bounded is a sampler that begins no more traces than it may. Those under way go on.
type bounded struct {
	sdk.Sampler
	mu     sync.Mutex
	limits map[limitKey]*rate.Limiter
}

type limitKey struct {
	name  string
	asked bool // by a caller
}

// ShouldSample is of sdk.Sampler.
func (b *bounded) ShouldSample(p sdk.SamplingParameters) sdk.SamplingResult {
	r := b.Sampler.ShouldSample(p)
	name, begins := p.ParentContext.Value(beginner{}).(string)
	if r.Decision != sdk.Drop && begins && !b.allow(limitKey{name, trace.SpanContextFromContext(p.ParentContext).IsSampled()}, time.Now()) {
		r.Decision = sdk.Drop
	}
	return r
}

func (b *bounded) allow(key limitKey, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.limits[key]
	if l == nil {
		if len(b.limits) >= maxBeginners {
			return false
		}
		l = rate.NewLimiter(beginEverySecond, beginAtOnce)
		b.limits[key] = l
	}
	return l.AllowN(now, 1)
}

// newSampler makes that of OTEL_TRACES_SAMPLER, parentbased_always_on if it names none, within the bounds.
func newSampler(getenv func(string) string) (*bounded, error) {
	s, err := namedSampler(strings.TrimSpace(getenv("OTEL_TRACES_SAMPLER")), strings.TrimSpace(getenv("OTEL_TRACES_SAMPLER_ARG")))
	return &bounded{Sampler: s, limits: map[limitKey]*rate.Limiter{}}, err
}

// namedSampler gives the default beside an error, as OpenTelemetry wants it.
func namedSampler(name, arg string) (sdk.Sampler, error) {
	fallback := sdk.ParentBased(sdk.AlwaysSample())
	ratio := 1.0
	if strings.Contains(name, "ratio") && arg != "" {
		var err error
		if ratio, err = strconv.ParseFloat(arg, 64); err != nil || !(ratio >= 0 && ratio <= 1) {
			return fallback, fmt.Errorf("OTEL_TRACES_SAMPLER_ARG is no number from 0 to 1")
		}
	}
	switch name {
	case "", "parentbased_always_on":
		return fallback, nil
	case "always_on":
		return sdk.AlwaysSample(), nil
	case "always_off":
		return sdk.NeverSample(), nil
	case "traceidratio":
		return sdk.TraceIDRatioBased(ratio), nil
	case "parentbased_always_off":
		return sdk.ParentBased(sdk.NeverSample()), nil
	case "parentbased_traceidratio":
		return sdk.ParentBased(sdk.TraceIDRatioBased(ratio)), nil
	}
	return fallback, fmt.Errorf("OTEL_TRACES_SAMPLER names no sampler of OpenTelemetry's")
}
