package panics

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"exportd/internal/telemetry"
)

func reporter(t *testing.T) (*Reporter, *bytes.Buffer) {
	t.Helper()
	log := new(bytes.Buffer)
	logger, err := telemetry.NewLogger(log, telemetry.LogConfig{Level: "info", Service: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return NewReporter(logger), log
}

// values are the counts by place that are not zero.
func values(t *testing.T, r *Reporter) map[string]float64 {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(r)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, m := range families[0].GetMetric() {
		if n := m.GetCounter().GetValue(); n > 0 {
			out[m.GetLabel()[0].GetValue()] = n
		}
	}
	return out
}

// TestLoop: a loop that panics is begun again, after pauses that grow up to a bound, until it returns or its
// context ends. All panics are counted; of a place that has many a few are told.
func TestLoop(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, log := reporter(t)
		begun, calls := time.Now(), 0
		r.Loop(t.Context(), Queue, func() {
			if calls++; calls <= 100 {
				panic(fmt.Sprintf("fault %d", calls))
			}
		})
		if took := time.Since(begun); calls != 101 || took < 40*time.Minute || took > 80*time.Minute {
			t.Errorf("%d calls in %s", calls, took)
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Hour, cancel)
		r.Loop(ctx, Due, func() { panic("for ever") })
		if got := values(t, r); got["queue"] != 100 || got["due"] < 80 || len(got) != 2 {
			t.Errorf("counted are %v", got)
		}
		if !strings.Contains(log.String(), "panic: fault 100\\n\\ngoroutine") {
			t.Errorf("it says %s", log)
		}
		// As of one document that is met by all at once.
		lines := strings.Count(log.String(), "\n")
		for range 1000 {
			r.Run(Heartbeat, func() { panic("again") })
		}
		if n := strings.Count(log.String(), "\n") - lines; n != linesAtOnce || values(t, r)["heartbeat"] != 1000 {
			t.Errorf("%d lines, counted are %v", n, values(t, r))
		}
	})
}

func last(s []int) int { return s[len(s)-1] }

// TestErrors: a panic is the error of whom it is caught for, through whatever wraps it; what is none stays
// what it is.
func TestErrors(t *testing.T) {
	t.Parallel()
	plain := errors.New("plain")
	if err := Do(func() error { return plain }); err != plain {
		t.Errorf("Do = %v", err)
	}
	if _, ok := Of(plain); ok {
		t.Error("an error is a panic")
	}
	err := fmt.Errorf("of somebody: %w", Task(func() error { return fmt.Errorf("%d", last(nil)) })())
	fault, ok := Of(err)
	if !ok || !strings.Contains(fault.Error(), "index out of range") || !strings.Contains(string(fault.Stack), "TestErrors") {
		t.Errorf("Do = %v", err)
	}
	r, log := reporter(t)
	if r.Tell(Due, plain) || r.Tell(Due, nil) || log.Len() > 0 || !r.Tell(Due, err) || strings.Count(log.String(), "\n") != 1 {
		t.Errorf("told is %s", log)
	}
	r.Count(Attempt, err)
	r.Count(Attempt, plain)
	if got := values(t, r); got["due"] != 1 || got["attempt"] != 1 {
		t.Errorf("counted are %v", got)
	}
	var nobody *Reporter
	nobody.Count(Due, err)
	if !nobody.Tell(Due, err) || !nobody.Run(Due, func() {}) {
		t.Error("without a reporter it is another matter")
	}
}
