package webhook

import "time"

const (
	// SuspendExhausted events in a row, each tried over three days, are no coincidence any more.
	SuspendExhausted = 20
	// SuspendAfter without one success, while tries go on failing.
	SuspendAfter = 5 * 24 * time.Hour
)

// Health is what the caller remembers of one receiver (tenant and Target.Origin) between events, to stop
// calling one that is not coming back. The zero value is a healthy receiver; clearing it is the way back.
type Health struct {
	Exhausted    int       // events given up in a row
	FailingSince time.Time // first failure after the last success; zero if none
	LastFailure  time.Time
}

// After returns the health after an attempt. Verdicts that say nothing about the receiver (interrupted,
// blocked) change nothing; VerdictGone suspends the URL at once and is the caller's to act on.
func (h Health) After(v Verdict, now time.Time) Health {
	switch v {
	case VerdictDelivered:
		return Health{}
	case VerdictRetry, VerdictExhausted, VerdictGone:
		if h.FailingSince.IsZero() {
			h.FailingSince = now
		}
		h.LastFailure = now
		if v == VerdictExhausted {
			h.Exhausted++
		}
	case VerdictInterrupted, VerdictBlocked:
	}
	return h
}

// Suspended reports whether calls to the receiver should stop: 20 events in a row exhausted, or failures over
// 5 days without a success between them.
func (h Health) Suspended() bool {
	return h.Exhausted >= SuspendExhausted || h.LastFailure.Sub(h.FailingSince) >= SuspendAfter
}
