package service

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.uber.org/zap"

	"exportd/internal/config"
	"exportd/internal/connection"
	"exportd/internal/jobstore"
	"exportd/internal/panics"
	"exportd/internal/telemetry"
	"exportd/internal/version"
	"exportd/jobs"
	"exportd/worker"
)

// measure makes the metrics that every process has, and has the connections of c tell of their calls.
func (c *Clients) measure(cfg config.Config) {
	kinds := cfg.Datasets.Names()
	orgs, calls := telemetry.NewOrgs(time.Now), telemetry.NewCalls()
	c.transitions = telemetry.NewTransitions(kinds, orgs)
	c.work = telemetry.NewWork(kinds, orgs)
	c.metrics.MustRegister(
		c.damage, c.panics, buildInfo(version.Get()), c.transitions, orgs, calls,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	for service, g := range map[string]*connection.Guard{"firestore": c.guards.firestore, "pubsub": c.guards.pubsub} {
		g.Called = func(ctx context.Context, call connection.Call) {
			calls.GRPC(ctx, service, call.Method, call.Err, call.Received, call.Written)
		}
		c.metrics.MustRegister(networkBytes(service, g)...)
	}
	c.guards.storage.Called = func(ctx context.Context, call connection.Call) {
		calls.HTTP(ctx, "storage", call.Method, call.Status)
	}
	c.metrics.MustRegister(networkBytes("storage", c.guards.storage)...)
}

// networkBytes are the bytes that a guard's connections carried: by Cloud Storage's sent ones, the rate of
// uploads, by Firestore's received ones that of scans.
func networkBytes(service string, g *connection.Guard) []prometheus.Collector {
	one := func(direction string, value func() float64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "exportd_network_bytes_total", Help: "Bytes over the connections to a service of Google's.",
			ConstLabels: prometheus.Labels{"service": service, "direction": direction},
		}, value)
	}
	return []prometheus.Collector{
		one("received", func() float64 { in, _ := g.Bytes(); return float64(in) }),
		one("sent", func() float64 { _, out := g.Bytes(); return float64(out) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "exportd_connections", Help: "Connections to a service of Google's.", ConstLabels: prometheus.Labels{"service": service},
		}, func() float64 { return float64(g.Open()) }),
	}
}

// slots are those of a pool's lanes.
func slots(pool *worker.Pool) []prometheus.Collector {
	var out []prometheus.Collector
	for _, q := range jobs.Queues {
		for state, value := range map[string]func() float64{
			"free": func() float64 { free, _ := pool.Slots(q); return float64(free) },
			"used": func() float64 { free, all := pool.Slots(q); return float64(all - free) },
		} {
			out = append(out, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
				Name: "exportd_worker_slots", Help: "Slots of this worker's lanes, by whether they are free.",
				ConstLabels: prometheus.Labels{"lane": string(q), "state": state},
			}, value))
		}
	}
	return append(out, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "exportd_worker_partitions", Help: "Partitions of what is due that this worker looks after.",
	}, func() float64 { return float64(pool.Partitions()) }))
}

// backlog has c tell what waits, from the documents. An API does: it is there when no worker is.
func (c *Clients) backlog(log *zap.Logger) *telemetry.Backlog {
	return telemetry.NewBacklog(func(ctx context.Context) (telemetry.BacklogState, error) {
		var b jobstore.Backlog
		err := panics.Do(func() (err error) { b, err = c.Store.Backlog(ctx); return err }) // the registry asks in goroutines of its own
		c.panics.Tell(panics.Checks, err)
		return telemetry.BacklogState{
			Running: b.Running, Suspended: b.Suspended,
			Lanes: map[jobs.Queue]telemetry.Waiting{
				jobs.QueueExports:   {Depth: b.Queued, Oldest: b.OldestQueued, Paused: b.Paused[jobs.QueueExports].Paused},
				jobs.QueueParts:     {Depth: b.Parts, Oldest: b.OldestParts}, // cannot be paused by itself
				jobs.QueueCallbacks: {Depth: b.Callbacks, Oldest: b.OldestCallback, Paused: b.Paused[jobs.QueueCallbacks].Paused},
			},
		}, err
	}, log, time.Now)
}

// register adds collectors; one that is there already is an error.
func register(r prometheus.Registerer, cs ...prometheus.Collector) error {
	for _, c := range cs {
		if err := r.Register(c); err != nil {
			return fmt.Errorf("register metrics: %w", err)
		}
	}
	return nil
}
