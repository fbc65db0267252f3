package jobs

import (
	"fmt"
	"time"
)

// Claim takes a queued job whose time has come. The caller holds the returned lease, unless the job's plan is
// already in force (PhaseParts): then the lease is empty and the caller only refills the window of parts.
// ErrNotDue: nothing to do. A job for which its org has no place, or but one for those that have waited
// longer, stays queued; that is no error, as it is noted.
func (tx *Tx) Claim(worker string) (Lease, error) {
	if err := tx.check(); err != nil {
		return Lease{}, err
	}
	j := tx.Job
	if j.State != Queued || tx.waits(j.NotBefore) {
		return Lease{}, fmt.Errorf("job %s is %s: %w", j.ID, j.State, ErrNotDue)
	}
	if ok, err := tx.takePlace(); err != nil || !ok {
		return Lease{}, err
	}
	if err := tx.become(Running); err != nil {
		return Lease{}, err
	}
	j.Epoch++
	if !j.SameAttempt {
		j.Attempt++
	}
	j.SameAttempt = false
	j.NotBefore = time.Time{}
	if j.StartedAt.IsZero() {
		j.StartedAt = tx.Now
	}
	tx.event(EventClaimed, "", string(j.Phase), "")
	if j.Phase == PhaseParts {
		j.Lease = Lease{}
		j.WakeAt = tx.Now.Add(tx.Policy.NotifyAgain)
		return Lease{}, nil
	}
	j.Lease = tx.grant(worker)
	j.WakeAt = tx.leaseWake(j.Lease)
	return j.Lease, nil
}

// Renew prolongs the lease and notes progress, which never goes back. WakeAt stays: when it passes, the
// rescuer sees the lease and moves it behind, so that whoever stops renewing is found as soon as if each
// renewal had moved it, and no renewal changes an index.
func (tx *Tx) Renew(l Lease, rows, bytes int64) (Lease, error) {
	if err := tx.holds(l); err != nil {
		return Lease{}, err
	}
	j := tx.Job
	j.Lease.Until = tx.Now.Add(tx.Policy.LeaseFor)
	if rows > j.RowsDone {
		j.Interruptions = 0
	}
	j.RowsDone = max(j.RowsDone, rows)
	j.BytesDone = max(j.BytesDone, bytes)
	tx.noteSpent()
	return j.Lease, nil
}

// Pin stores the snapshot and the count made at it: all attempts of the run read that.
func (tx *Tx) Pin(l Lease, snapshot time.Time, rows int64) error {
	if err := tx.holds(l); err != nil {
		return err
	}
	j := tx.Job
	j.SnapshotTime, j.RowsTotal, j.Counted = snapshot.UTC(), rows, true
	tx.noteSpent()
	return nil
}

// Range is one part of a plan: a half-open stretch in the query's order and its rows.
type Range struct {
	From, To string
	Rows     int64
}

// Plan stores a plan of several parts and gives the job's lease up: from here on leases are on the parts. The
// caller notifies the first Window parts after the commit. A file that is a zip of sheets has sheetRows rows
// in each at most, and no part has more; else it is 0.
func (tx *Tx) Plan(l Lease, snapshot time.Time, ranges []Range, sheetRows int64) error {
	if err := tx.holds(l); err != nil {
		return err
	}
	j := tx.Job
	tx.addSpent()
	j.SnapshotTime, j.Counted = snapshot.UTC(), true
	j.PlanEpoch, j.Phase, j.Lease = j.Epoch, PhaseParts, Lease{}
	j.PartsTotal, j.PartsDone, j.NextPart, j.SheetRows = len(ranges), 0, min(tx.Policy.Window, len(ranges)), sheetRows
	// What an attempt with another plan reported is not what finished parts add up to.
	j.RowsFloor, j.RowsDone, j.BytesDone = max(j.RowsFloor, j.RowsDone), 0, 0
	j.RowsTotal = 0
	for i, r := range ranges {
		j.RowsTotal += r.Rows
		tx.NewParts = append(tx.NewParts, &Part{
			ID: PartID(j.PlanEpoch, i), Schema: OldestSchema, JobID: j.ID, OrgID: j.OrgID, PlanEpoch: j.PlanEpoch,
			Index: i, From: r.From, To: r.To, Rows: r.Rows, State: PartPending, Shard: PartShard(j.ID, i),
			LapsesAt: tx.Policy.LapsesAt(tx.Now),
		})
	}
	j.WakeAt = tx.Now.Add(tx.Policy.NotifyAgain)
	tx.event(EventPlanned, "", fmt.Sprintf("%d rows in %d parts", j.RowsTotal, len(ranges)), "")
	return nil
}
