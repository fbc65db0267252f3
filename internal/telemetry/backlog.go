package telemetry

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"exportd/jobs"
)

const (
	// backlogEvery is how often the documents are asked, however often somebody scrapes: ten reads a minute,
	// 14,400 a day, and 1,440 more for each job that runs all day. At 0.03 USD for 100,000 an API costs 0.4
	// cents a day for it while nothing runs, and 9 while 200 do, of which no more are read.
	backlogEvery = time.Minute
	// backlogWithin bounds a look: Prometheus waits 10 s for all metrics of a process.
	backlogWithin = 3 * time.Second
)

// Waiting is what waits in a lane.
type Waiting struct {
	Depth  int64
	Oldest time.Time // when what has waited longest was made; zero if nothing waits
	Paused bool
}

// BacklogState is what the documents say waits to be done.
type BacklogState struct {
	Lanes              map[jobs.Queue]Waiting
	Running, Suspended int64
}

// Backlog tells what waits, as the documents know, when it is scraped and else never. It is a
// prometheus.Collector. When the documents cannot be read there are no such metrics, but exportd_backlog_up
// is 0.
type Backlog struct {
	ask func(context.Context) (BacklogState, error)
	log *zap.Logger
	now func() time.Time

	depth, oldest, paused, running, suspended, up *prometheus.Desc

	mu    sync.Mutex
	asked time.Time
	state BacklogState
	err   error
}

// NewBacklog makes a Backlog that asks by ask.
func NewBacklog(ask func(context.Context) (BacklogState, error), log *zap.Logger, now func() time.Time) *Backlog {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	return &Backlog{
		ask: ask, log: log, now: now,
		depth:     desc("exportd_queue_depth", "What is to be done, by lane: jobs that are queued, parts of running jobs that are not done, callbacks that are pending. Each API tells of all, at most a minute old.", "lane"),
		oldest:    desc("exportd_queue_oldest_seconds", "Age of what has waited longest in a lane: since the request of a job, its first claim for its parts, its end for its callback; 0 if nothing waits.", "lane"),
		paused:    desc("exportd_queue_paused", "1 while operators have paused the queue.", "lane"),
		running:   desc("exportd_jobs_running", "Jobs that are running."),
		suspended: desc("exportd_receivers_suspended", "Receivers of callbacks to which nothing is sent until somebody resumes them."),
		up:        desc("exportd_backlog_up", "1 if the documents could be asked what waits."),
	}
}

// Describe is of prometheus.Collector.
func (b *Backlog) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{b.depth, b.oldest, b.paused, b.running, b.suspended, b.up} {
		ch <- d
	}
}

// Collect is of prometheus.Collector.
func (b *Backlog) Collect(ch chan<- prometheus.Metric) {
	send := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	now := b.now()
	state, err := b.look(now)
	if err != nil {
		send(b.up, 0)
		return
	}
	send(b.up, 1)
	send(b.running, float64(state.Running))
	send(b.suspended, float64(state.Suspended))
	for lane, w := range state.Lanes {
		send(b.depth, float64(w.Depth), string(lane))
		age, paused := 0.0, 0.0
		if !w.Oldest.IsZero() {
			age = max(0, now.Sub(w.Oldest).Seconds())
		}
		if w.Paused {
			paused = 1
		}
		send(b.oldest, age, string(lane))
		send(b.paused, paused, string(lane))
	}
}

// look asks at most every backlogEvery; scrapes that come meanwhile wait for the one that asks.
func (b *Backlog) look(now time.Time) (BacklogState, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.asked.IsZero() && now.Sub(b.asked) < backlogEvery && now.Sub(b.asked) >= 0 {
		return b.state, b.err
	}
	ctx, cancel := context.WithTimeout(context.Background(), backlogWithin)
	defer cancel()
	state, err := b.ask(ctx)
	if err != nil && b.err == nil {
		b.log.Warn("cannot ask what waits; its metrics are missing", zap.Error(err)) // once, until it works again
	}
	b.asked, b.state, b.err = now, state, err
	return state, err
}
