package service

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"exportd/api"
)

// A worker whose subscription is bound to nothing looks idle; the log says what is wrong, once, and once when
// it is over.
func TestTellFaults(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.InfoLevel)
		var mended atomic.Bool // time passes in the bubble without ordering what happens at it
		ask := func(context.Context) error {
			if mended.Load() {
				return nil
			}
			return errors.New("subscription exportd-parts is bound to a topic that was deleted")
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			tellFaults(ctx, zap.New(core), []api.Check{{Name: "subscriptions", Run: ask}})
		}()
		time.Sleep(10*tellEvery + time.Second)
		synctest.Wait()
		if n := logs.FilterLevelExact(zap.ErrorLevel).Len(); n != 1 {
			t.Errorf("told %d times in 10 minutes, want once", n)
		}
		mended.Store(true)
		time.Sleep(2 * tellEvery)
		synctest.Wait()
		if n := logs.Len(); n != 2 {
			t.Errorf("%d lines after it was mended, want 2", n)
		}
		cancel()
		<-done
	})
}
