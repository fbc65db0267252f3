package telemetry

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"exportd/jobs"
)

// Outcomes of an attempt.
const (
	AttemptOK          = "ok"
	AttemptFailed      = "failed"
	AttemptInterrupted = "interrupted"
)

// dues are the classes of documents that a rescuer asks for.
var dues = setOf("jobs", "ended", "parts", "callbacks", "places")

// Work counts what a worker does between the transitions. It is a prometheus.Collector; a nil *Work counts
// nothing. Safe for concurrent use.
type Work struct {
	collectors
	kinds set
	orgs  *Orgs

	attempts, messageWait, wakeDelay *prometheus.HistogramVec
	messages, steps                  *prometheus.CounterVec
	due                              *prometheus.GaugeVec
}

// NewWork makes a Work for the kinds of exports that there are.
func NewWork(kinds []string, orgs *Orgs) *Work {
	w := &Work{
		kinds: setOf(kinds...), orgs: orgs,
		attempts:    histogram("exportd_attempt_seconds", "How long a job or part had a slot, by how the attempt ended.", jobSeconds, "kind", "of", "outcome"),
		steps:       counter("exportd_step_seconds_total", "Where the time of attempts went, by step: count, plan, scan (waiting for rows), encode, yield (standing back for small jobs), upload (waiting for the storage), compose.", "kind", "step"),
		messages:    counter("exportd_doorbells_total", "Messages that were taken, by what became of them: ack, nack, leave (to another build), bury.", "lane", "outcome"),
		messageWait: histogram("exportd_doorbell_wait_seconds", "From the publishing of a message to its being taken by a worker with a free slot.", waitSeconds, "lane"),
		wakeDelay:   histogram("exportd_wakeup_delay_seconds", "By how much a rescuer was late for a document whose time had come.", waitSeconds, "document"),
		due:         gauge("exportd_wakeups_due", "Documents that the last round of this process's rescuer found due; 0 where it holds no partition.", "document"),
	}
	for kind := range w.kinds {
		w.attempts.WithLabelValues(kind, ofJob, AttemptOK)
	}
	for document := range dues {
		w.wakeDelay.WithLabelValues(document)
		w.due.WithLabelValues(document)
	}
	w.collectors = collectors{w.attempts, w.steps, w.messages, w.messageWait, w.wakeDelay, w.due}
	for _, lane := range []jobs.Queue{jobs.QueueExports, jobs.QueueParts, jobs.QueueCallbacks} {
		for _, outcome := range []string{"ack", "nack", "leave", "bury"} {
			w.messages.WithLabelValues(string(lane), outcome)
		}
		w.messageWait.WithLabelValues(string(lane))
	}
	return w
}

// Attempt is told of each attempt at a job or part.
func (w *Work) Attempt(kind jobs.Kind, org string, part bool, outcome string, took time.Duration) {
	if w == nil {
		return
	}
	of := ofJob
	if part {
		of = ofPart
	}
	w.attempts.WithLabelValues(label(w.kinds, kind), of, outcome).Observe(took.Seconds())
	w.orgs.Worked(org, took)
}

// Steps is told where the time of an attempt went.
func (w *Work) Steps(kind jobs.Kind, spent jobs.Spent) {
	if w == nil {
		return
	}
	for _, step := range spent.Steps() {
		if !step.Waits { // exportd_doorbell_wait_seconds has that
			w.steps.WithLabelValues(label(w.kinds, kind), step.Name).Add(step.Took.Seconds())
		}
	}
}

// Message is told of each message that was taken, what became of it, and when it was published.
func (w *Work) Message(lane jobs.Queue, outcome string, published, now time.Time) {
	if w == nil {
		return
	}
	w.messages.WithLabelValues(label(lanes, lane), outcome).Inc()
	if !published.IsZero() {
		observe(w.messageWait, published, now, label(lanes, lane))
	}
}

// Woken is told of a document that was due at at.
func (w *Work) Woken(document string, at, now time.Time) {
	if w != nil && !at.IsZero() {
		observe(w.wakeDelay, at, now, label(dues, document))
	}
}

// Due is told how many documents a round of the rescuer found due.
func (w *Work) Due(document string, n int) {
	if w != nil {
		w.due.WithLabelValues(label(dues, document)).Set(float64(n))
	}
}
