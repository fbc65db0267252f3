package webhook

import (
	"testing"
	"time"
)

func TestHealth(t *testing.T) {
	t.Parallel()
	day := 24 * time.Hour
	follow := func(step time.Duration, verdicts ...Verdict) Health {
		h, now := Health{}, t0
		for _, v := range verdicts {
			h = h.After(v, now)
			now = now.Add(step)
		}
		return h
	}
	repeat := func(v Verdict, n int) []Verdict {
		out := make([]Verdict, n)
		for i := range out {
			out[i] = v
		}
		return out
	}
	tests := []struct {
		name string
		h    Health
		want bool
	}{
		{"nothing known", Health{}, false},
		{"one failure", follow(0, VerdictRetry), false},
		{"19 exhausted", follow(time.Hour, repeat(VerdictExhausted, 19)...), false},
		{"20 exhausted", follow(time.Hour, repeat(VerdictExhausted, 20)...), true},
		{"success between", follow(time.Hour, append(append(repeat(VerdictExhausted, 19), VerdictDelivered), repeat(VerdictExhausted, 19)...)...), false},
		{"4 days of failures", follow(day, repeat(VerdictRetry, 5)...), false},
		{"5 days of failures", follow(day, repeat(VerdictRetry, 6)...), true},
		{"our own fault", follow(day, append(repeat(VerdictInterrupted, 30), repeat(VerdictBlocked, 30)...)...), false},
		{"recovered", follow(day, append(repeat(VerdictRetry, 9), VerdictDelivered)...), false},
	}
	for _, tt := range tests {
		if got := tt.h.Suspended(); got != tt.want {
			t.Errorf("%s: Suspended(%+v) = %v, want %v", tt.name, tt.h, got, tt.want)
		}
	}
}
