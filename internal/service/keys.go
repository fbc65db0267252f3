package service

import (
	"context"
	"fmt"

	"exportd/internal/apikey"
	"exportd/internal/config"
)

// OpenKeys makes a store of API keys, with the keyset that seals them if one is named. The keyset is made
// where there is none by setup, and in development.
func OpenKeys(ctx context.Context, cfg config.Config, c *Clients, makeKeyset bool) (*apikey.Store, error) {
	store := apikey.StoreConfig{Client: c.Firestore, Damage: c.damage, Panics: c.panics, RefusePlain: cfg.Env == "production" && !cfg.AllowPlainSecrets}
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
