package jobs

import (
	"slices"
	"time"
)

// Checks are those of this package for documents that another one keeps: it gathers the first thing that is
// wrong.
type Checks struct{ c checks }

// NewChecks begins the checks of a document that is read at now.
func NewChecks(now time.Time) *Checks { return &Checks{checks{now: now}} }

// What is the first thing that was wrong, "" if nothing was.
func (c *Checks) What() string { return c.c.what }

// That notes what, unless ok.
func (c *Checks) That(ok bool, what string) { c.c.that(ok, "%s", what) }

// Text refuses one that is longer than any that is written.
func (c *Checks) Text(name, s string) { c.c.text(name, s, maxText) }

// Count refuses a number that nothing counts up to.
func (c *Checks) Count(name string, n int64) { c.c.count(name, n) }

// Happened refuses a time that cannot have been; zero is what has not happened.
func (c *Checks) Happened(name string, t time.Time) { c.c.happened(name, t) }

// Check says what is wrong with a line of a timeline, as an ErrInvalid; nil if it is whole.
func (e *Event) Check(now time.Time) error {
	c := &checks{now: now}
	c.that(!e.At.IsZero(), "at is missing")
	c.happened("at", e.At)
	c.that(slices.Contains(eventTypes, e.Type), "type is none")
	c.small("attempt", e.Attempt)
	c.that(e.Part >= -1 && e.Part < MaxParts, "part is %d", e.Part)
	c.that(e.Code == "" || validCode(e.Code), "code is none")
	for name, s := range map[string]string{"actor": e.Actor, "message": e.Message, "reason": e.Reason} {
		c.text(name, s, maxText+100) // who writes a job's error into a line adds to it
	}
	return c.err("event", "")
}

// Check says what is wrong with the document of a place, as an ErrInvalid; nil if it is whole.
func (p *Place) Check(policy Policy, now time.Time) error {
	c := &checks{now: now}
	c.that(p.Schema == PlaceSchema, "schema is %d", p.Schema)
	c.that(p.Shard == NewPlace(p.OrgID, p.Number).Shard, "shard is %d", p.Shard)
	c.that(p.JobID == "" || ValidID(p.JobID), "jobId is none")
	c.that(p.Turn >= 0 && p.Turn <= maxCount, "turn is %d", p.Turn)
	c.text("rev", p.Rev, maxText)
	c.that(p.WakeAt.IsZero() || !p.WakeAt.After(now.Add(placeCheck+policy.NotifyAgain+policy.Skew)), "wakeAt is %s", p.WakeAt.Format(time.RFC3339))
	return c.err("place", "")
}
