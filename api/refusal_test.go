package api

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"exportd/internal/apikey"
	"exportd/jobs"
)

const step = 50 * time.Millisecond

// stepBench is a bench whose refusals leave by steps, and whose keys take a while to read.
func stepBench(t *testing.T, read time.Duration) *bench {
	return newBench(t, func(c *Config) {
		lookup := c.Keys
		c.RefuseEvery, c.Keys = step, func(ctx context.Context, id string) (*apikey.Key, error) {
			time.Sleep(read)
			return lookup(ctx, id)
		}
	})
}

// How long it takes to refuse a request does not tell whether there is such a key, or what it is like,
// however long the key takes to read: refusals leave by steps. What depends on no key, or is signed, does not
// wait.
func TestRefusalsLeaveByStep(t *testing.T) {
	t.Parallel()
	wrong := strings.Repeat("0", 64)
	for _, tc := range []struct {
		name, key, signature string
		read, want           time.Duration
		status               int
	}{
		{"unknown", "key_nobody", "", 3 * time.Millisecond, step, http.StatusUnauthorized},
		{"unknown, seen before", "key_nobody", "", 0, step, http.StatusUnauthorized},
		{"there, wrong signature", "key_one1", wrong, 4 * time.Millisecond, step, http.StatusUnauthorized},
		{"disabled", "key_dead", "", 49 * time.Millisecond, step, http.StatusUnauthorized},
		{"slow, unknown", "key_nobody", "", 60 * time.Millisecond, 2 * step, http.StatusUnauthorized},
		{"slow, there", "key_one1", wrong, 80 * time.Millisecond, 2 * step, http.StatusUnauthorized},
		{"signed", "key_one1", "", 4 * time.Millisecond, 4 * time.Millisecond, http.StatusOK},
		{"signed, not allowed", "key_none", "", 4 * time.Millisecond, 4 * time.Millisecond, http.StatusForbidden},
		{"no signature", "key_one1", "none", 4 * time.Millisecond, 0, http.StatusUnauthorized},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := stepBench(t, tc.read)
				r := request(t, tc.key, http.MethodGet, "/workspaces")
				if tc.signature != "" {
					r.Header.Set(apikey.HeaderSignature, tc.signature)
				}
				begun := time.Now()
				w := b.do(r)
				if took := time.Since(begun); took != tc.want || w.Code != tc.status {
					t.Errorf("%d after %s, want %d after %s", w.Code, took, tc.status, tc.want)
				}
			})
		})
	}
}

// No more wait for their step than a bound.
func TestRefusalsWaitWithinABound(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := stepBench(t, 0)
		took := make(chan time.Duration, heldAtOnce+1)
		ask := func() {
			begun := time.Now()
			b.do(request(t, "key_nobody", http.MethodGet, "/workspaces"))
			took <- time.Since(begun)
		}
		for range heldAtOnce {
			go ask()
		}
		synctest.Wait()
		ask()
		if d := <-took; d != 0 {
			t.Errorf("one beyond %d waits %s", heldAtOnce, d)
		}
		for range heldAtOnce {
			if d := <-took; d != step {
				t.Errorf("one waits %s, want %s", d, step)
			}
		}
	})
}

// What cannot be told now is no refusal: it is 503 at once, on every route, to a caller that waits for it.
func TestOutageDoesNotWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(c *Config) {
			c.RefuseEvery = step
			c.Keys = func(context.Context, string) (*apikey.Key, error) { return nil, jobs.ErrUnavailable }
		})
		begun := time.Now()
		for _, r := range b.routes() {
			if r.scopes == nil {
				continue
			}
			if w := b.do(request(t, "key_one1", r.method, pathOf(r))); w.Code != http.StatusServiceUnavailable {
				t.Errorf("%s %s = %d, want 503", r.method, r.path, w.Code)
			}
		}
		if took := time.Since(begun); took != 0 {
			t.Errorf("took %s", took)
		}
	})
}
