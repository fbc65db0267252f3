package panics

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"exportd/internal/backoff"
	"exportd/internal/telemetry"
)

// Place is where in a process a panic was: a label of a metric, so the set is closed.
type Place string

// The places.
const (
	Request   Place = "request"   // of an API
	Attempt   Place = "attempt"   // at a job or part
	Heartbeat Place = "heartbeat" // of an attempt
	Queue     Place = "queue"     // taking messages
	Message   Place = "message"   // one that was taken
	Callback  Place = "callback"  // a delivery
	Rescuer   Place = "rescuer"   // its rounds
	Due       Place = "due"       // a document that was due
	Signs     Place = "signs"     // a worker's signs of life, and switches
	Keys      Place = "keys"      // what an API knows of keys
	Documents Place = "documents" // watching documents
	Settings  Place = "settings"  // taking them anew
	Console   Place = "console"   // what its pages follow
	Downloads Place = "downloads" // what is written down of them
	Checks    Place = "checks"    // whether what a process needs is there
	Listener  Place = "listener"  // of an API; ends the process, as nothing is known of what it has accepted
)

// Places lists them.
var Places = []Place{Request, Attempt, Heartbeat, Queue, Message, Callback, Rescuer, Due, Signs, Keys, Documents, Settings, Console, Downloads, Checks, Listener}

const (
	// firstPause and longestPause are those of a loop that panics each time: short enough that what is back
	// is not late by more than a lease, long enough to be no load.
	firstPause   = time.Second
	longestPause = 30 * time.Second
	// linesEvery and linesAtOnce bound the lines of a place: a document that panics is met again and again,
	// and Error Reporting counts by the first line as well. The metric has all.
	linesEvery  = 10 * time.Second
	linesAtOnce = 5
)

// Reporter tells of panics that nobody else tells of: a line in the form by which Error Reporting groups it,
// and a count. It is a prometheus.Collector. A nil *Reporter catches nothing and tells nobody. Safe for
// concurrent use.
type Reporter struct {
	log   *zap.Logger
	count *prometheus.CounterVec
	lines map[Place]*rate.Limiter
}

// NewReporter makes a Reporter that writes to log.
func NewReporter(log *zap.Logger) *Reporter {
	r := &Reporter{log: log, lines: map[Place]*rate.Limiter{}, count: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "exportd_panics_total", Help: "Faults of exportd's own code that were caught, by where: what was under way there failed, everything else went on.",
	}, []string{"where"})}
	for _, p := range Places {
		r.count.WithLabelValues(string(p))
		r.lines[p] = rate.NewLimiter(rate.Every(linesEvery), linesAtOnce)
	}
	return r
}

// Count counts an error if it is a panic, whose line somebody else writes.
func (r *Reporter) Count(p Place, err error) {
	if _, ok := Of(err); ok && r != nil {
		r.count.WithLabelValues(string(p)).Inc()
	}
}

// Tell counts and logs an error if it is a panic, and reports whether it is.
func (r *Reporter) Tell(p Place, err error, fields ...zap.Field) bool {
	fault, ok := Of(err)
	if !ok || r == nil {
		return ok
	}
	r.Count(p, err)
	if r.lines[p].Allow() {
		r.log.Error("panic", append(fields, zap.String("where", string(p)), zap.Error(fault), telemetry.StackTrace(fault.Value, fault.Stack))...)
	}
	return true
}

// Run calls fn and tells of its panic; false after one.
func (r *Reporter) Run(p Place, fn func()) bool {
	if r == nil {
		fn()
		return true
	}
	return !r.Tell(p, Do(func() error { fn(); return nil }))
}

// Loop calls fn, and again, after a pause, whenever it panics, until it returns or ctx ends.
func (r *Reporter) Loop(ctx context.Context, p Place, fn func()) {
	pauses := backoff.Doubling(firstPause, longestPause)
	for {
		begun := time.Now()
		if r.Run(p, fn) {
			return
		}
		if time.Since(begun) > 2*longestPause { // it had gone well for a while
			pauses.Reset()
		}
		if pauses.Wait(ctx) != nil {
			return
		}
	}
}

// Describe is of prometheus.Collector.
func (r *Reporter) Describe(ch chan<- *prometheus.Desc) { r.count.Describe(ch) }

// Collect is of prometheus.Collector.
func (r *Reporter) Collect(ch chan<- prometheus.Metric) { r.count.Collect(ch) }
