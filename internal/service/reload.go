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

// reload has Reload run, and again after a panic: what was taken holds.
func (c *Clients) reload(ctx context.Context, cfg config.Config, log *zap.Logger, change func(config.Config) error) (err error) {
	c.panics.Loop(ctx, panics.Settings, func() { err = c.Reload.run(ctx, cfg, log, change) })
	return err
}

// run looks until ctx ends. Without a file there is nothing to do.
func (r *Reload) run(ctx context.Context, cfg config.Config, log *zap.Logger, change func(config.Config) error) error {
	if r == nil || cfg.ReloadFile == "" {
		return nil
	}
	tick := time.NewTicker(reloadEvery)
	defer tick.Stop()
	now, told := liveValues(cfg), ""
	for {
		asked := false
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-r.Asked:
			asked, told = true, "" // who asks is told again
		}
		next, err := r.Load()
		values := liveValues(next)
		differ := differences(now, values)
		if err == nil && len(differ) > 0 {
			err = r.take(next, change)
		}
		switch {
		case err != nil && err.Error() != told:
			told = err.Error()
			log.Error("settings are not taken anew: what they were still holds", zap.String("file", cfg.ReloadFile), zap.Error(err))
		case err != nil:
		default:
			if now, told = values, ""; len(differ) > 0 {
				log.Warn("settings are taken anew", zap.String("file", cfg.ReloadFile), zap.Strings("changed", differ)) // at every level but error
			} else if asked {
				log.Warn("settings are as they were", zap.String("file", cfg.ReloadFile))
			}
		}
	}
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

func differences(old, next []string) (out []string) {
	for i, v := range next {
		if v != old[i] {
			out = append(out, v)
		}
	}
	return out
}
