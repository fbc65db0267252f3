package apikey

import (
	"errors"
	"net/netip"
	"sync"
	"testing"
	"time"

	"exportd/internal/localcloud/localcloudtest"
)

// Of rotations that were decided on one history, one gives a secret, and it signs.
func TestRotateRace(t *testing.T) {
	t.Parallel()
	c := localcloudtest.Start(t)
	s := newStore(t, c, 0, func(c *StoreConfig) { c.Sealer, c.Now = newSealer(t), func() time.Time { return goldenTime } })
	k, err := s.Create(t.Context(), Draft{OrgID: "org1", Scopes: []Scope{ScopeRead}}, by)
	if err != nil {
		t.Fatal(err)
	}
	_, seen, err := s.Get(t.Context(), "", k.ID)
	if err != nil {
		t.Fatal(err)
	}
	secrets, errs := make([]Secret, 20), make([]error, 20)
	var all sync.WaitGroup
	for i := range secrets {
		all.Go(func() {
			secrets[i], errs[i] = s.Rotate(t.Context(), k.ID, Rotation{Purpose: ForRequests, Overlap: time.Hour, Seen: seen}, by)
		})
	}
	all.Wait()
	won := 0
	for i, err := range errs {
		switch {
		case err == nil:
			won++
			if !signs(t, s, k.ID, secrets[i], goldenTime) {
				t.Error("a secret that was given out does not sign")
			}
		case !errors.Is(err, ErrRotated):
			t.Errorf("Rotate = %v, want ErrRotated", err)
		}
	}
	if won != 1 {
		t.Errorf("%d of %d rotations at once gave a secret, want 1", won, len(secrets))
	}
}

func TestBoundLike(t *testing.T) {
	t.Parallel()
	ranges := func(texts ...string) (list []netip.Prefix) {
		for _, text := range texts {
			list = append(list, netip.MustParsePrefix(text))
		}
		return list
	}
	until := goldenTime.Add(time.Hour)
	by := &Key{IPRanges: ranges("10.0.0.0/8", "192.0.2.0/24"), ExpiresAt: until, OneUse: true, MinVersion: 2}
	same := func(change func(*Key)) *Key {
		k := &Key{IPRanges: ranges("10.1.0.0/16"), ExpiresAt: until, OneUse: true, MinVersion: 2}
		change(k)
		return k
	}
	for name, tc := range map[string]struct {
		k    *Key
		want bool
	}{
		"as bound":       {same(func(*Key) {}), true},
		"narrower":       {same(func(k *Key) { k.IPRanges, k.ExpiresAt = ranges("10.1.2.3/32", "192.0.2.128/25"), until.Add(-time.Hour) }), true},
		"any address":    {same(func(k *Key) { k.IPRanges = nil }), false},
		"wider":          {same(func(k *Key) { k.IPRanges = ranges("0.0.0.0/0") }), false},
		"one more range": {same(func(k *Key) { k.IPRanges = ranges("10.1.0.0/16", "198.51.100.0/24") }), false},
		"of IPv6":        {same(func(k *Key) { k.IPRanges = ranges("::/0") }), false},
		"for ever":       {same(func(k *Key) { k.ExpiresAt = time.Time{} }), false},
		"longer":         {same(func(k *Key) { k.ExpiresAt = until.Add(time.Second) }), false},
		"more than once": {same(func(k *Key) { k.OneUse = false }), false},
		"weaker":         {same(func(k *Key) { k.MinVersion = 1 }), false},
	} {
		if got := tc.k.BoundLike(by); got != tc.want {
			t.Errorf("%s: BoundLike = %v, want %v", name, got, tc.want)
		}
		if !tc.k.BoundLike(&Key{}) {
			t.Errorf("%s: freer than a key without bounds", name)
		}
	}
}
