package worker

import (
	"testing"
	"time"

	"exportd/jobs"
)

// TestPulse: a loop that goes round no more is told of, one that waits for its own work, for a queue that is
// paused or for the end is not.
func TestPulse(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	p := &Pool{pulse: newPulse(func() time.Time { return now }), shares: newPartitions()}
	alive := func(what string, want bool) {
		t.Helper()
		if err := p.Alive(); (err == nil) != want {
			t.Errorf("%s: %v", what, err)
		}
	}
	alive("before it runs", true)
	p.pulse.beat(rescuing)
	p.pulse.beat("exports")
	now = now.Add(stuckAfter)
	alive("just in time", true)
	p.pulse.wait("exports")
	now = now.Add(time.Second)
	alive("the rescuer stands still", false)
	p.pulse.beat(rescuing)
	alive("it goes on, and a lane waits for a slot", true)
	p.pulse.beat("exports")
	now = now.Add(stuckAfter + time.Second)
	p.pulse.beat(rescuing)
	alive("a lane stands still", false)
	p.pulse.stop()
	alive("it drains", true)
	if free, all := p.Slots(jobs.QueueExports); free != 0 || all != 0 {
		t.Errorf("%d of %d slots before it runs", free, all)
	}
}
