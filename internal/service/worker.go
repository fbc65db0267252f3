package service

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"exportd/api"
	"exportd/internal/backoff"
	"exportd/internal/config"
	"exportd/internal/export"
	"exportd/internal/panics"
	"exportd/jobs"
	"exportd/worker"
)

// RunWorker works until ctx ends and its work has ended or been handed back.
func RunWorker(ctx context.Context, cfg config.Config, c *Clients, log *zap.Logger) error {
	exporter := export.New(c.records, crashingObjects(c.Objects), withTestSheets(exportConfig(cfg)))
	callbacks, keys, err := callbackConfig(ctx, cfg, c)
	if err != nil {
		return err
	}
	defer keys.Close()
	tracer, err := openTracer(cfg, "exportd-worker", log)
	if err != nil {
		return err
	}
	defer tracer.Close()
	pool := worker.New(withCrashes(worker.Config{
		ID: cfg.WorkerID, Store: c.Store, Queue: c.Queue, Exporter: exporter, Log: log,
		JobSlots: cfg.JobSlots, PartSlots: cfg.PartSlots, Drain: cfg.Drain, Callbacks: callbacks, Tracer: tracer, TraceProject: cfg.ProjectID,
		Metrics: c.work, Panics: c.panics,
	}))
	if err := register(c.metrics, append(slots(pool), c.work)...); err != nil {
		return err
	}
	operators, err := listenOps(ctx, cfg.OpsAddr)
	if err != nil {
		return err
	}
	alive := func() error { return errors.Join(c.guards.workerAlive(), pool.Alive()) }
	g, ctx := errgroup.WithContext(ctx)
	checks := c.workerChecks(keysetCheck(keys))
	g.Go(panics.Task(func() error {
		if !awaitFit(ctx, log, checks.all) {
			return nil
		}
		watching, stop := context.WithCancel(ctx)
		var watch sync.WaitGroup
		watch.Go(func() {
			c.panics.Loop(watching, panics.Checks, func() { tellFaults(watching, log, checks.lasting) })
		})
		defer watch.Wait()
		defer stop()
		return pool.Run(ctx)
	}))
	g.Go(panics.Task(func() error { // of its settings the level of its log alone
		c.reload(ctx, cfg, log, func(config.Config) error { return nil })
		return nil
	}))
	g.Go(panics.Task(func() error {
		return serveOps(ctx, operators, ops{alive: alive, metrics: c.metrics, pprof: cfg.PProf, log: log, panics: c.panics, checks: checks.all})
	}))
	return g.Wait()
}

// workerChecks are what a worker needs, and those of them that nothing else tells of when they are lost
// later.
type workerChecks struct{ all, lasting []api.Check }

func (c *Clients) workerChecks(keyset func(context.Context) error) workerChecks {
	lasting := []api.Check{{Name: "subscriptions", Run: c.Queue.PingSubscriptions}, {Name: "keyset", Run: keyset}, c.diskCheck()}
	return workerChecks{
		all:     append([]api.Check{{Name: "firestore", Run: c.Store.Ping}, c.clockCheck(), {Name: "storage", Run: c.Objects.Ping}}, lasting...),
		lasting: lasting,
	}
}

const (
	// fitEvery is how often a worker that lacks something looks again: rights take a minute to reach all of
	// Google's services, so little is lost, and little is asked.
	fitEvery = 5 * time.Second
	// askWithin bounds one look.
	askWithin = 10 * time.Second
)

// awaitFit waits until a worker has all that it needs; false if ctx ended before. Until then it takes
// nothing: what it claimed would fail, or end in ways that its owner could not understand, while others have
// what it lacks.
func awaitFit(ctx context.Context, log *zap.Logger, checks []api.Check) bool {
	faults := newFaults(log, "worker takes no work until it has what it needs; exportd doctor says what mends it")
	for {
		if faults.look(ctx, checks) {
			return true
		}
		if backoff.Sleep(ctx, fitEvery) != nil {
			return false
		}
	}
}

// tellEvery is how often a worker looks whether work can reach it: a call per subscription.
const tellEvery = time.Minute

// tellFaults logs what a worker lacks, once when it begins and once when it is over: a worker whose
// subscriptions are bound to nothing looks idle.
func tellFaults(ctx context.Context, log *zap.Logger, checks []api.Check) {
	faults := newFaults(log, "worker lacks what it needs; exportd setup mends topics and subscriptions")
	tick := time.NewTicker(tellEvery)
	defer tick.Stop()
	for {
		faults.look(ctx, checks)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// faults tells of each check when it begins to fail, and when it is good again.
type faults struct {
	log  *zap.Logger
	what string // is said of a fault
	told map[string]bool
}

func newFaults(log *zap.Logger, what string) faults {
	return faults{log: log, what: what, told: map[string]bool{}}
}

// look asks all checks; true if all are good.
func (f faults) look(ctx context.Context, checks []api.Check) bool {
	good := true
	for _, check := range checks {
		ask, cancel := context.WithTimeout(ctx, askWithin)
		err := check.Run(ask)
		cancel()
		switch {
		case ctx.Err() != nil:
			return false
		case err == nil:
			if f.told[check.Name] {
				f.log.Info("worker has what it lacked", zap.String("check", check.Name))
			}
			delete(f.told, check.Name)
		default:
			good = false
			if !f.told[check.Name] {
				f.log.Error(f.what, zap.String("check", check.Name), zap.Error(err))
			}
			f.told[check.Name] = true
		}
	}
	return good
}

// exportConfig has the numbers of exports, which quotes go by too.
func exportConfig(cfg config.Config) export.Config {
	return export.Config{
		PartRows: cfg.PartRows, MaxParts: jobs.MaxParts, Window: cfg.Window, PITR: cfg.PITR, MaxRows: cfg.MaxRows, MaxBytes: cfg.MaxBytes,
		Datasets: cfg.Datasets,
	}
}
