package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"exportd/internal/apikey"
	"exportd/internal/config"
)

// openKeys makes a store of API keys, with the keyset that seals them if one is named. The
// keyset is made where there is none by setup, and in development.
func openKeys(ctx context.Context, cfg config.Config, c *clients, makeKeyset bool) (*apikey.Store, error) {
	store := apikey.StoreConfig{Client: c.firestore, RefusePlain: cfg.Env == "production" && !cfg.AllowPlainSecrets}
	if cfg.KeysetFile != "" {
		var err error
		store.Sealer, err = apikey.OpenSealer(ctx, apikey.KeysetConfig{
			Path: cfg.KeysetFile, KMSKey: cfg.KMSKey, Make: makeKeyset || cfg.Env == "development",
		})
		if err != nil {
			return nil, fmt.Errorf("EXPORTD_KEYSET_FILE (exportd setup makes one): %w", err)
		}
	}
	return apikey.NewStore(store)
}

// adminKey says whether setup makes an admin key.
type adminKey struct {
	org     string // "" makes none
	another bool   // although the org has one
}

// setupKeys makes the keyset, and the first admin key of an org if one is named and it has
// none, whose secret is printed this once.
func setupKeys(ctx context.Context, cfg config.Config, c *clients, admin adminKey, out io.Writer) error {
	keys, err := openKeys(ctx, cfg, c, true)
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
	if err := keys.CheckSealed(ctx); err != nil {
		return err // a key sealed by this keyset would not be one to the others
	}
	have, err := adminsOf(ctx, keys, admin.org)
	if err != nil {
		return err
	}
	if len(have) > 0 && !admin.another {
		fmt.Fprintf(out, "\n%s has an admin key already: %s (its secret was shown when it was made)\n"+
			"  if the secret is lost: exportd setup --admin-key %s --another-admin-key\n", admin.org, strings.Join(have, ", "), admin.org)
		return nil
	}
	key, err := keys.Create(ctx, apikey.Draft{OrgID: admin.org, Name: "first admin", Scopes: []apikey.Scope{apikey.ScopeAdmin}},
		apikey.By{Actor: "exportd setup", Reason: "the first admin key"})
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "\nadmin key of %s, shown this once (scope admin: it makes all other keys):\n  x-api-key: %s\n  secret:    %s\n",
		admin.org, key.ID, key.Secrets[0].Secret.Reveal())
	return nil
}

// adminsOf gives the ids of the keys of an org that can make other keys now.
func adminsOf(ctx context.Context, keys *apikey.Store, org string) (ids []string, err error) {
	all, err := keys.List(ctx, org)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	for _, k := range all {
		if k.Has(apikey.ScopeAdmin) && k.State == apikey.Active && (k.ExpiresAt.IsZero() || now.Before(k.ExpiresAt)) {
			ids = append(ids, k.ID)
		}
	}
	return ids, nil
}

// secretsOf gives the secrets of a key to whoever makes demo.json.
func secretsOf(keys *apikey.Store) func(context.Context, string) (string, string, error) {
	return func(ctx context.Context, id string) (secret, webhookSecret string, err error) {
		key, err := keys.Lookup(ctx, id)
		if err != nil {
			return "", "", err
		}
		own, _ := key.CallbackSecrets(time.Now()) // the newest first
		return key.Secrets[0].Secret.Reveal(), cmp.Or(own...), nil
	}
}
