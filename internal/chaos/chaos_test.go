package main

import (
	"testing"
	"time"

	"exportd/internal/e2e/e2etest"
)

// TestShort is the chaos suite in a short form; make chaos is the long one.
func TestShort(t *testing.T) {
	t.Parallel()
	bin, err := e2etest.Build(t.TempDir(), e2etest.RaceDetector)
	if err != nil {
		t.Fatal(err)
	}
	const seed = 20261121
	r, err := run(t.Context(), options{
		duration: 25 * time.Second, seed: seed, pace: time.Second, breaks: 1500 * time.Millisecond, bin: bin, dir: t.TempDir(), messages: 4000, partRows: 300,
	}, t.Output())
	if err != nil {
		t.Fatalf("run with seed %d: %v", seed, err)
	}
	r.print(t.Output())
	if len(r.forms) < 5 {
		t.Errorf("files are of %d forms alone", len(r.forms))
	}
	if !r.ok() || r.breaks.kills == 0 || r.accepted == 0 || r.callbacks.delivered == 0 {
		t.Errorf("something was lost, wrong or left; again with: go run ./internal/chaos -duration 25s -pace 1s -breaks 1.5s -messages 4000 -part-rows 300 -seed %d", seed)
	}
}
