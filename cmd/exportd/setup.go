package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"exportd/internal/apikey"
	"exportd/internal/command"
	"exportd/internal/config"
	"exportd/internal/service"
)

func setupCommand(env command.Environment) *cobra.Command {
	var admin adminKey
	var platform string
	cmd := &cobra.Command{
		Use: "setup", Short: "Make topics, subscriptions, the bucket and the keyset; safe to repeat", Args: command.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withClients(cmd, env, func(cfg config.Config, c *service.Clients, _ *zap.Logger) error {
				changed, err := c.Setup(cmd.Context())
				for _, line := range changed {
					fmt.Fprintln(env.Stdout, line)
				}
				if err != nil {
					return err
				}
				fmt.Fprintf(env.Stdout, "ready: topics and subscriptions exportd-* in %s, bucket %s\n", cfg.ProjectID, cfg.Bucket)
				fmt.Fprintln(env.Stdout, "indexes and TTL policies: firebase deploy --only firestore:indexes, with deployments/firestore.indexes.json")
				if platform != "" {
					admin.org, admin.scope = platform, apikey.ScopePlatform
				}
				return setupKeys(cmd.Context(), cfg, c, admin, env.Stdout)
			})
		},
	}
	cmd.Flags().StringVar(&admin.org, "admin-key", "", "also make a key that makes all other keys of this `org`, if it has none, and print its secret once")
	cmd.Flags().StringVar(&platform, "platform-key", "", "the same with the scope platform, which is for the keys of all orgs; `org` is the one that runs the service")
	cmd.MarkFlagsMutuallyExclusive("admin-key", "platform-key")
	cmd.Flags().BoolVar(&admin.another, "another-admin-key", false, "with one of these: make one although there is one")
	cmd.Flags().BoolVar(&admin.keysetLost, "keyset-lost", false, "with one of these: make one although this keyset opens no key that there is, as the old one is lost for good; then make new keys for everybody")
	return cmd
}

// adminKey says whether setup makes an admin key.
type adminKey struct {
	org     string // "" makes none
	another bool   // although the org has one
	// keysetLost: the keys that there are will never open again.
	keysetLost bool
	scope      apikey.Scope // ScopeAdmin if empty
}

// setupKeys makes the keyset, and the first admin key of an org if one is named and it has none, whose secret
// is printed this once.
func setupKeys(ctx context.Context, cfg config.Config, c *service.Clients, admin adminKey, out io.Writer) error {
	keys, err := service.OpenKeys(ctx, cfg, c, true)
	if err != nil {
		return err
	}
	defer keys.Close()
	if cfg.KeysetFile == "" {
		fmt.Fprintln(out, "secrets of API keys: NOT sealed; name a file in EXPORTD_KEYSET_FILE")
	} else {
		fmt.Fprintf(out, "secrets of API keys: sealed by %s\n", cfg.KeysetFile)
	}
	if admin.org == "" {
		return nil
	}
	admin.scope = cmp.Or(admin.scope, apikey.ScopeAdmin)
	if err := keys.CheckSealed(ctx); err != nil && (!admin.keysetLost || !errors.Is(err, apikey.ErrKeyset)) {
		return err // a key sealed by this keyset would not be one to the others
	}
	have, err := holdersOf(ctx, keys, admin.org, admin.scope)
	if err != nil {
		return err
	}
	if len(have) > 0 && !admin.another {
		fmt.Fprintf(out, "\n%s has a key with the scope %s already: %s (its secret was shown when it was made)\n"+
			"  if the secret is lost: exportd setup --%s-key %s --another-admin-key\n", admin.org, admin.scope, strings.Join(have, ", "), admin.scope, admin.org)
		return nil
	}
	key, err := keys.Create(ctx, apikey.Draft{OrgID: admin.org, Name: "first " + string(admin.scope), Scopes: []apikey.Scope{admin.scope}, MinVersion: 2},
		apikey.By{Actor: "exportd setup", Reason: "the first key with the scope " + string(admin.scope)})
	if err != nil {
		return err
	}
	what := "the keys of " + admin.org
	if admin.scope == apikey.ScopePlatform {
		what = "the keys of all orgs"
	}
	fmt.Fprintf(out, "\n%s key of %s, shown this once (it makes %s; requests are signed by version 2, as exportctl does):\n  x-api-key: %s\n  secret:    %s\n",
		admin.scope, admin.org, what, key.ID, key.Secrets[0].Secret.Reveal())
	return nil
}

// holdersOf gives the ids of the keys of an org that have a scope and can be used now.
func holdersOf(ctx context.Context, keys *apikey.Store, org string, scope apikey.Scope) (ids []string, err error) {
	all, err := keys.List(ctx, org)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	for _, k := range all {
		if k.Has(scope) && k.State == apikey.Active && (k.ExpiresAt.IsZero() || now.Before(k.ExpiresAt)) {
			ids = append(ids, k.ID)
		}
	}
	return ids, nil
}
