package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"exportd/internal/config"
)

func doctorCommand(env environment) *cobra.Command {
	return &cobra.Command{
		Use: "doctor", Short: "Check configuration and connections", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withClients(cmd, env, func(cfg config.Config, c *clients, _ *zap.Logger) error {
				fmt.Fprintf(env.stdout, "configuration  ok  (%s, project %s, bucket %s)\n", cfg.Env, cfg.ProjectID, cfg.Bucket)
				var bad error
				for _, check := range c.apiChecks() {
					ctx, cancel := context.WithTimeout(cmd.Context(), 5*time.Second)
					err := check.Run(ctx)
					cancel()
					if err != nil {
						bad = errors.New("a service cannot be used")
						fmt.Fprintf(env.stdout, "%-13s  BAD %v\n", check.Name, err)
						continue
					}
					fmt.Fprintf(env.stdout, "%-13s  ok\n", check.Name)
				}
				return bad
			})
		},
	}
}
