package apikey

import (
	"errors"
	"net/netip"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/firestore"

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

// Who has decided on a key as it was changes none that somebody has changed since, by whatever change.
func TestChangedMeanwhile(t *testing.T) {
	t.Parallel()
	c := localcloudtest.Start(t)
	now := goldenTime
	s := newStore(t, c, 0, func(c *StoreConfig) {
		c.Now = func() time.Time { now = now.Add(1234567 * time.Nanosecond); return now }
	})
	k, err := s.Create(t.Context(), Draft{OrgID: "org1", Scopes: []Scope{ScopeRead}}, by)
	if err != nil {
		t.Fatal(err)
	}
	seen := func() By {
		_, history, err := s.Get(t.Context(), "", k.ID)
		if err != nil {
			t.Fatal(err)
		}
		return By{Actor: by.Actor, Reason: by.Reason, Seen: &history[len(history)-1].At}
	}
	rows := int64(5)
	changes := map[string]func(By) error{
		"rotate": func(by By) error {
			_, err := s.Rotate(t.Context(), k.ID, Rotation{Purpose: ForRequests}, by)
			return err
		},
		"budget": func(by By) error {
			rows++
			_, err := s.SetBudget(t.Context(), k.ID, BudgetChange{Rows: &rows}, by)
			return err
		},
		"enable": func(by By) error { return s.SetState(t.Context(), k.ID, Active, by) },
	}
	for first, change := range changes {
		for second, again := range changes {
			before, none := seen(), By{Seen: new(time.Time)}
			if err := change(before); err != nil {
				t.Errorf("%s as seen = %v", first, err)
			}
			for _, old := range []By{before, none} {
				if err := again(old); !errors.Is(err, ErrChanged) {
					t.Errorf("%s after a %s that was not seen = %v, want ErrChanged", second, first, err)
				}
			}
		}
	}
	if _, err := c.Firestore.Collection(Collection).Doc(k.ID).Update(t.Context(), []firestore.Update{{Path: "audit", Value: firestore.Delete}}); err != nil {
		t.Fatal(err)
	}
	if err := changes["enable"](By{Actor: "a", Reason: "r", Seen: new(time.Time)}); err != nil {
		t.Errorf("a key without a history, seen so = %v", err)
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
