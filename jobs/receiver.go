package jobs

import "time"

// What is remembered of an address that nobody calls any more ends at some time: callers choose addresses,
// and a new one for each request would fill the collection for good.
const (
	// receiverLife after the last failure is ten times as long as a callback is tried, and six times the
	// failures that suspend: whoever fails that seldom begins anew.
	receiverLife = 30 * 24 * time.Hour
	// suspendedLife after the last failure, a suspension is over. If the address still fails, it is suspended
	// again: a URL that answers 410 at the first try.
	suspendedLife = 180 * 24 * time.Hour
)

// Receiver is what is remembered of a destination of callbacks that fails. There is no document for one that
// works, so there are few.
type Receiver struct {
	OrgID string `firestore:"orgId"`
	// Address is an origin (scheme, host and port), or a whole URL that answered 410. A URL's query may hold
	// a token: not for logs.
	Address string `firestore:"address"`
	// Origin is that of Address.
	Origin string `firestore:"origin"`

	Exhausted    int       `firestore:"exhausted"`    // deliveries given up in a row
	FailingSince time.Time `firestore:"failingSince"` // first failure since the last success
	LastFailure  time.Time `firestore:"lastFailure"`

	Suspended   bool      `firestore:"suspended"`
	SuspendedAt time.Time `firestore:"suspendedAt,omitempty"`
	Why         string    `firestore:"why,omitempty"`
	// ExpiresAt is for Firestore's TTL policy, and for PurgePointers where there is none. Either may be late
	// by days: one that has expired is read as nothing.
	ExpiresAt time.Time `firestore:"expiresAt"`
	Rev       string    `firestore:"rev"`
}

// Expired is whether its time is over; false for documents of an earlier version, which have no ExpiresAt:
// their next failure gives them one.
func (r *Receiver) Expired(now time.Time) bool {
	return !r.ExpiresAt.IsZero() && !now.Before(r.ExpiresAt)
}

// Expiry is when its time is over.
func (r *Receiver) Expiry() time.Time {
	if r.Suspended {
		return r.LastFailure.Add(suspendedLife)
	}
	return r.LastFailure.Add(receiverLife)
}

// maxWhy is more than any reason that is written has.
const maxWhy = 200

// Check says what is wrong with a document, "" if nothing is.
func (r *Receiver) Check(now time.Time) string {
	c := NewChecks(now)
	c.That(ValidOrg(r.OrgID), "orgId is none")
	c.That(r.Address != "" && r.Origin == OriginOf(r.Address), "origin is not that of the address")
	c.That(r.Exhausted >= 0 && r.Exhausted <= 1_000_000, "exhausted is none")
	c.That(!r.FailingSince.IsZero() || r.Suspended, "it neither fails nor is suspended")
	c.Happened("failingSince", r.FailingSince)
	c.Happened("lastFailure", r.LastFailure)
	c.Happened("suspendedAt", r.SuspendedAt)
	c.That(r.Suspended == !r.SuspendedAt.IsZero(), "suspended and suspendedAt contradict each other")
	c.That(len(r.Why) <= maxWhy, "why is too long")
	c.Text("rev", r.Rev)
	// No ExpiresAt is of an earlier version; the lives may have been others in it.
	c.That(r.ExpiresAt.IsZero() || r.ExpiresAt.Sub(now) <= 2*suspendedLife, "expiresAt is further off than any life")
	return c.What()
}
