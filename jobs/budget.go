package jobs

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"
)

// Budget is what the exports of a key may come to in a day of UTC; 0 is without limit.
type Budget struct {
	Rows, Reads int64
}

// BudgetRequest is what a new job of a key with a budget asks of it. Before its export was counted, it asks
// for nothing, and no job is made: ErrUncounted.
type BudgetRequest struct {
	Budget
	Counted           bool
	AskRows, AskReads int64
}

// Reservation is what a job has reserved of its key's day, until its first run has ended.
type Reservation struct {
	Day   time.Time `firestore:"day"`
	Rows  int64     `firestore:"rows"`
	Reads int64     `firestore:"reads"`
	// Settled: the first run has ended and the day was told what it came to. Later runs are an operator's.
	Settled bool `firestore:"settled"`
}

// BudgetDay is what a key has spent of its budget in a day, what is reserved included.
type BudgetDay struct {
	KeyID string    `firestore:"keyId"`
	Day   time.Time `firestore:"day"`
	Rows  int64     `firestore:"rows"`
	Reads int64     `firestore:"reads"`
	// ExpiresAt is for Firestore's TTL policy.
	ExpiresAt time.Time `firestore:"expiresAt"`
	// Now is when it was read, by the clock whose day it is: the store's, which all processes share.
	Now time.Time `firestore:"-"`
}

// budgetLife is for how long a day is kept: another after its own, for clocks that differ.
const budgetLife = 2 * 24 * time.Hour

// NewBudgetDay is the day of now, of which nothing is spent.
func NewBudgetDay(keyID string, now time.Time) BudgetDay {
	day := now.UTC().Truncate(24 * time.Hour)
	return BudgetDay{KeyID: keyID, Day: day, ExpiresAt: day.Add(budgetLife), Now: now}
}

// ID is the document's.
func (d BudgetDay) ID() string {
	sum := sha256.Sum256([]byte(d.KeyID))
	return hex.EncodeToString(sum[:16]) + "-" + d.Day.UTC().Format("20060102")
}

// RenewsAt is when the next day begins.
func (d BudgetDay) RenewsAt() time.Time { return d.Day.Add(24 * time.Hour) }

// RenewsIn is how long that is from when the day was read.
func (d BudgetDay) RenewsIn() time.Duration { return d.RenewsAt().Sub(d.Now) }

// Left is what is left of a budget; of what has no limit 0.
func (d BudgetDay) Left(b Budget) Budget {
	left := func(limit, spent int64) int64 { return max(0, limit-max(0, spent)) }
	return Budget{left(b.Rows, d.Rows), left(b.Reads, d.Reads)}
}

// Check says what is wrong with a day's document.
func (d BudgetDay) Check(want BudgetDay) error {
	c := &checks{now: want.Day}
	c.that(d.KeyID == want.KeyID && d.Day.Equal(want.Day), "keyId and day are not those of its id")
	c.that(!d.ExpiresAt.IsZero(), "expiresAt is missing")
	for name, n := range map[string]int64{"rows": d.Rows, "reads": d.Reads} {
		c.that(n >= -maxCount && n <= maxCount, "%s is %d", name, n)
	}
	return c.err("budget", want.ID())
}

// Reserve gives the day as it is with what r asks for, and what the job is to remember. ErrUncounted, or a
// *BudgetError.
func (d BudgetDay) Reserve(r BudgetRequest) (BudgetDay, *Reservation, error) {
	left := d.Left(r.Budget)
	// Of nothing an export without rows is refused, too: nobody counts any more that it is one.
	over := func(limit, left, ask int64) bool { return limit > 0 && (left == 0 || ask > left) }
	if over(r.Rows, left.Rows, r.AskRows) || over(r.Reads, left.Reads, r.AskReads) {
		return d, nil, &BudgetError{Request: r, Day: d}
	}
	if !r.Counted {
		return d, nil, fmt.Errorf("budget of key %s: %w", d.KeyID, ErrUncounted)
	}
	rows, reads := min(max(0, r.AskRows), maxCount), min(max(0, r.AskReads), maxCount)
	// Less than nothing is spent where a day was damaged, and settled after: that is nobody's to spend.
	d.Rows, d.Reads = max(0, d.Rows)+rows, max(0, d.Reads)+reads
	return d, &Reservation{Day: d.Day, Rows: rows, Reads: reads}, nil
}

// Reserve has a new job reserve what r asks for of its key's day, and gives the day as it is then.
func (j *Job) Reserve(day BudgetDay, r BudgetRequest) (after BudgetDay, err error) {
	after, j.Budget, err = day.Reserve(r)
	return after, err
}

// BudgetError refuses a Submission: its export is more than is left of its key's day.
type BudgetError struct {
	Request BudgetRequest
	Day     BudgetDay
}

// Error says what is used up.
func (e *BudgetError) Error() string { return "the export is more than is left of the key's budget" }

// Left is what is left of the day.
func (e *BudgetError) Left() Budget { return e.Day.Left(e.Request.Budget) }

// Whole reports whether the export is more than a whole day's budget, so that waiting does not help.
func (e *BudgetError) Whole() bool {
	r := e.Request
	return r.Rows > 0 && r.AskRows > r.Rows || r.Reads > 0 && r.AskReads > r.Reads
}

// settle has the day know what the run came to: once, in the commit that ends it. Rows count that were
// delivered. Reads are those that were reserved, and as many more or fewer as the snapshot has rows more or
// fewer than were counted before; a run that ended without a file may have read all of them, one that has not
// got as far as its snapshot none. A day that is no longer kept is left as it is: not one that is over by the
// clock of this process alone.
func (tx *Tx) settle() {
	j := tx.Job
	if j.Budget == nil || j.Budget.Settled {
		return
	}
	was := *j.Budget
	rows, reads := int64(0), was.Reads
	switch {
	case j.State == Succeeded:
		rows, reads = j.Result.FileRows(), max(0, was.Reads+j.Result.Rows-was.Rows)
	case !j.Counted && j.SnapshotRestarts == 0:
		reads = 0
	}
	day := NewBudgetDay(j.KeyID, was.Day)
	day.Rows, day.Reads = rows-was.Rows, reads-was.Reads
	j.Budget = was.over()
	if (day.Rows != 0 || day.Reads != 0) && tx.Now.Before(day.ExpiresAt) {
		tx.Settlement = &day
	}
}

// over is the reservation of a run that has ended: another value, as the one before may be what another
// holds.
func (r Reservation) over() *Reservation {
	r.Settled = true
	return &r
}

// forfeited is the reservation of a damaged job, of which nothing is given back: how much it was is not to be
// believed. Nil for one that makes no sense.
func (r *Reservation) forfeited(now time.Time) *Reservation {
	c := &checks{now: now}
	if r.check(c); r == nil || c.what != "" {
		return nil
	}
	return r.over()
}

// check is about what a job remembers of its reservation.
func (r *Reservation) check(c *checks) {
	if r == nil {
		return
	}
	c.count("budget.rows", r.Rows)
	c.count("budget.reads", r.Reads)
	c.that(!r.Day.IsZero() && r.Day.Equal(r.Day.Truncate(24*time.Hour)), "budget.day is none")
	c.happened("budget.day", r.Day)
}
