package webhook

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

var t0 = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func always(f float64) Policy { return Policy{Rand: func() float64 { return f }} }

func answered(code int) Attempt { return Attempt{Status: code, Class: statusClass(code)} }

// TestPolicySchedule follows a receiver that is down for the whole schedule.
func TestPolicySchedule(t *testing.T) {
	t.Parallel()
	want := []time.Duration{
		5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour,
		10 * time.Hour, 14 * time.Hour, 20 * time.Hour, 24 * time.Hour,
	}
	now, total := t0, time.Duration(0)
	for n := 1; n <= MaxAttempts; n++ {
		d := always(0.5).Decide(n, answered(503), now)
		if n == MaxAttempts {
			if d != (Decision{Verdict: VerdictExhausted}) {
				t.Errorf("Decide(%d) = %+v, want exhausted", n, d)
			}
			break
		}
		if d.Verdict != VerdictRetry || d.NextAt.Sub(now) != want[n-1] {
			t.Errorf("Decide(%d) = %s in %v, want retry in %v", n, d.Verdict, d.NextAt.Sub(now), want[n-1])
		}
		for f, bound := range map[float64]time.Duration{0: want[n-1] * 8 / 10, 0.999999999999: want[n-1] * 12 / 10} {
			if got := always(f).Decide(n, answered(503), now).NextAt.Sub(now); (got - bound).Abs() > time.Millisecond {
				t.Errorf("Decide(%d) with jitter %v = %v, want %v", n, f, got, bound)
			}
		}
		total += d.NextAt.Sub(now)
		now = d.NextAt
	}
	if want := 75*time.Hour + 35*time.Minute + 5*time.Second; total != want {
		t.Errorf("schedule spans %v, want %v", total, want)
	}
}

func TestPolicyVerdicts(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		a    Attempt
		want Verdict
	}{
		{"200", answered(200), VerdictDelivered},
		{"204", answered(204), VerdictDelivered},
		{"299", answered(299), VerdictDelivered},
		{"101", answered(101), VerdictRetry},
		{"300", answered(300), VerdictRetry},
		{"302", answered(302), VerdictRetry},
		{"304", answered(304), VerdictRetry},
		{"400", answered(400), VerdictRetry},
		{"404", answered(404), VerdictRetry},
		{"410", answered(410), VerdictGone},
		{"410 with a body that never ended", Attempt{Status: 410, Class: ClassTimeout}, VerdictGone},
		{"429", answered(429), VerdictRetry},
		{"500", answered(500), VerdictRetry},
		{"999", answered(999), VerdictRetry},
		{"200 with a body that never ended", Attempt{Status: 200, Class: ClassTimeout}, VerdictRetry},
		{"200 cut off", Attempt{Status: 200, Class: ClassBadResponse}, VerdictRetry},
		{"blocked", Attempt{Class: ClassBlocked}, VerdictBlocked},
		{"dns", Attempt{Class: ClassDNS}, VerdictRetry},
		{"connect", Attempt{Class: ClassConnect}, VerdictRetry},
		{"tls", Attempt{Class: ClassTLS}, VerdictRetry},
		{"timeout", Attempt{Class: ClassTimeout}, VerdictRetry},
		{"bad response", Attempt{Class: ClassBadResponse}, VerdictRetry},
		{"internal", Attempt{Class: ClassInternalError}, VerdictRetry},
		{"interrupted", Attempt{Class: ClassInterrupted}, VerdictInterrupted},
		{"nothing known", Attempt{}, VerdictRetry},
	}
	for _, tt := range tests {
		for _, n := range []int{-1, 0, 1, 9} {
			d := always(0.5).Decide(n, tt.a, t0)
			if d.Verdict != tt.want || d.NextAt.IsZero() != d.Verdict.Final() || (!d.NextAt.IsZero() && !d.NextAt.After(t0)) {
				t.Errorf("%s: Decide(%d) = %+v, want %s", tt.name, n, d, tt.want)
			}
		}
		d := always(0.5).Decide(MaxAttempts, tt.a, t0)
		if want := map[bool]Verdict{true: VerdictExhausted, false: tt.want}[tt.want == VerdictRetry]; d.Verdict != want {
			t.Errorf("%s: last Decide = %+v, want %s", tt.name, d, want)
		}
	}
}

func TestPolicyRetryAfter(t *testing.T) {
	t.Parallel()
	with := func(code int, after time.Duration) Attempt {
		a := answered(code)
		a.RetryAfter = after
		return a
	}
	tests := []struct {
		name   string
		n      int
		a      Attempt
		jitter float64
		want   time.Duration
	}{
		{"within", 2, with(503, 7*time.Minute), 0, 7 * time.Minute},
		{"below the gap", 2, with(503, time.Second), 0, 5 * time.Minute},
		{"two minutes at the first attempt", 1, with(503, 2*time.Minute), 0, 2 * time.Minute},
		{"spread over those asked alike", 1, with(503, 2*time.Minute), 0.5, 2*time.Minute + 6*time.Second},
		{"an hour at the first attempt", 1, with(503, time.Hour), 0, time.Hour},
		{"longer than is kept", 1, with(503, 5*time.Hour), 0, time.Hour},
		{"two gaps that are longer", 4, with(503, 5*time.Hour), 0, 4 * time.Hour},
		{"never earlier than asked", 2, with(503, 5*time.Minute+30*time.Second), 0, 5*time.Minute + 30*time.Second},
		{"last gap", 9, with(503, 24*time.Hour), 0, 24 * time.Hour},
		{"429 at once", 1, answered(429), 0.5, time.Minute},
		{"429 with a wish", 1, with(429, 2*time.Minute), 0, 2 * time.Minute},
		{"429 with a short one", 1, with(429, time.Second), 0.5, time.Minute},
		{"429 later", 3, answered(429), 0.5, 30 * time.Minute},
		{"timeout", 1, Attempt{Class: ClassTimeout}, 0.5, time.Minute},
		{"503 at once", 1, answered(503), 0.5, 5 * time.Second},
	}
	for _, tt := range tests {
		if got := always(tt.jitter).Decide(tt.n, tt.a, t0).NextAt.Sub(t0); got != tt.want {
			t.Errorf("%s: next in %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestParseRetryAfter(t *testing.T) {
	t.Parallel()
	tests := map[string]time.Duration{
		"": 0, "0": 0, "5": 5 * time.Second, " 5 ": 5 * time.Second, "0000005": 5 * time.Second, "86400": 24 * time.Hour, "86401": 24 * time.Hour,
		"99999999999999999999": 24 * time.Hour, "9223372036854775807": 24 * time.Hour, strings.Repeat("9", 4000): 24 * time.Hour,
		"inf": 0, "NaN": 0, "1e308": 0, "-5": 0, "+5": 0, "1.5": 0, "5s": 0, "5, 6": 0, "٥": 0, "0x10": 0,
		t0.Add(time.Minute).Format(http.TimeFormat):    time.Minute,
		t0.Add(-time.Minute).Format(http.TimeFormat):   0,
		"Fri, 31 Dec 9999 23:59:59 GMT":                24 * time.Hour,
		"Mon, 01 Jan 0001 00:00:00 GMT":                0,
		t0.Add(time.Minute).Format(time.RFC850):        time.Minute,
		t0.Add(time.Minute).Format(time.RFC3339):       0,
		t0.Add(time.Minute).Format(time.ANSIC):         time.Minute,
		t0.Add(time.Minute).Format(time.RFC1123) + "x": 0,
	}
	for value, want := range tests {
		if got := ParseRetryAfter(value, t0); got != want {
			t.Errorf("ParseRetryAfter(%.40q) = %v, want %v", value, got, want)
		}
	}
}

// FuzzRetryAfter: whatever a receiver writes, the next attempt is neither sooner than the schedule's jitter
// allows, nor sooner than asked within the bound, nor later than the bound and its spread.
func FuzzRetryAfter(f *testing.F) {
	for _, s := range []string{"5", "inf", "NaN", "1e308", "-5", "99999999999999999999", "Fri, 31 Dec 9999 23:59:59 GMT"} {
		f.Add(s, 1, 0.5)
	}
	f.Fuzz(func(t *testing.T, value string, n int, r float64) {
		after := ParseRetryAfter(value, t0)
		if after < 0 || after > 24*time.Hour {
			t.Fatalf("ParseRetryAfter(%q) = %v", value, after)
		}
		if !(r >= 0 && r < 1) {
			r = 0
		}
		a := answered(503)
		a.RetryAfter = after
		d := always(r).Decide(n, a, t0)
		if d.Verdict == VerdictExhausted {
			return
		}
		gap := schedule[max(n, 1)]
		bound := min(max(2*gap, time.Hour), 24*time.Hour)
		if delay := d.NextAt.Sub(t0); delay < gap*8/10-1 || delay < min(after, bound) || delay > max(bound*11/10, gap*12/10) {
			t.Fatalf("attempt %d, Retry-After %v: next in %v", n, after, delay)
		}
	})
}
