// Command exportd is the service: the API, workers, and what sets them up and examines them. The embedded
// cloud and its demo data are in exportd-dev.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"exportd/api"
	"exportd/deployments"
	"exportd/internal/command"
	"exportd/internal/config"
	"exportd/internal/service"
	"exportd/internal/telemetry"
	"exportd/internal/version"
)

func main() { os.Exit(command.Run(newCommand)) }

func newCommand(env command.Environment) *cobra.Command {
	return command.Program(env, "exportd", "Exports of VIP users and VIP messages as jobs",
		`exportd answers the list routes of VIP users and messages and turns exports into
jobs: a worker pages Firestore, writes CSV to Cloud Storage, and the caller polls
or is called back.

Start with:  exportd setup, then exportd api and exportd worker
To try it:   exportd-dev run     everything in one process, with demo data`,
		apiCommand(env), workerCommand(env), setupCommand(env), doctorCommand(env), indexesCommand(env))
}

// withClients loads the configuration, connects, runs fn and closes again.
func withClients(cmd *cobra.Command, env command.Environment, fn func(config.Config, *service.Clients, *zap.Logger) error) (err error) {
	cfg, err := config.Load(env.Getenv, env.Environ)
	if err != nil {
		return err
	}
	level := zap.NewAtomicLevel()
	log, err := telemetry.NewLogger(env.Stderr, telemetry.LogConfig{
		Level: cfg.LogLevel, Changing: &level, Plain: cfg.LogFormat == "text", Service: "exportd-" + cmd.Name(), Version: version.Get().Version,
	})
	if err != nil {
		return err
	}
	c, err := service.Open(cmd.Context(), cfg, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	if cfg.ReloadFile != "" { // else SIGHUP ends the process, as that of a terminal that is closed
		hangups := make(chan os.Signal, 1)
		signal.Notify(hangups, syscall.SIGHUP)
		defer signal.Stop(hangups)
		load := func() (config.Config, error) { return config.Load(env.Getenv, env.Environ) }
		c.Reload = &service.Reload{Load: load, Level: level, Asked: hangups}
	}
	return fn(cfg, c, log)
}

func apiCommand(env command.Environment) *cobra.Command {
	return &cobra.Command{
		Use: "api", Short: "Answer the HTTP API", Args: command.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withClients(cmd, env, func(cfg config.Config, c *service.Clients, log *zap.Logger) error {
				l, err := api.Listen(cmd.Context(), cfg.Addr)
				if err != nil {
					return fmt.Errorf("listen on EXPORTD_ADDR=%s: %w", cfg.Addr, err)
				}
				log.Info("api listens", zap.String("addr", l.Addr().String()))
				return service.ServeAPI(cmd.Context(), cfg, c, log, l, service.APIOptions{})
			})
		},
	}
}

// indexesCommand writes what `firebase deploy --only firestore:indexes` takes.
func indexesCommand(env command.Environment) *cobra.Command {
	return &cobra.Command{
		Use: "indexes", Short: "Print the indexes and TTL policies that the database needs", Args: command.NoArgs,
		Long: `Prints a firestore.indexes.json with all that exportd needs, and what the datasets of EXPORTD_DATASETS_FILE need:

  exportd indexes > firestore.indexes.json && firebase deploy --only firestore:indexes`,
		RunE: func(*cobra.Command, []string) error {
			set, err := config.Datasets(env.Getenv)
			if err != nil {
				return err
			}
			file, err := set.IndexFile(deployments.Indexes)
			if err != nil {
				return err
			}
			_, err = env.Stdout.Write(file)
			return err
		},
	}
}

func workerCommand(env command.Environment) *cobra.Command {
	return &cobra.Command{
		Use: "worker", Short: "Carry exports out", Args: command.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withClients(cmd, env, func(cfg config.Config, c *service.Clients, log *zap.Logger) error {
				return service.RunWorker(cmd.Context(), cfg, c, log)
			})
		},
	}
}
