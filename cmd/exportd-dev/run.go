package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"exportd/api"
	"exportd/internal/command"
	"exportd/internal/config"
	"exportd/internal/demo"
	"exportd/internal/localcloud"
	"exportd/internal/service"
	"exportd/internal/telemetry"
)

type runFlags struct {
	cloudFlags
	addr            string
	users, messages int
	refill          bool
}

func runCommand(env command.Environment) *cobra.Command {
	var flags runFlags
	cmd := &cobra.Command{
		Use: "run", Aliases: []string{"dev"}, Short: "Run everything in one process, with demo data", Args: command.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return run(cmd.Context(), env, flags) },
	}
	flags.add(cmd)
	cmd.Flags().StringVar(&flags.addr, "addr", "", "HOST:PORT for the API (default: EXPORTD_ADDR, else "+config.LoopbackAddr+")")
	cmd.Flags().IntVar(&flags.users, "demo-users", 0, fmt.Sprintf("users to make in a new data folder (default %d)", demo.DefaultUsers))
	cmd.Flags().IntVar(&flags.messages, "demo-messages", 0, fmt.Sprintf("messages to make in a new data folder (default %d)", demo.DefaultMessages))
	cmd.Flags().BoolVar(&flags.refill, "refill-demo", false, "make the demo data of an old data folder anew, of the sizes given and up to today; jobs and keys stay")
	return cmd
}

// run runs the embedded cloud, the API and a worker until ctx ends or one of them fails.
func run(ctx context.Context, env command.Environment, flags runFlags) (err error) {
	// The environment before anything else: all its faults at once, and nothing is started for a wrong one.
	// The addresses are not known yet.
	cfg, err := devConfig(env, localcloud.Endpoints{Firestore: ":0", PubSub: ":0", Storage: ":0"})
	if err != nil {
		return err
	}
	addr := cmp.Or(flags.addr, cfg.Addr)
	level := env.Getenv("EXPORTD_LOG_LEVEL")
	if level == "" {
		level = "warn" // a terminal that shows what to do next should not scroll away
	}
	log, err := telemetry.NewLogger(env.Stderr, telemetry.LogConfig{Level: level, Plain: true})
	if err != nil {
		return config.Faults{err.Error()}
	}
	// The port first: a taken one is the likeliest fault and must leave no trace.
	l, err := api.Listen(ctx, addr)
	if err != nil {
		err = fmt.Errorf("listen on %s: %w", addr, err)
		if errors.Is(err, syscall.EADDRINUSE) {
			err = fmt.Errorf("%w\n  Is another exportd-dev running? Beside it: --addr 127.0.0.1:0 for a free port, and --data-dir for a folder of its own", err)
		}
		return err
	}
	defer l.Close()
	waiting := answerStarting(l.(*net.TCPListener), "it opens "+flags.place())
	end := sync.OnceValue(waiting.end)
	defer func() { err = errors.Join(err, end()) }()
	cloud, err := flags.start(ctx, cfg.Datasets, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cloud.Close(context.WithoutCancel(ctx))) }()
	cfg, err = devConfig(env, cloud.Endpoints())
	if err != nil {
		return err
	}
	if !flags.inMemory {
		cfg.KeysetFile = cmp.Or(cfg.KeysetFile, filepath.Join(flags.dataDir, "keyset.json"))
	}
	c, err := service.Open(ctx, cfg, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	if _, err := c.Setup(ctx); err != nil {
		return err
	}
	facts, err := loadDemo(ctx, env, flags, cfg, c, cloud.Endpoints(), "http://"+l.Addr().String(), waiting.say)
	if err != nil {
		return err
	}
	if err := end(); err != nil {
		return fmt.Errorf("hand the port over: %w", err)
	}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return service.ServeAPI(gctx, cfg, c, log, l, service.APIOptions{
			Checks: []api.Check{{Name: "subscriptions", Run: c.Queue.PingSubscriptions}},
			Ready:  func() { printNextSteps(env.Stdout, flags.folder(), facts) },
		})
	})
	work := cfg
	work.OpsAddr = "" // the process has one port for operators, which the API has opened
	g.Go(func() error { return service.RunWorker(gctx, work, c, log) })
	g.Go(func() error {
		select {
		case <-gctx.Done():
			return nil
		case <-cloud.Done():
			return cloud.Wait()
		}
	})
	return g.Wait()
}

// devConfig is the environment's configuration with the embedded cloud's addresses.
func devConfig(env command.Environment, e localcloud.Endpoints) (config.Config, error) {
	own := map[string]string{
		"EXPORTD_ENV": "development", "FIRESTORE_EMULATOR_HOST": e.Firestore, "PUBSUB_EMULATOR_HOST": e.PubSub, "STORAGE_EMULATOR_HOST": e.Storage,
		// On one machine a callback's receiver is on loopback; production never has these.
		"EXPORTD_CALLBACK_ALLOW_HTTP": "true", "EXPORTD_CALLBACK_ALLOW_CIDRS": "127.0.0.0/8", "EXPORTD_CALLBACK_ALLOW_PORTS": "0",
		// The demo has no deploys to wait for: work under way is handed back soon.
		"EXPORTD_DRAIN_SECONDS": "2",
		// One port to remember.
		"EXPORTD_CONSOLE": "public",
	}
	return config.Load(func(name string) string {
		if v, ok := own[name]; ok && (env.Getenv(name) == "" || strings.HasSuffix(name, "_EMULATOR_HOST")) {
			return v
		}
		return env.Getenv(name)
	}, env.Environ)
}
