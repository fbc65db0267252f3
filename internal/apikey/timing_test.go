package apikey

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"exportd/jobs"
)

// Whether a key exists does not show in how long its refusal takes. The look-up is left out: known and
// unknown ids come from the same cache. Medians of samples taken in turn; what else runs on the machine may
// spoil a sampling, a difference in the work spoils all.
func TestRefusalTakesTheSameTime(t *testing.T) {
	disabled, expired, two := goldenKey(), goldenKey(), goldenKey()
	disabled.State, expired.ExpiresAt = Disabled, goldenTime
	two.Secrets = append(two.Secrets, SigningSecret{Secret: NewSecret("another")})
	good := headers("key_golden", goldenDate, goldenSignature)
	wrong := headers("key_golden", goldenDate, strings.Repeat("0", 64))
	cases := []struct {
		name string
		r    Request
		key  *Key
	}{
		{"wrong signature", Request{Header: wrong}, goldenKey()},
		{"unknown key", Request{Header: wrong}, nil},
		{"disabled key, right signature", Request{Header: good}, disabled},
		{"expired key, right signature", Request{Header: good}, expired},
		{"two secrets", Request{Header: wrong}, two},
	}
	const runs, samplings, allowed = 2000, 6, 1.15
	var worst float64
	for range samplings {
		medians := make([]time.Duration, len(cases))
		samples := make([][]time.Duration, len(cases))
		for range runs {
			for i, tc := range cases {
				v := Verifier{Window: DefaultWindow, Lookup: func(context.Context, string) (*Key, error) {
					if tc.key == nil {
						return nil, jobs.ErrNotFound
					}
					return tc.key, nil
				}}
				start := time.Now()
				_, err := v.Verify(t.Context(), tc.r, goldenTime)
				samples[i] = append(samples[i], time.Since(start))
				if err == nil || err.Error() != textRefused {
					t.Fatalf("%s = %v", tc.name, err)
				}
			}
		}
		for i := range samples {
			slices.Sort(samples[i])
			medians[i] = samples[i][runs/2]
		}
		worst = float64(slices.Max(medians)) / float64(slices.Min(medians))
		if worst <= allowed {
			t.Logf("medians of %d runs: %v, ratio %.3f", runs, medians, worst)
			return
		}
	}
	t.Errorf("refusals differ by a factor of %.2f in time in each of %d samplings, want at most %.2f", worst, samplings, allowed)
}
