package telemetry

import (
	"errors"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"exportd/jobs"
)

// SmallRows is up to how many rows an export is small: what the goal for the time to its result is about. It
// is one part, so that nothing but its own worker has to be quick.
const SmallRows = 50_000

// Transitions counts what the transitions of jobs, parts and callbacks have come to. The store tells it of
// each after its commit, once, so that what is counted is what the documents say. (Of a commit whose answer
// was lost, and of which no look could find out whether it stands, it is told nothing.) It is a
// prometheus.Collector; a nil *Transitions counts nothing, nor is anything counted of a sandbox. Safe for
// concurrent use.
type Transitions struct {
	collectors
	kinds set
	orgs  *Orgs // what they wrote

	submitted, transitions, retries, attempts, rows, bytes, slow *prometheus.CounterVec
	partTransitions, lost, takenOver, missed                     *prometheus.CounterVec
	callbacks, callbackAttempts                                  *prometheus.CounterVec
	queued, running, result, delivery                            *prometheus.HistogramVec
}

// NewTransitions makes a Transitions for the kinds of exports that there are.
func NewTransitions(kinds []string, orgs *Orgs) *Transitions {
	t := &Transitions{
		kinds: setOf(kinds...), orgs: orgs,
		submitted:        counter("exportd_jobs_submitted_total", "Export requests that were accepted, by kind and whether an equal one's job answers them.", "kind", "reused"),
		transitions:      counter("exportd_job_transitions_total", "Jobs that went from a state to another, by kind and the code of the error that led to it.", "kind", "from", "to", "code"),
		partTransitions:  counter("exportd_part_transitions_total", "Parts that became pending again, running or done, by kind.", "kind", "to"),
		attempts:         counter("exportd_attempts_total", "Claims of jobs and parts, by kind.", "kind", "of"),
		retries:          counter("exportd_retries_total", "Attempts on jobs and parts that are followed by another, by kind, class (failed, interrupted, restarted) and code.", "kind", "of", "class", "code"),
		lost:             counter("exportd_leases_lost_total", "Writes that were refused because the lease was another's.", "of"),
		takenOver:        counter("exportd_leases_taken_over_total", "Leases that ran out and were taken from a worker that is dead, cut off or too slow.", "of"),
		missed:           counter("exportd_claims_missed_total", "Messages for jobs and parts that somebody else had taken, or that had ended.", "of"),
		slow:             counter("exportd_jobs_slow_total", "Jobs that succeeded and ran for several times as long as their rows predict, by kind.", "kind"),
		rows:             counter("exportd_rows_exported_total", "Rows in finished files and parts, by kind.", "kind"),
		bytes:            counter("exportd_bytes_exported_total", "Bytes of finished files and parts, by kind.", "kind"),
		callbacks:        counter("exportd_callbacks_total", "Deliveries of callbacks that became of a state, by state.", "state"),
		callbackAttempts: counter("exportd_callback_tries_total", "Tries at callbacks, by what became of them.", "class"),
		queued:           histogram("exportd_job_queued_seconds", "From the request of a job to its first claim.", waitSeconds, "kind"),
		running:          histogram("exportd_job_running_seconds", "From the first claim of a job to its end.", jobSeconds, "kind", "state"),
		result:           histogram("exportd_job_result_seconds", "From the request of a job to its end. Small are those of up to 50,000 rows.", jobSeconds, "kind", "state", "size"),
		delivery:         histogram("exportd_callback_seconds", "From the end of a job to that of its callback's delivery, by state.", callbackSeconds, "state"),
	}
	t.collectors = collectors{
		t.submitted, t.transitions, t.partTransitions, t.attempts, t.retries, t.lost, t.takenOver, t.missed, t.slow, t.rows, t.bytes,
		t.callbacks, t.callbackAttempts, t.queued, t.running, t.result, t.delivery,
	}
	for kind := range t.kinds { // the first of something is an increase, as Prometheus sees it
		t.rows.WithLabelValues(kind)
		t.bytes.WithLabelValues(kind)
		t.transitions.WithLabelValues(kind, string(jobs.Running), string(jobs.Succeeded), "none")
		t.queued.WithLabelValues(kind)
		t.slow.WithLabelValues(kind)
		t.running.WithLabelValues(kind, string(jobs.Succeeded))
		t.result.WithLabelValues(kind, string(jobs.Succeeded), "small")
		t.retries.WithLabelValues(kind, ofJob, "interrupted", "none")
		for code := range jobCodes {
			t.transitions.WithLabelValues(kind, string(jobs.Running), string(jobs.Failed), code)
		}
	}
	t.callbackAttempts.WithLabelValues("http_2xx")
	t.delivery.WithLabelValues(string(jobs.CallbackDelivered))
	for state := range callbackStates {
		t.callbacks.WithLabelValues(state)
	}
	for _, of := range []string{ofJob, ofPart} {
		t.lost.WithLabelValues(of)
		t.takenOver.WithLabelValues(of)
		t.missed.WithLabelValues(of)
	}
	return t
}

const (
	ofJob  = "job"
	ofPart = "part"
)

// Submitted is told of each request that was accepted.
func (t *Transitions) Submitted(j *jobs.Job, reused bool) {
	if t == nil || jobs.InSandbox(j.OrgID) {
		return
	}
	flag := "false"
	if reused {
		flag = "true"
	}
	t.submitted.WithLabelValues(label(t.kinds, j.Kind), flag).Inc()
}

// Refused is told of each transition of a job, or of its part, that ended in an error.
func (t *Transitions) Refused(part bool, err error) {
	if t == nil {
		return
	}
	of := ofJob
	if part {
		of = ofPart
	}
	switch {
	case errors.Is(err, jobs.ErrLeaseLost):
		t.lost.WithLabelValues(of).Inc()
	case errors.Is(err, jobs.ErrNotDue):
		t.missed.WithLabelValues(of).Inc()
	}
}

// Job is told of a transition of a job with what it wrote into the timeline.
func (t *Transitions) Job(before, after *jobs.Job, events []jobs.Event) {
	if t == nil || jobs.InSandbox(after.OrgID) {
		return
	}
	kind := label(t.kinds, after.Kind)
	for i := range events {
		t.event(kind, &events[i])
	}
	if before.State == after.State {
		return
	}
	code := jobs.Code("")
	for i := range events {
		if events[i].Part < 0 && events[i].Code != "" {
			code = events[i].Code
		}
	}
	t.transitions.WithLabelValues(kind, label(states, before.State), label(states, after.State), codeLabel(code)).Inc()
	if before.StartedAt.IsZero() && !after.StartedAt.IsZero() {
		observe(t.queued, after.CreatedAt, after.StartedAt, kind)
	}
	if !after.State.Ended() || before.State.Ended() {
		return
	}
	if after.State == jobs.Succeeded && after.PartsTotal == 0 {
		t.wrote(kind, after.OrgID, after.Result.Rows, after.Result.Size)
	}
	if after.AttemptBase != 0 { // run again: its times begin long before its run
		return
	}
	if after.State == jobs.Succeeded && after.Slow() {
		t.slow.WithLabelValues(kind).Inc()
	}
	size := "large"
	if after.RowsTotal <= SmallRows {
		size = "small"
	}
	state := label(states, after.State)
	observe(t.result, after.CreatedAt, after.FinishedAt, kind, state, size)
	if !after.StartedAt.IsZero() {
		observe(t.running, after.StartedAt, after.FinishedAt, kind, state)
	}
}

// event counts what a line of the timeline tells.
func (t *Transitions) event(kind string, e *jobs.Event) {
	of := ofJob
	if e.Part >= 0 {
		of = ofPart
	}
	class := ""
	switch e.Type {
	case jobs.EventClaimed:
		t.attempts.WithLabelValues(kind, ofJob).Inc()
	case jobs.EventRetry, jobs.EventPartRetry:
		class = "failed"
	case jobs.EventInterrupted:
		class = "interrupted"
		if strings.HasPrefix(e.Actor, "rescuer ") {
			t.takenOver.WithLabelValues(of).Inc()
		}
	case jobs.EventRestarted:
		class = "restarted"
	default:
		return
	}
	if class != "" {
		t.retries.WithLabelValues(kind, of, class, codeLabel(e.Code)).Inc()
	}
}

// Part is told of a transition of a part of j.
func (t *Transitions) Part(j *jobs.Job, before, after *jobs.Part) {
	if t == nil || jobs.InSandbox(j.OrgID) || before.State == after.State && before.Epoch == after.Epoch {
		return
	}
	kind := label(t.kinds, j.Kind)
	t.partTransitions.WithLabelValues(kind, label(partStates, after.State)).Inc()
	switch after.State {
	case jobs.PartRunning:
		t.attempts.WithLabelValues(kind, ofPart).Inc()
	case jobs.PartDone:
		t.wrote(kind, j.OrgID, after.Rows, after.Size)
	case jobs.PartPending:
	}
}

func (t *Transitions) wrote(kind, org string, rows, bytes int64) {
	t.rows.WithLabelValues(kind).Add(float64(max(rows, 0)))
	t.bytes.WithLabelValues(kind).Add(float64(max(bytes, 0)))
	t.orgs.Wrote(org, rows)
}

// Callback is told of a transition of a delivery: what its state was, and whether a try was under way.
func (t *Transitions) Callback(before jobs.CallbackState, underWay bool, after *jobs.Callback, now time.Time) {
	if t == nil || jobs.InSandbox(after.OrgID) {
		return
	}
	if underWay && !UnderWay(after) && len(after.Attempts) > 0 && after.State != jobs.CallbackSuspended && after.State != jobs.CallbackDropped {
		t.callbackAttempts.WithLabelValues(callbackClass(after.Attempts[len(after.Attempts)-1].Class)).Inc()
	}
	if before == after.State {
		return
	}
	state := label(callbackStates, after.State)
	t.callbacks.WithLabelValues(state).Inc()
	if after.State != jobs.CallbackPending {
		observe(t.delivery, after.CreatedAt, now, state)
	}
}

// UnderWay reports whether a try at a delivery is being made.
func UnderWay(cb *jobs.Callback) bool {
	return len(cb.Attempts) > 0 && cb.Attempts[len(cb.Attempts)-1].Class == jobs.AttemptUnderWay
}

// callbackClasses are webhook's, and those that jobs adds; an answer of HTTP is of its hundred.
var callbackClasses = setOf("blocked_destination", "dns_error", "connect_failed", "tls_error", "timeout", "bad_response", "internal_error",
	jobs.AttemptUnderWay, jobs.AttemptInterrupted, jobs.AttemptKeyRevoked)

func callbackClass(class string) string {
	if rest, ok := strings.CutPrefix(class, "http_"); ok && len(rest) == 3 && rest[0] >= '1' && rest[0] <= '5' {
		return "http_" + rest[:1] + "xx"
	}
	return label(callbackClasses, class)
}

// observe notes a time between two clocks, which may be apart.
func observe(h *prometheus.HistogramVec, from, to time.Time, labels ...string) {
	h.WithLabelValues(labels...).Observe(max(0, to.Sub(from).Seconds()))
}
