package jobs_test

import (
	"strings"
	"testing"
	"time"

	"exportd/jobs"
)

const aTrace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

func TestValidTrace(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]bool{
		aTrace: true, aTrace[:53] + "00": true, "": false, aTrace[:54]: false, aTrace + "0": false, aTrace[:53] + "03": false, "01" + aTrace[2:]: false,
		strings.ToUpper(aTrace): false, strings.ReplaceAll(aTrace, "4", "g"): false, strings.ReplaceAll(aTrace, "-", "_"): false,
		"00-" + strings.Repeat("0", 32) + aTrace[35:]: false, aTrace[:36] + strings.Repeat("0", 16) + "-01": false, strings.Repeat("x", 1<<20): false,
	} {
		if got := jobs.ValidTrace(s); got != want {
			t.Errorf("ValidTrace(%.60q) = %t", s, got)
		}
	}
}

// TestTraceOfARun: a trace is of one run; a rerun begins another, or none; and what it holds makes no job
// another one, or a damaged one.
func TestTraceOfARun(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.job.Trace = aTrace
	d.succeed()
	if d.job.Trace != aTrace {
		t.Errorf("a job that has succeeded has the trace %q", d.job.Trace)
	}
	d.job.Trace = strings.Repeat("x", 1000)
	if err := d.job.Check(d.now); err != nil {
		t.Errorf("with a damaged trace: %v", err)
	}
	if d.job.DropDamagedTrace(); d.job.Trace != "" {
		t.Errorf("a damaged trace is kept: %.20q", d.job.Trace)
	}
	for _, tc := range []struct{ begun, want string }{{strings.Replace(aTrace, "4", "5", 1), strings.Replace(aTrace, "4", "5", 1)}, {"", ""}, {"nonsense", ""}} {
		d.job.Trace = aTrace
		d.must(func(tx *jobs.Tx) error {
			_, err := tx.Rerun(jobs.RerunFresh, "again")
			tx.BelongTo(tc.begun)
			return err
		})
		if d.job.Trace != tc.want {
			t.Errorf("a rerun of trace %q has %q", tc.begun, d.job.Trace)
		}
		d.pass(time.Second)
		d.succeed()
	}
}
