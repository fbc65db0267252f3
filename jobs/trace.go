package jobs

import "strings"

// ValidTrace reports whether s names a trace and a step of it, as version 00 of W3C's traceparent does:
// "00-", 32 digits of the trace, "-", 16 of the step, and "-01" if it is recorded, "-00" if not.
//
// A trace is a help to whoever looks for what happened, and no part of what was asked for: one that is
// damaged counts as none, and ends no job.
func ValidTrace(s string) bool {
	if len(s) != 55 || s[:3] != "00-" || s[35] != '-' || s[52:] != "-00" && s[52:] != "-01" {
		return false
	}
	for _, id := range []string{s[3:35], s[36:52]} {
		if strings.Trim(id, "0123456789abcdef") != "" || strings.Trim(id, "0") == "" {
			return false
		}
	}
	return true
}

// DropDamagedTrace is for whoever has read the job.
func (j *Job) DropDamagedTrace() {
	if !ValidTrace(j.Trace) {
		j.Trace = ""
	}
}

// BelongTo has the run that was just queued belong to another trace than the run before.
func (tx *Tx) BelongTo(trace string) {
	if ValidTrace(trace) {
		tx.Job.Trace = trace
	}
}
