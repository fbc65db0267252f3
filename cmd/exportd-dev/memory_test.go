package main

import (
	"runtime/debug"
	"testing"
)

func TestBoundGarbage(t *testing.T) {
	before := debug.SetGCPercent(100)
	defer debug.SetGCPercent(before)
	for _, step := range []struct {
		gogc string
		want int
	}{{"80", 100}, {"off", 100}, {"", garbagePercent}} {
		t.Setenv("GOGC", step.gogc) // of which the runtime reads what it was at the start
		boundGarbage()
		if got := debug.SetGCPercent(100); got != step.want {
			t.Errorf("with GOGC=%q: %d, want %d", step.gogc, got, step.want)
		}
	}
}
