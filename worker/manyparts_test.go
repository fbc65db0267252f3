package worker_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"exportd/internal/export"
	"exportd/internal/inmemory"
	"exportd/internal/tracing"
	"exportd/internal/tracing/tracingtest"
	"exportd/jobs"
	"exportd/worker"
)

// failing is thinAir of which each tenth part fails at its first attempt.
type failing struct {
	thinAir
	mu   sync.Mutex
	seen map[string]bool
}

func (e *failing) Write(ctx context.Context, s export.Spec, p *export.Progress) (jobs.PartResult, error) {
	e.mu.Lock()
	first := !e.seen[s.From]
	e.seen[s.From] = true
	e.mu.Unlock()
	if first && strings.HasSuffix(s.From, "7") {
		return jobs.PartResult{}, jobs.Fail(jobs.CodeUnavailable, jobs.Transient, "no answer", "", nil)
	}
	return e.thinAir.Write(ctx, s, p)
}

// TestTraceOfManyParts: an export of 1,000 parts, of which each tenth fails once, is one trace: of 63 parts,
// evenly chosen, each attempt with its steps, of the others failed attempts, some each second; 300 spans, not
// 6,000.
func TestTraceOfManyParts(t *testing.T) { // not parallel: the exporter is set up by the environment
	c := tracingtest.Start(t)
	for _, v := range c.Env() {
		name, value, _ := strings.Cut(v, "=")
		t.Setenv(name, value)
	}
	tracer, err := tracing.Open(tracing.Config{Service: "exportd-worker", Getenv: os.Getenv, Log: zap.NewNop()})
	if err != nil || tracer == nil {
		t.Fatal(tracer, err)
	}
	cfg, err := settings()
	if err != nil {
		t.Fatal(err)
	}
	policy := cfg.Policy()
	policy.BackoffMin, policy.BackoffMax, policy.Window = time.Millisecond, time.Millisecond, 128
	store := inmemory.NewStore(inmemory.Config{Policy: policy, ReuseFor: time.Minute})
	queue := inmemory.NewQueue()
	ctx, stop := context.WithCancel(t.Context())
	pool := worker.New(worker.Config{
		ID: "w1", Store: store, Queue: queue, Exporter: &failing{seen: map[string]bool{}}, Log: zap.NewNop(), JobSlots: 2, PartSlots: 16, Drain: time.Second, Tracer: tracer,
	})
	ended := make(chan struct{})
	go func() { defer close(ended); _ = pool.Run(ctx) }()
	const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
	id := accept(t, store, jobs.Submission{OrgID: "org", Trace: "00-" + trace + "-00f067aa0ba902b7-01"}, "w", int64(jobs.MaxParts))
	notify(t, queue, id)
	begun := time.Now()
	err = store.Watch(ctx, id, func(j *jobs.Job) bool { return j.State.Ended() })
	took := time.Since(begun)
	stop()
	<-ended
	tracer.Close()
	if j, gerr := store.Get(t.Context(), id); err != nil || gerr != nil || j.State != jobs.Succeeded || j.PartsTotal != jobs.MaxParts {
		t.Fatalf("job = %+v, %v, %v", j, err, gerr)
	}
	spans := c.Spans()
	whole, bare := map[string]bool{}, 0
	for _, s := range spans {
		switch {
		case s.Trace != trace:
			t.Errorf("%s is of another trace", s.Name)
		case s.Name != "process parts":
		case len(tracingtest.Children(spans, s)) > 0:
			whole[fmt.Sprint(s.Attrs["exportd.part"])] = true
		case !s.Failed:
			t.Errorf("part %v has a span without steps, and did not fail", s.Attrs["exportd.part"])
		default:
			bare++
		}
	}
	// 40 at once and 20 a second, see sampler.go.
	if most := 40 + 20*(int(took.Seconds())+1); len(whole) != 63 || bare == 0 || bare > most || len(spans) > 63*6+most+20 {
		t.Errorf("%d spans: %d parts with their steps, %d without of at most %d", len(spans), len(whole), bare, most)
	}
	t.Logf("%d spans in %s: %d parts with their steps, %d that failed", len(spans), took, len(whole), bare)
}
