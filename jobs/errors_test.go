package jobs_test

import (
	"errors"
	"fmt"
	"testing"

	"exportd/jobs"
)

// What stays away until somebody mends it is unavailable to programs, in words of its own.
func TestUnavailable(t *testing.T) {
	t.Parallel()
	err := jobs.Unavailable("topic %s is missing", "exportd-parts")
	if got := err.Error(); got != "topic exportd-parts is missing" {
		t.Errorf("text = %q", got)
	}
	if !errors.Is(fmt.Errorf("ask: %w", err), jobs.ErrUnavailable) || errors.Is(err, jobs.ErrInvalid) {
		t.Error("it is not ErrUnavailable, or more than that")
	}
	if f := jobs.AsFailure(err); f.Class != jobs.AsFailure(jobs.ErrUnavailable).Class {
		t.Errorf("class = %v", f.Class)
	}
}
