package apikey

import (
	"crypto/rand"
	"errors"
	"strings"
	"testing"
	"time"

	"exportd/internal/localcloud/localcloudtest"
	"exportd/internal/timetest"
)

// TestFirstRefusalTakesTheSameTime: the first refused request of an id takes as long whether there is such a
// key, in use, idle, disabled or not, as it reads one document or finds that there is none.
// TestRefusalsCostTheSame counts the calls; this shows what is left of a difference between them, and fails
// only at one as of twice the work.
func TestFirstRefusalTakesTheSameTime(t *testing.T) { // not parallel: it measures
	const ids, samplings, allowed = 300, 4, 1.8
	c := localcloudtest.Start(t)
	sealer := newSealer(t)
	open := func() *Store {
		return newStore(t, c, 30*time.Second, func(c *StoreConfig) { c.Sealer, c.RefusePlain = sealer, true })
	}
	kinds := []string{"unknown", "in use", "idle", "disabled"}
	keys := map[string][]*Key{}
	admin := open()
	for range ids {
		keys["unknown"] = append(keys["unknown"], &Key{ID: "key_" + strings.ToLower(rand.Text())})
		for _, kind := range kinds[1:] {
			k, err := admin.Create(t.Context(), Draft{OrgID: "org1", Name: "n", Scopes: []Scope{ScopeRead, ScopeExport}}, By{Actor: "a", Reason: "r"})
			if err == nil && kind == "disabled" {
				err = admin.SetState(t.Context(), k.ID, Disabled, By{Actor: "a", Reason: "r"})
			}
			if err != nil {
				t.Fatal(err)
			}
			keys[kind] = append(keys[kind], k)
		}
	}
	wrong := strings.Repeat("0", 64)
	var worst float64
	for range samplings {
		s := open()
		v := Verifier{Window: DefaultWindow, Lookup: s.Lookup, Proved: s}
		for i := range ids {
			k := keys["in use"][i]
			if _, err := v.Verify(t.Context(), Request{Header: headers(k.ID, goldenDate, Sign(k.Secrets[0].Secret.Reveal(), goldenDate))}, goldenTime); err != nil {
				t.Fatal(err)
			}
		}
		s.cache.InvalidateAll() // as other ids would push them out
		samples := make([][]time.Duration, len(kinds))
		for i := range ids {
			for j := range kinds {
				j = (i + j) % len(kinds)
				r := Request{Header: headers(keys[kinds[j]][i].ID, goldenDate, wrong)}
				start := time.Now()
				_, err := v.Verify(t.Context(), r, goldenTime)
				samples[j] = append(samples[j], time.Since(start))
				if refused, ok := errors.AsType[*RefusedError](err); !ok || refused.Error() != textRefused {
					t.Fatalf("%s = %v", kinds[j], err)
				}
			}
		}
		var text string
		worst, text = timetest.Compare(kinds, samples)
		t.Logf("%d first refusals: %s", ids, text)
		if worst <= allowed {
			return
		}
	}
	t.Errorf("first refusals differ by a factor of %.2f in time in each of %d samplings", worst, samplings)
}
