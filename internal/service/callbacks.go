package service

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"exportd/internal/apikey"
	"exportd/internal/config"
	"exportd/internal/webhook"
	"exportd/jobs"
	"exportd/worker"
)

// callbackConfig makes what the worker calls receivers with, and the store of keys that it reads, to be
// closed.
func callbackConfig(ctx context.Context, cfg config.Config, c *Clients) (callbacks *worker.CallbackConfig, keys *apikey.Store, err error) {
	rules, err := CallbackRules(cfg)
	if err != nil {
		return nil, nil, err
	}
	store, err := awaitKeys(ctx, cfg, c)
	if err != nil {
		return nil, nil, err
	}
	links, err := fileLinks(cfg, c, store)
	if err != nil {
		store.Close()
		return nil, nil, err
	}
	return &worker.CallbackConfig{
		Links: links, Slots: cfg.CallbackSlots, Sender: newSender(rules), Keys: callbackKeys{store.Fresh, time.Now}, Files: c.Objects,
		URLLife: cfg.URLLife, Rand: rand.Float64,
	}, store, nil
}

func newSender(rules webhook.Rules) *webhook.Sender {
	return webhook.NewSender(webhook.SenderConfig{Guard: webhook.NewGuard(webhook.GuardConfig{Dev: rules.Dev}), Rules: rules})
}

// callbackKeys reads from a key's record what signs and bounds its callbacks. It reads it for every try, not
// through a cache: what is sent holds a link to the file.
type callbackKeys struct {
	lookup apikey.LookupFunc
	now    func() time.Time
}

// CallbackKey gives jobs.ErrNotFound for a key that is not in force any more.
func (k callbackKeys) CallbackKey(ctx context.Context, keyID string) (worker.CallbackKey, error) {
	key, err := k.lookup.InForce(ctx, keyID)
	if err != nil {
		return worker.CallbackKey{}, err
	}
	hosts, err := webhook.ParseHostList(key.CallbackHosts)
	if err != nil {
		return worker.CallbackKey{}, fmt.Errorf("callback hosts: %w", errors.Join(jobs.ErrInvalid, err))
	}
	secrets, err := webhook.KeySecrets(key.CallbackSecrets(k.now()))
	if err != nil {
		return worker.CallbackKey{}, fmt.Errorf("webhook secret: %w", errors.Join(jobs.ErrInvalid, err))
	}
	return worker.CallbackKey{Secrets: secrets, Hosts: hosts}, nil
}
