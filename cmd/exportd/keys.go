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
	store := apikey.StoreConfig{Client: c.firestore, Damage: c.damage, RefusePlain: cfg.Env == "production" && !cfg.AllowPlainSecrets}
	if c.documents != nil {
		store.Documents = c.documents
	}
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
	org     string       // "" makes none
	another bool         // although the org has one
	scope   apikey.Scope // ScopeAdmin if empty
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
	admin.scope = cmp.Or(admin.scope, apikey.ScopeAdmin)
	if err := keys.CheckSealed(ctx); err != nil {
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
