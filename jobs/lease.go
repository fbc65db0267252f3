package jobs

import (
	"crypto/rand"
	"strings"
	"time"
)

// Held reports whether a lease that grants give for ttl at a time is still its holder's at now. It is not
// once it has run out by more than clocks may differ, and never was if until is further off than a grant by a
// clock that is ahead by skew: whoever wrote that had a clock that cannot be right, or was no worker. Without
// the second bound a lease until 2200 would stop the rescue of what it is for until 2200. Taking it from a
// holder that lives after all costs an interruption: its writes are refused by the token, as after any lost
// lease.
func Held(until, now time.Time, ttl, skew time.Duration) bool {
	return !now.After(until.Add(skew)) && !until.After(now.Add(ttl+skew))
}

// Lease is the right to work on a job or part until Until. Token is random, made by the claim; whoever has
// another token has no right.
type Lease struct {
	Token string    `firestore:"token,omitempty"`
	Owner string    `firestore:"owner,omitempty"` // worker id, for people
	Until time.Time `firestore:"until,omitempty"`
}

// NewToken makes a lease token.
func NewToken() string { return strings.ToLower(rand.Text()) }
