package apikey

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"exportd/internal/heaptest"
	"exportd/internal/localcloud/localcloudtest"
)

// calls are those made to Firestore so far.
func calls(c *localcloudtest.Cloud) (n int64) {
	for name, m := range c.Faults().Counters().Methods {
		if strings.HasPrefix(name, "Firestore/") {
			n += m.Calls
		}
	}
	return n
}

// A refused request costs the same calls whether its key is in use, idle, disabled, damaged or was never
// there: one for the first of an id, then none. Who signs well is not made to wait for that.
func TestRefusalsCostTheSame(t *testing.T) {
	t.Parallel()
	c := localcloudtest.Start(t)
	s := newStore(t, c, 30*time.Second)
	for id, state := range map[string]string{"key_in_use": "active", "key_idle": "active", "key_disabled": "disabled", "key_damaged": "?"} {
		put(t, c, id, map[string]any{"orgId": "org1", "secret": goldenSecret, "state": state})
	}
	v := Verifier{Window: DefaultWindow, Lookup: s.Lookup, Proved: s}
	cost := func(id, signature string) (int64, error) {
		before := calls(c)
		_, err := v.Verify(t.Context(), Request{Header: headers(id, goldenDate, signature)}, goldenTime)
		return calls(c) - before, err
	}
	wrong := strings.Repeat("0", 64)
	good := func(want int64) {
		t.Helper()
		if n, err := cost("key_in_use", goldenSignature); err != nil || n != want {
			t.Errorf("a good signature = %v after %d calls, want %d", err, n, want)
		}
	}
	good(1)
	good(0)
	s.cache.Invalidate("key_in_use") // as other ids would push it out
	for _, id := range []string{"key_in_use", "key_idle", "key_disabled", "key_damaged", "key_unknown"} {
		var costs []int64
		for range 3 {
			n, err := cost(id, wrong)
			if refused, ok := errors.AsType[*RefusedError](err); !ok || refused.Error() != textRefused {
				t.Errorf("%s, wrong signature = %v", id, err)
			}
			costs = append(costs, n)
		}
		if !slices.Equal(costs, []int64{1, 0, 0}) {
			t.Errorf("%s: refusals made %v calls to Firestore, want [1 0 0]", id, costs)
		}
	}
	good(0)
	s.Forget("key_in_use")
	good(1)
}

// What was read before a key was forgotten is not believed again for a request under way, and nothing is
// believed for longer by going from one cache to the other.
func TestProveOfWhatWasForgotten(t *testing.T) {
	t.Parallel()
	const ttl = 200 * time.Millisecond
	s, err := NewStore(StoreConfig{TTL: ttl})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	old := &Key{ID: "key_golden", read: time.Now()}
	s.Prove(old)
	if s.Known("key_golden") != old {
		t.Error("a key that has signed is not known")
	}
	s.Forget("key_other")
	s.Forget("key_golden")
	s.Prove(old)
	if s.Known("key_golden") != nil {
		t.Error("a key that was forgotten is known")
	}
	s.Prove(&Key{ID: "key_golden", read: time.Now().Add(-ttl)})
	if s.Known("key_golden") != nil {
		t.Error("a key that was read a TTL ago is known")
	}
	next := &Key{ID: "key_golden", read: time.Now()}
	s.Prove(next)
	eventually(t, "a key is known after its TTL", func() bool { return s.Known("key_golden") == nil })
}

// Made-up ids fill what was read to its bound, and push no key out that is in use.
func TestMadeUpIDs(t *testing.T) {
	const most = 12 << 20
	entries := heaptest.Entries()
	s, err := NewStore(StoreConfig{TTL: 30 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.Prove(&Key{ID: "key_golden", read: time.Now()})
	before := heaptest.InUse()
	for i := range entries {
		s.cache.Set(fmt.Sprintf("key_made_up_%052d", i), entry{read: time.Now()})
	}
	s.cache.CleanUp()
	if n := s.cache.EstimatedSize(); n > maxCached {
		t.Errorf("%d ids are kept, want at most %d", n, maxCached)
	}
	if grown := heaptest.InUse() - before; grown > most {
		t.Errorf("%d MiB after %d ids, want at most %d", grown>>20, entries, most>>20)
	} else {
		t.Logf("%d ids: %.2f MiB", entries, float64(grown)/(1<<20))
	}
	if s.Known("key_golden") == nil {
		t.Error("made-up ids pushed out a key that is in use")
	}
}
