package telemetry

import (
	"github.com/prometheus/client_golang/prometheus"

	"exportd/jobs"
)

// other is what labels show of a value that is in no closed set: documents, callers and servers may say
// anything, and no number of series may follow from it.
const other = "other"

// set is the values that a label may have.
type set map[string]bool

func setOf[T ~string](values ...T) set {
	s := set{}
	for _, v := range values {
		s[string(v)] = true
	}
	return s
}

// label gives value as the label shows it.
func label[T ~string](s set, value T) string {
	if s[string(value)] {
		return string(value)
	}
	return other
}

var (
	states         = setOf(jobs.States...)
	jobCodes       = setOf(jobs.Codes...)
	partStates     = setOf(jobs.PartPending, jobs.PartRunning, jobs.PartDone)
	callbackStates = setOf(jobs.CallbackPending, jobs.CallbackDelivered, jobs.CallbackExhausted, jobs.CallbackBlocked, jobs.CallbackGone,
		jobs.CallbackSuspended, jobs.CallbackDropped, jobs.CallbackDamaged)
	lanes = setOf(jobs.Queues...)
)

// code is a label of its own where there is none.
func codeLabel(c jobs.Code) string {
	if c == "" {
		return "none"
	}
	return label(jobCodes, c)
}

// collectors are registered, and scraped, as one.
type collectors []prometheus.Collector

// Describe is of prometheus.Collector.
func (cs collectors) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range cs {
		c.Describe(ch)
	}
}

// Collect is of prometheus.Collector.
func (cs collectors) Collect(ch chan<- prometheus.Metric) {
	for _, c := range cs {
		c.Collect(ch)
	}
}

func counter(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
}

func gauge(name, help string, labels ...string) *prometheus.GaugeVec {
	return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
}

func histogram(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
}

// Buckets, in seconds. A job of one part takes tens of milliseconds when it finds a worker, and one of
// 100,000,000 rows an hour; a caller waits up to 25 s for one.
var (
	jobSeconds  = []float64{.05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 14400}
	waitSeconds = []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 1800}
	// Callbacks are tried for three days.
	callbackSeconds = []float64{.1, .25, .5, 1, 5, 30, 60, 300, 3600, 21600, 86400, 259200}
)
