package service

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"exportd/api"
	"exportd/internal/config"
	"exportd/internal/export"
	"exportd/jobs"
	"exportd/worker"
)

// RunWorker works until ctx ends and its work has ended or been handed back.
func RunWorker(ctx context.Context, cfg config.Config, c *Clients, log *zap.Logger) error {
	exporter := export.New(c.records, c.Objects, export.Config{
		PartRows: cfg.PartRows, MaxParts: jobs.MaxParts, Window: cfg.Window, PITR: cfg.PITR, MaxRows: cfg.MaxRows, MaxBytes: cfg.MaxBytes,
		Datasets: cfg.Datasets,
	})
	callbacks, keys, err := callbackLane(ctx, cfg, c)
	if err != nil {
		return err
	}
	defer keys.Close()
	tracer, err := openTracer(cfg, "exportd-worker", log)
	if err != nil {
		return err
	}
	defer tracer.Close()
	watching, stop := context.WithCancel(ctx)
	var watch sync.WaitGroup
	watch.Go(func() {
		tellFaults(watching, log, []api.Check{{Name: "subscriptions", Run: c.Queue.PingSubscriptions}, {Name: "keyset", Run: keysetCheck(keys)}})
	})
	defer watch.Wait()
	defer stop()
	pool := worker.New(withCrashes(worker.Config{
		ID: cfg.WorkerID, Store: c.Store, Queue: c.Queue, Exporter: exporter, Log: log,
		JobSlots: cfg.JobSlots, PartSlots: cfg.PartSlots, Drain: cfg.Drain, Callbacks: callbacks, Tracer: tracer,
		Metrics: c.work,
	}))
	if err := register(c.metrics, append(slots(pool), c.work)...); err != nil {
		return err
	}
	alive := func() error { return errors.Join(c.guards.workerAlive(), pool.Alive()) }
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return pool.Run(ctx) })
	g.Go(func() error {
		return serveOps(ctx, cfg.OpsAddr, ops{alive: alive, metrics: c.metrics, pprof: cfg.PProf, log: log, checks: []api.Check{
			{Name: "firestore", Run: c.Store.Ping}, {Name: "subscriptions", Run: c.Queue.PingSubscriptions}, {Name: "storage", Run: c.Objects.Ping},
		}})
	})
	return g.Wait()
}

// tellEvery is how often a worker looks whether work can reach it: a call per subscription.
const tellEvery = time.Minute

// tellFaults logs what a worker lacks, once when it begins and once when it is over: a worker whose
// subscriptions are bound to nothing looks idle.
func tellFaults(ctx context.Context, log *zap.Logger, checks []api.Check) {
	told := map[string]string{}
	tick := time.NewTicker(tellEvery)
	defer tick.Stop()
	for {
		for _, check := range checks {
			ask, cancel := context.WithTimeout(ctx, 10*time.Second)
			err := check.Run(ask)
			cancel()
			switch {
			case ctx.Err() != nil:
				return
			case err != nil && told[check.Name] != err.Error():
				told[check.Name] = err.Error()
				log.Error("worker lacks what it needs; exportd setup mends topics and subscriptions", zap.String("check", check.Name), zap.Error(err))
			case err == nil && told[check.Name] != "":
				delete(told, check.Name)
				log.Info("worker has what it lacked", zap.String("check", check.Name))
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
