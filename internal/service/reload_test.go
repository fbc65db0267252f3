package service

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"exportd/internal/config"
	"exportd/internal/panics"
)

// TestReload: settings are taken anew at their time or when asked; what is wrong changes nothing, is told
// once, and again to who asks.
func TestReload(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.DebugLevel)
		asked := make(chan os.Signal, 1)
		level := zap.NewAtomicLevelAt(zap.InfoLevel)
		now := config.Config{LogLevel: "info", RateKey: 300, ReloadFile: "live.env"}
		var mu sync.Mutex // of what the file is read as
		file, wrong := now, error(nil)
		set := func(c config.Config, err error) {
			mu.Lock()
			defer mu.Unlock()
			file, wrong = c, err
		}
		r := &Reload{Level: level, Asked: asked, Load: func() (config.Config, error) {
			mu.Lock()
			defer mu.Unlock()
			return file, wrong
		}}
		var changed []config.Config
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			(&Clients{Reload: r, panics: panics.NewReporter(zap.NewNop())}).reload(ctx, now, zap.New(core), func(c config.Config) error {
				if c.RateKey == 13 {
					return errors.New("unlucky")
				}
				changed = append(changed, c)
				return nil
			})
		}()
		wait := func() { time.Sleep(reloadEvery); synctest.Wait() }
		lines := func(message string) int { return logs.FilterMessage(message).Len() }
		const taken, refused, same = "settings are taken anew", "settings are not taken anew: what they were still holds", "settings are as they were"

		wait()
		if logs.Len() != 0 || len(changed) != 0 {
			t.Errorf("without a change: %v", logs.All())
		}
		good := now
		good.LogLevel, good.RateKey, good.TrustedProxies = "debug", 7, []string{"10.0.0.0/8"}
		set(good, nil)
		wait()
		if len(changed) != 1 || changed[0].RateKey != 7 || level.Level() != zap.DebugLevel || lines(taken) != 1 {
			t.Errorf("%v, level %s, %v", changed, level, logs.All())
		}
		if got := logs.FilterMessage(taken).All()[0].ContextMap()["changed"].([]any); len(got) != 3 || got[0] != "EXPORTD_LOG_LEVEL=debug" {
			t.Errorf("told was %v", got)
		}
		bad := good
		bad.LogLevel, bad.RateKey = "error", 13 // refused as a whole
		set(bad, nil)
		for range 3 {
			wait()
		}
		if len(changed) != 1 || level.Level() != zap.DebugLevel || lines(refused) != 1 {
			t.Errorf("%v, level %s, %d lines", changed, level, lines(refused))
		}
		set(config.Config{}, config.Faults{"EXPORTD_RATE_KEY_PER_SECOND: no"})
		wait()
		asked <- syscall.SIGHUP
		synctest.Wait()
		if lines(refused) != 3 || level.Level() != zap.DebugLevel {
			t.Errorf("%d lines, want one of each fault and one for who asked", lines(refused))
		}
		set(good, nil)
		asked <- syscall.SIGHUP
		synctest.Wait()
		if lines(same) != 1 || len(changed) != 1 {
			t.Errorf("%v", logs.All())
		}
		stop()
		<-ended
	})
	(&Clients{}).reload(t.Context(), config.Config{ReloadFile: "live.env"}, zap.NewNop(), nil)
	(&Clients{Reload: &Reload{}}).reload(t.Context(), config.Config{}, zap.NewNop(), nil)
}

// TestReloadAfterPanic: what was taken before a panic is known after it, so that the file can take it back,
// also what was taken by half.
func TestReloadAfterPanic(t *testing.T) {
	t.Parallel()
	for _, half := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			level := zap.NewAtomicLevelAt(zap.InfoLevel)
			start := config.Config{LogLevel: "info", RateKey: 300, ReloadFile: "live.env"}
			other := start
			other.LogLevel, other.RateKey = "debug", 7
			broken := false
			files := make(chan config.Config, 1) // what the file has
			files <- other
			r := &Reload{Level: level, Load: func() (config.Config, error) {
				file := <-files
				files <- file
				if broken {
					broken = false
					panic("while the file is read")
				}
				return file, nil
			}}
			rate := make(chan int, 1) // what holds
			rate <- start.RateKey
			panicked := make(chan struct{})
			ctx, stop := context.WithCancel(t.Context())
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				(&Clients{Reload: r, panics: panics.NewReporter(zap.NewNop())}).reload(ctx, start, zap.NewNop(), func(c config.Config) error {
					<-rate
					rate <- c.RateKey
					if c.RateKey == other.RateKey {
						close(panicked)
						if half {
							panic("before the level is set")
						}
						broken = true
					}
					return nil
				})
			}()
			<-panicked
			if !half {
				time.Sleep(2 * reloadEvery) // taken as a whole, and the next look panics
			}
			synctest.Wait()
			<-files
			files <- start
			time.Sleep(3 * reloadEvery)
			synctest.Wait()
			if got := <-rate; got != start.RateKey || level.Level() != zap.InfoLevel {
				t.Errorf("half %t: rate %d and level %s hold, of the file's %d and %s", half, got, level, start.RateKey, start.LogLevel)
			}
			stop()
			<-ended
		})
	}
}

// TestLiveValues: each setting that may change while a process runs is among those that are compared; what is
// not would never be taken anew.
func TestLiveValues(t *testing.T) {
	t.Parallel()
	var want, got []string
	for _, s := range config.Settings() {
		if s.Live() {
			want = append(want, s.Var)
		}
	}
	for _, v := range liveValues(config.Config{}) {
		name, _, _ := strings.Cut(v, "=")
		got = append(got, name)
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("compared are %v, live are %v", got, want)
	}
}
