package service

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"exportd/internal/config"
	"exportd/internal/panics"
)

// reloadEvery is how often EXPORTD_RELOAD_FILE is looked at: a ConfigMap that is mounted is up to a minute
// old anyhow, and to read a small file costs nothing.
const reloadEvery = 15 * time.Second

// Reload has the settings of EXPORTD_RELOAD_FILE taken anew while a process runs. What is wrong changes
// nothing.
type Reload struct {
	Load  func() (config.Config, error) // as at the start
	Level zap.AtomicLevel               // of the process's log
	Asked <-chan os.Signal              // SIGHUP: look now
}

// reload has Reload run, and again after a panic, with what had been taken by then. Without a file there is
// nothing to do.
func (c *Clients) reload(ctx context.Context, cfg config.Config, log *zap.Logger, change func(config.Config) error) {
	if c.Reload == nil || cfg.ReloadFile == "" {
		return
	}
	held := &holding{values: liveValues(cfg)}
	c.panics.Loop(ctx, panics.Settings, func() { c.Reload.run(ctx, cfg.ReloadFile, held, log, change) })
}

// holding is what a process has of the file. It outlives a panic of whoever changes it.
type holding struct {
	values []string // nil while they are being taken: all are taken again then
	told   string   // the last fault
}

// run looks until ctx ends.
func (r *Reload) run(ctx context.Context, file string, held *holding, log *zap.Logger, change func(config.Config) error) {
	tick := time.NewTicker(reloadEvery)
	defer tick.Stop()
	for {
		asked := false
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-r.Asked:
			asked, held.told = true, "" // who asks is told again
		}
		differ, err := r.look(held, change)
		switch {
		case err != nil && err.Error() != held.told:
			held.told = err.Error()
			log.Error("settings are not taken anew: what they were still holds", zap.String("file", file), zap.Error(err))
		case err != nil:
		case len(differ) > 0:
			held.told = ""
			log.Warn("settings are taken anew", zap.String("file", file), zap.Strings("changed", differ)) // at every level but error
		default:
			if held.told = ""; asked {
				log.Warn("settings are as they were", zap.String("file", file))
			}
		}
	}
}

// look takes what the file has, and gives what of it is new.
func (r *Reload) look(held *holding, change func(config.Config) error) (differ []string, err error) {
	next, err := r.Load()
	if err != nil {
		return nil, err
	}
	before, values := held.values, liveValues(next)
	if differ = differences(before, values); len(differ) == 0 {
		return nil, nil
	}
	held.values = nil
	if err := r.take(next, change); err != nil {
		held.values = before
		return nil, err
	}
	held.values = values
	return differ, nil
}

// take has settings hold from now on, all of them or none.
func (r *Reload) take(next config.Config, change func(config.Config) error) error {
	level, err := zapcore.ParseLevel(next.LogLevel)
	if err != nil {
		return fmt.Errorf("EXPORTD_LOG_LEVEL: %w", err)
	}
	if err := change(next); err != nil {
		return err
	}
	r.Level.SetLevel(level)
	return nil
}

// liveValues are the settings that may change, as the file would have them. None is a secret.
func liveValues(cfg config.Config) []string {
	return []string{
		"EXPORTD_LOG_LEVEL=" + cfg.LogLevel,
		fmt.Sprint("EXPORTD_RATE_IP_PER_SECOND=", cfg.RateIP), fmt.Sprint("EXPORTD_RATE_IP_BURST=", cfg.RateIPBurst),
		fmt.Sprint("EXPORTD_RATE_KEY_PER_SECOND=", cfg.RateKey), fmt.Sprint("EXPORTD_RATE_KEY_BURST=", cfg.RateKeyBurst),
		"EXPORTD_TRUSTED_PROXIES=" + strings.Join(cfg.TrustedProxies, ","),
	}
}

// differences are those of next that old has not; all where nobody knows what old is.
func differences(old, next []string) (out []string) {
	for i, v := range next {
		if old == nil || v != old[i] {
			out = append(out, v)
		}
	}
	return out
}
