package webhook

import (
	"net/http"
	"slices"
	"time"
)

// schedule is the gap before each attempt: attempt 1 at once, attempt 2 five seconds after attempt 1 failed,
// and so on; 75 h 35 min 5 s in all. It is the example of the Standard Webhooks specification: long enough
// for a receiver that is down over a weekend.
var schedule = [...]time.Duration{
	0, 5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour,
	5 * time.Hour, 10 * time.Hour, 14 * time.Hour, 20 * time.Hour, 24 * time.Hour,
}

// MaxAttempts is how often one event is tried before it is exhausted.
const MaxAttempts = len(schedule)

// Schedule is the gap before each attempt.
func Schedule() []time.Duration { return slices.Clone(schedule[:]) }

const (
	// Jitter is the part of itself by which a gap is longer or shorter at most.
	Jitter = 0.2
	// SlowDown is the least delay after a receiver showed that it is overloaded (429, time-out); five seconds
	// later would be no help.
	SlowDown = time.Minute
	// MaxKeptRetryAfter is how long a receiver may ask for, however short the gap: maintenance and rate
	// limits are over by then. Longer wishes would let a receiver stretch three days of attempts to ten.
	MaxKeptRetryAfter = time.Hour
	// spread is how much later than asked attempts come at most, so that those that were asked for one
	// instant do not all come at it.
	spread = 0.1
	// interruptedDelay brings an attempt cut by our own shutdown (or in a crowd) back soon, to another
	// worker.
	interruptedDelay = 5 * time.Second
)

// Verdict is what follows from an attempt.
type Verdict string

// The verdicts. Retry and Interrupted are followed by another attempt, the others are final.
const (
	VerdictDelivered   Verdict = "delivered"
	VerdictRetry       Verdict = "retry"
	VerdictInterrupted Verdict = "interrupted" // try again, the attempt does not count
	VerdictGone        Verdict = "gone"        // 410: stop, and suspend the URL
	VerdictBlocked     Verdict = "blocked"     // destination refused: trying again cannot help
	VerdictExhausted   Verdict = "exhausted"   // failed MaxAttempts times
)

// Final reports whether no attempt follows.
func (v Verdict) Final() bool { return v != VerdictRetry && v != VerdictInterrupted }

// Decision is a verdict and, unless it is final, when to try again.
type Decision struct {
	Verdict Verdict
	NextAt  time.Time // zero after a final verdict
}

// Policy decides what follows from an attempt. It has no state and does no I/O: the schedule lives in the
// stored attempt number.
type Policy struct {
	// Rand gives numbers in [0,1) for the jitter, so that the callbacks of one outage do not all come back in
	// one second. It is required; production passes rand.Float64 of math/rand/v2.
	Rand func() float64
}

// Decide judges attempt number n, counted from 1 and without interrupted ones. The delay is the schedule's
// gap with ±20 % jitter. A Retry-After longer than the gap is kept, up to an hour or two gaps, whichever is
// longer, and never beyond 24 h. After 429 or a time-out the delay is at least a minute.
func (p Policy) Decide(n int, a Attempt, now time.Time) Decision {
	switch {
	case a.Delivered():
		return Decision{Verdict: VerdictDelivered}
	case a.Class == ClassInterrupted:
		return Decision{Verdict: VerdictInterrupted, NextAt: now.Add(interruptedDelay)}
	case a.Class == ClassBlocked:
		return Decision{Verdict: VerdictBlocked}
	case a.Status == http.StatusGone:
		return Decision{Verdict: VerdictGone}
	case n >= MaxAttempts:
		return Decision{Verdict: VerdictExhausted}
	}
	return Decision{Verdict: VerdictRetry, NextAt: now.Add(p.delay(max(n, 1), a))}
}

// delay is for 1 <= n < MaxAttempts.
func (p Policy) delay(n int, a Attempt) time.Duration {
	gap := schedule[n]
	chance := p.Rand()
	delay := time.Duration(float64(gap) * (1 - Jitter + 2*Jitter*chance))
	if a.RetryAfter > 0 {
		asked := min(max(a.RetryAfter, gap), max(2*gap, MaxKeptRetryAfter), maxRetryAfter)
		delay = max(delay, asked+time.Duration(spread*chance*float64(asked))) // never earlier than asked
	}
	if a.Status == http.StatusTooManyRequests || a.Class == ClassTimeout {
		delay = max(delay, SlowDown)
	}
	return delay
}
