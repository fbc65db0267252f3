package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"cloud.google.com/go/firestore"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"exportd/api"
	"exportd/internal/apikey"
	"exportd/internal/config"
	"exportd/internal/docwatch"
	"exportd/internal/export"
	"exportd/internal/jobqueue"
	"exportd/internal/jobstore"
	"exportd/internal/loopback"
	"exportd/internal/objectstore"
	"exportd/internal/records"
	"exportd/internal/telemetry"
	"exportd/internal/webhook"
	"exportd/jobs"
	"exportd/worker"
)

// clients are the connections to Google's services, or to what stands in for them.
type clients struct {
	guards    guards
	firestore *firestore.Client
	documents *docwatch.Watcher
	records   *records.Reader
	store     *jobstore.Store
	queue     *jobqueue.Queue
	objects   *objectstore.Store
	metrics   *prometheus.Registry
	damage    *telemetry.Damage
}

func openClients(ctx context.Context, cfg config.Config, log *zap.Logger) (_ *clients, err error) {
	c := &clients{guards: newGuards(log), metrics: prometheus.NewRegistry(), damage: telemetry.NewDamage(log)}
	if err := c.metrics.Register(c.damage); err != nil {
		return c, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	if err := c.openFirestore(ctx, cfg, log); err != nil {
		return c, err
	}
	drift := cfg.Policy().Skew
	if cfg.FirestoreHost != "" {
		drift = 0 // an emulator's clock is a machine's too, and stays ahead when that steps back
	}
	c.store = jobstore.New(jobstore.Config{Client: c.firestore, Policy: cfg.Policy(), Drift: drift, Limits: cfg.Limits(), ReuseFor: cfg.ReuseFor, Documents: c.documents, Damage: c.damage})
	if c.records, err = records.Open(ctx, records.Config{
		ProjectID: cfg.ProjectID, DatabaseID: cfg.DatabaseID, Emulator: cfg.FirestoreHost, Guard: c.guards.firestore,
		Connections: connectionsFor(cfg.JobSlots + cfg.PartSlots),
	}); err != nil {
		return c, err
	}
	if c.queue, err = jobqueue.Open(ctx, jobqueue.Config{ProjectID: cfg.ProjectID, Emulator: cfg.PubSubHost, Guard: c.guards.pubsub}); err != nil {
		return c, err
	}
	c.objects, err = objectstore.Open(ctx, objectstore.Config{
		Bucket: cfg.Bucket, EmulatorHost: cfg.StorageHost, SignerEmail: cfg.SignerEmail, ProjectID: cfg.ProjectID,
		// The bucket's own rule is the last resort behind the sweep: a day after the files' life.
		RetentionDays: int(cfg.FileLife/(24*time.Hour)) + 1, Location: cfg.BucketLocation,
		ChunkBytes: cfg.ChunkBytes,
		Guard:      c.guards.storage,
	})
	return c, err
}

// closeWithin bounds the end of the connections, which flushes doorbells: where services hang
// the process ends without.
const closeWithin = 3 * time.Second

// Close ends all connections.
func (c *clients) Close() error {
	closed := make(chan error, 1)
	go func() { closed <- c.close() }()
	select {
	case err := <-closed:
		return err
	case <-time.After(closeWithin):
		return errors.New("close connections: a service does not answer")
	}
}

func (c *clients) close() error {
	var errs []error
	if c.objects != nil {
		errs = append(errs, c.objects.Close())
	}
	if c.queue != nil {
		errs = append(errs, c.queue.Close())
	}
	if c.records != nil {
		errs = append(errs, c.records.Close())
	}
	if c.documents != nil {
		errs = append(errs, c.documents.Close())
	}
	if c.firestore != nil {
		errs = append(errs, c.firestore.Close())
	}
	return errors.Join(errs...)
}

// setup makes what is missing, topics, subscriptions and the bucket, and mends what is not as it
// should be. It returns what it changed.
func (c *clients) setup(ctx context.Context) (changed []string, err error) {
	queue, err := c.queue.Mend(ctx)
	if err != nil {
		return queue, fmt.Errorf("set up Pub/Sub: %w", err)
	}
	bucket, err := c.objects.Mend(ctx)
	if err != nil {
		err = fmt.Errorf("set up Cloud Storage: %w", err)
	}
	return append(queue, bucket...), err
}

// apiChecks are what the API needs to answer: of Pub/Sub, to ring.
func (c *clients) apiChecks() []api.Check {
	return []api.Check{
		{Name: "firestore", Run: c.store.Ping}, {Name: "pubsub", Run: c.queue.Ping}, {Name: "storage", Run: c.objects.Ping},
	}
}

// keysetCheck is about the keyset alone: that keys cannot be read is Firestore's check to tell.
func keysetCheck(keys *apikey.Store) func(context.Context) error {
	return func(ctx context.Context) error {
		if err := keys.CheckSealed(ctx); errors.Is(err, apikey.ErrKeyset) {
			return err
		}
		return nil
	}
}

// serveAPI answers on l until ctx ends.
func serveAPI(ctx context.Context, cfg config.Config, c *clients, log *zap.Logger, l net.Listener, more ...api.Check) error {
	keys, err := openKeys(ctx, cfg, c, false)
	if err != nil {
		return err
	}
	defer keys.Close()
	checks := append(append(c.apiChecks(), api.Check{Name: "keyset", Run: keysetCheck(keys)}), more...)
	rules, err := callbackRules(cfg)
	if err != nil {
		return err
	}
	proxies, err := networks("EXPORTD_TRUSTED_PROXIES", cfg.TrustedProxies)
	if err != nil {
		return err
	}
	wait := cfg.Wait
	if wait == 0 {
		wait = -1 // "do not wait" to the API, where 0 is the default
	}
	server, err := api.New(api.Config{
		Keys: keys.Lookup, ProvedKeys: keys, FreshKeys: keys.Fresh, Nonces: keys.UseNonce, KeyUsed: keys.Used, Admin: keys, Records: c.records, Jobs: c.store, Queue: c.queue, Objects: c.objects, Operations: c.store, Logger: log, Checks: checks, Alive: c.guards.apiAlive,
		CallbackRules: rules, DefaultWait: wait, URLLife: cfg.URLLife, Sender: newSender(rules), Quotas: cfg.Limits(), TrustedProxies: proxies,
		PrivilegedV1: cfg.PrivilegedV1, MaxConnections: cfg.MaxConnections, Metrics: c.metrics,
		LoopbackOnly: cfg.Env == "development" && loopback.IsHost(l.Addr().String()),
		IPRate:       api.Rate{PerSecond: float64(cfg.RateIP), Burst: cfg.RateIPBurst},
		KeyRate:      api.Rate{PerSecond: float64(cfg.RateKey), Burst: cfg.RateKeyBurst},
	})
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	// Both end with the other: the store's Run only ends with ctx.
	g.Go(func() error { return keys.Run(ctx) })
	g.Go(func() error { return server.Serve(ctx, l) })
	g.Go(func() error {
		return serveOps(ctx, cfg.OpsAddr, ops{alive: c.guards.apiAlive, checks: checks, metrics: c.metrics, log: log})
	})
	return g.Wait()
}

func callbackRules(cfg config.Config) (webhook.Rules, error) {
	own, err := webhook.ParseHostList(cfg.CallbackOwnHosts)
	if err != nil {
		return webhook.Rules{}, config.Faults{"EXPORTD_CALLBACK_OWN_HOSTS: " + err.Error()}
	}
	rules := webhook.Rules{OwnHosts: own, Dev: webhook.Dev{AllowHTTP: cfg.CallbackAllowHTTP}}
	if rules.Dev.AllowCIDRs, err = networks("EXPORTD_CALLBACK_ALLOW_CIDRS", cfg.CallbackAllowCIDRs); err != nil {
		return rules, err
	}
	for _, port := range cfg.CallbackAllowPorts {
		rules.Dev.AllowPorts = append(rules.Dev.AllowPorts, uint16(port))
	}
	return rules, nil
}

// networks parses the value of a setting.
func networks(setting string, cidrs []string) (out []netip.Prefix, err error) {
	for _, cidr := range cidrs {
		p, err := netip.ParsePrefix(cidr)
		if err != nil {
			return nil, config.Faults{fmt.Sprintf("%s=%q: networks are wanted, as 127.0.0.0/8", setting, cidr)}
		}
		out = append(out, p)
	}
	return out, nil
}

// runWorker works until ctx ends and its work has ended or been handed back.
func runWorker(ctx context.Context, cfg config.Config, c *clients, log *zap.Logger) error {
	exporter := export.New(c.records, c.objects, export.Config{
		PartRows: cfg.PartRows, MaxParts: jobs.MaxParts, Window: cfg.Window, PITR: cfg.PITR, MaxRows: cfg.MaxRows, MaxBytes: cfg.MaxBytes,
	})
	callbacks, keys, err := callbackLane(ctx, cfg, c)
	if err != nil {
		return err
	}
	defer keys.Close()
	watching, stop := context.WithCancel(ctx)
	var watch sync.WaitGroup
	watch.Go(func() {
		tellFaults(watching, log, []api.Check{{Name: "subscriptions", Run: c.queue.PingSubscriptions}, {Name: "keyset", Run: keysetCheck(keys)}})
	})
	defer watch.Wait()
	defer stop()
	pool := worker.New(withCrashes(worker.Config{
		ID: cfg.WorkerID, Store: c.store, Queue: c.queue, Exporter: exporter, Log: log,
		JobSlots: cfg.JobSlots, PartSlots: cfg.PartSlots, Drain: cfg.Drain, Callbacks: callbacks,
	}))
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return pool.Run(ctx) })
	g.Go(func() error {
		return serveOps(ctx, cfg.OpsAddr, ops{alive: c.guards.workerAlive, metrics: c.metrics, log: log, checks: []api.Check{
			{Name: "firestore", Run: c.store.Ping}, {Name: "subscriptions", Run: c.queue.PingSubscriptions}, {Name: "storage", Run: c.objects.Ping},
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

// withClients loads the configuration, connects, runs fn and closes again.
func withClients(cmd *cobra.Command, env environment, fn func(config.Config, *clients, *zap.Logger) error) (err error) {
	cfg, err := config.Load(env.getenv, env.environ)
	if err != nil {
		return err
	}
	log, err := telemetry.NewLogger(env.stderr, cfg.LogLevel, false)
	if err != nil {
		return err
	}
	c, err := openClients(cmd.Context(), cfg, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	return fn(cfg, c, log)
}

func apiCommand(env environment) *cobra.Command {
	return &cobra.Command{
		Use: "api", Short: "Answer the HTTP API", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withClients(cmd, env, func(cfg config.Config, c *clients, log *zap.Logger) error {
				l, err := (&net.ListenConfig{}).Listen(cmd.Context(), "tcp", cfg.Addr)
				if err != nil {
					return fmt.Errorf("listen on EXPORTD_ADDR=%s: %w", cfg.Addr, err)
				}
				log.Info("api listens", zap.String("addr", l.Addr().String()))
				return serveAPI(cmd.Context(), cfg, c, log, l)
			})
		},
	}
}

func workerCommand(env environment) *cobra.Command {
	return &cobra.Command{
		Use: "worker", Short: "Carry exports out", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withClients(cmd, env, func(cfg config.Config, c *clients, log *zap.Logger) error {
				return runWorker(cmd.Context(), cfg, c, log)
			})
		},
	}
}

func setupCommand(env environment) *cobra.Command {
	var admin adminKey
	var platform string
	cmd := &cobra.Command{
		Use: "setup", Short: "Make topics, subscriptions, the bucket and the keyset; safe to repeat", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withClients(cmd, env, func(cfg config.Config, c *clients, _ *zap.Logger) error {
				changed, err := c.setup(cmd.Context())
				for _, line := range changed {
					fmt.Fprintln(env.stdout, line)
				}
				if err != nil {
					return err
				}
				fmt.Fprintf(env.stdout, "ready: topics and subscriptions exportd-* in %s, bucket %s\n", cfg.ProjectID, cfg.Bucket)
				fmt.Fprintln(env.stdout, "indexes and TTL policies: firebase deploy --only firestore:indexes, with deployments/firestore.indexes.json")
				if platform != "" {
					admin.org, admin.scope = platform, apikey.ScopePlatform
				}
				return setupKeys(cmd.Context(), cfg, c, admin, env.stdout)
			})
		},
	}
	cmd.Flags().StringVar(&admin.org, "admin-key", "", "also make a key that makes all other keys of this `org`, if it has none, and print its secret once")
	cmd.Flags().StringVar(&platform, "platform-key", "", "the same with the scope platform, which is for the keys of all orgs; `org` is the one that runs the service")
	cmd.MarkFlagsMutuallyExclusive("admin-key", "platform-key")
	cmd.Flags().BoolVar(&admin.another, "another-admin-key", false, "with one of these: make one although there is one")
	return cmd
}
