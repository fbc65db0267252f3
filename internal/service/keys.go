package service

import (
	"context"
	"fmt"

	"exportd/internal/apikey"
	"exportd/internal/config"
	"exportd/internal/filelink"
)

// OpenKeys makes a store of API keys, with the keyset that seals them if one is named. The keyset is made
// where there is none by setup, and in development.
func OpenKeys(ctx context.Context, cfg config.Config, c *Clients, makeKeyset bool) (*apikey.Store, error) {
	if cfg.KeysetFile == "" {
		return newKeys(cfg, c, nil)
	}
	sealer, err := apikey.OpenSealer(ctx, keysetConfig(cfg, makeKeyset))
	if err != nil {
		return nil, fmt.Errorf("EXPORTD_KEYSET_FILE (exportd setup makes one): %w", err)
	}
	return newKeys(cfg, c, sealer)
}

// awaitKeys is OpenKeys for a process that lives on where the keyset cannot be opened: it says so at /readyz
// until it can.
func awaitKeys(ctx context.Context, cfg config.Config, c *Clients) (*apikey.Store, error) {
	if cfg.KeysetFile == "" {
		return newKeys(cfg, c, nil)
	}
	return newKeys(cfg, c, apikey.AwaitSealer(ctx, keysetConfig(cfg, false)))
}

func keysetConfig(cfg config.Config, makeKeyset bool) apikey.KeysetConfig {
	return apikey.KeysetConfig{Path: cfg.KeysetFile, KMSKey: cfg.KMSKey, Make: makeKeyset || cfg.Env == "development"}
}

// fileLinks makes links to files of the service's own, nil where csvUrl is to be a signed URL.
func fileLinks(cfg config.Config, c *Clients, keys *apikey.Store) (*filelink.Links, error) {
	if cfg.LinksURL == "" {
		return nil, nil
	}
	return filelink.New(filelink.Config{Base: cfg.LinksURL, Sealer: keys.Sealer(), Store: c.Store})
}

func newKeys(cfg config.Config, c *Clients, sealer *apikey.Sealer) (*apikey.Store, error) {
	store := apikey.StoreConfig{Sealer: sealer, Client: c.Firestore, Damage: c.damage, Panics: c.panics, RefusePlain: cfg.Env == "production" && !cfg.AllowPlainSecrets}
	if c.documents != nil {
		store.Documents = c.documents
	}
	return apikey.NewStore(store)
}
