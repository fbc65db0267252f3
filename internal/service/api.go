package service

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"exportd/api"
	"exportd/internal/apikey"
	"exportd/internal/config"
	"exportd/internal/export"
	"exportd/internal/loopback"
	"exportd/internal/panics"
	"exportd/internal/version"
	"exportd/internal/webhook"
)

// apiChecks are what the API needs to answer: of Pub/Sub, to notify.
func (c *Clients) apiChecks() []api.Check {
	return []api.Check{
		{Name: "firestore", Run: c.Store.Ping}, c.clockCheck(), {Name: "pubsub", Run: c.Queue.Ping}, {Name: "storage", Run: c.Objects.Ping}, c.diskCheck(),
	}
}

// clockCheck is about what the check of Firestore found last, so it costs no read. By a wrong clock good
// signatures are refused, and leases taken from the living.
func (c *Clients) clockCheck() api.Check {
	return api.Check{Name: "clock", Run: func(context.Context) error { return c.Store.Clock() }}
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

// refuseEvery is longer than most reads of a key take, of Google's Firestore 5 to 20 ms, so that refusals
// leave at the same step whatever was read.
const refuseEvery = 50 * time.Millisecond

// APIOptions are what a process may want of its API besides its settings.
type APIOptions struct {
	// Checks are asked by /readyz, besides what every API needs.
	Checks []api.Check
	// Ready is called once all is open that it answers with; nil: nobody wants to know.
	Ready func()
}

// ServeAPI answers on l until ctx ends.
func ServeAPI(ctx context.Context, cfg config.Config, c *Clients, log *zap.Logger, l net.Listener, o APIOptions) error {
	keys, err := awaitKeys(ctx, cfg, c)
	if err != nil {
		return err
	}
	defer keys.Close()
	checks := append(append(c.apiChecks(), api.Check{Name: "keyset", Run: keysetCheck(keys)}), o.Checks...)
	rules, err := CallbackRules(cfg)
	if err != nil {
		return err
	}
	live, err := liveLimits(cfg)
	if err != nil {
		return err
	}
	wait := cfg.Wait
	if wait == 0 {
		wait = -1 // "do not wait" to the API, where 0 is the default
	}
	tracer, err := openTracer(cfg, "exportd-api", log)
	if err != nil {
		return err
	}
	defer tracer.Close()
	links, err := fileLinks(cfg, c, keys)
	if err != nil {
		return err
	}
	store := c.Store.Within(api.CommitWithin)
	server, err := api.New(api.Config{
		Keys: keys.Lookup, ProvedKeys: keys, FreshKeys: keys.Fresh, Nonces: keys.UseNonce, KeyUsed: keys.Used, Admin: keys, Records: c.records, Jobs: store, Queue: c.Queue, Objects: c.Objects, Operations: store, Logger: log, Checks: checks, Alive: c.guards.apiAlive, Build: version.Get(),
		CallbackRules: rules, DefaultWait: wait, URLLife: cfg.URLLife, Sender: newSender(rules), Quotas: cfg.Limits(), Quotes: export.NewQuoter(c.records, exportConfig(cfg)), TrustedProxies: live.TrustedProxies,
		Datasets: cfg.Datasets, PrivilegedV1: cfg.PrivilegedV1, Links: links, MaxConnections: cfg.MaxConnections, Metrics: c.metrics, Panics: c.panics, TraceProject: cfg.ProjectID, Tracer: tracer,
		LoopbackOnly: cfg.Env == "development" && loopback.IsHost(l.Addr().String()),
		RefuseEvery:  refuseEvery,
		IPRate:       live.IPRate,
		KeyRate:      live.KeyRate,
	})
	if err != nil {
		return err
	}
	if err := register(c.metrics, c.backlog(log)); err != nil {
		return err
	}
	page, stop, err := openConsole(cfg, keys, server, c.panics, log)
	if err != nil {
		return err
	}
	defer stop()
	operators, err := listenOps(ctx, cfg.OpsAddr)
	if err != nil {
		return err
	}
	if o.Ready != nil {
		o.Ready()
	}
	g, ctx := errgroup.WithContext(ctx)
	defer context.AfterFunc(ctx, stop)() // before the servers wait for what they answer
	// Both end with the other: the store's Run only ends with ctx.
	g.Go(panics.Task(func() error { return keys.Run(ctx) }))
	g.Go(panics.Task(func() error { return server.Serve(ctx, l) }))
	g.Go(panics.Task(func() error {
		c.reload(ctx, cfg, log, func(next config.Config) error {
			live, err := liveLimits(next)
			if err != nil {
				return err
			}
			return server.Change(live)
		})
		return nil
	}))
	g.Go(panics.Task(func() error {
		return serveOps(ctx, operators, ops{alive: c.guards.apiAlive, checks: checks, metrics: c.metrics, pprof: cfg.PProf, console: page, log: log, panics: c.panics})
	}))
	return g.Wait()
}

// liveLimits are the limits that may change while the API runs.
func liveLimits(cfg config.Config) (l api.Live, err error) {
	l.IPRate = api.Rate{PerSecond: float64(cfg.RateIP), Burst: cfg.RateIPBurst}
	l.KeyRate = api.Rate{PerSecond: float64(cfg.RateKey), Burst: cfg.RateKeyBurst}
	l.TrustedProxies, err = networks("EXPORTD_TRUSTED_PROXIES", cfg.TrustedProxies)
	return l, err
}

// CallbackRules are where callbacks may go by the settings.
func CallbackRules(cfg config.Config) (webhook.Rules, error) {
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
