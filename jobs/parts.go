package jobs

import (
	"fmt"
	"time"
)

// ClaimPart takes a pending part of the plan in force. ErrNotDue: somebody else has it, it is done, or the
// job no longer needs it.
func (tx *Tx) ClaimPart(planEpoch int64, index int, worker string) (*Part, Lease, error) {
	if err := tx.check(); err != nil {
		return nil, Lease{}, err
	}
	j := tx.Job
	if j.State != Running || j.Phase != PhaseParts || j.PlanEpoch != planEpoch || index < 0 || index >= j.PartsTotal {
		return nil, Lease{}, fmt.Errorf("part %d of job %s: %w", index, j.ID, ErrNotDue)
	}
	p, err := tx.part(index)
	if err != nil {
		return nil, Lease{}, err
	}
	if p.State != PartPending || tx.waits(p.NotBefore) {
		return nil, Lease{}, fmt.Errorf("part %d of job %s is %s: %w", index, j.ID, p.State, ErrNotDue)
	}
	tx.addPartSpent(p) // of a holder that nobody has heard of since
	p.State, p.Lease, p.JobEpoch, p.Begun = PartRunning, tx.grant(worker), j.Epoch, true
	p.Epoch++
	p.Attempt++
	p.NotBefore = time.Time{}
	p.WakeAt = tx.leaseWake(p.Lease)
	tx.touch(p)
	return p, p.Lease, nil
}

// holdsPart refuses whoever does not hold the lease of a part of the plan in force.
func (tx *Tx) holdsPart(planEpoch int64, index int, l Lease) (*Part, error) {
	if err := tx.check(); err != nil {
		return nil, err
	}
	j := tx.Job
	if j.State != Running || j.Phase != PhaseParts || j.PlanEpoch != planEpoch {
		return nil, fmt.Errorf("part %d of job %s (%s): %w", index, j.ID, j.State, ErrLeaseLost)
	}
	p, err := tx.part(index)
	if err != nil {
		return nil, err
	}
	if p.State != PartRunning || l.Token == "" || p.Lease.Token != l.Token {
		return nil, fmt.Errorf("part %d of job %s: %w", index, j.ID, ErrLeaseLost)
	}
	return p, nil
}

// RenewPart prolongs a part's lease and notes its progress, which never goes back. As Renew, it leaves
// WakeAt.
func (tx *Tx) RenewPart(planEpoch int64, index int, l Lease, rows, bytes int64) (Lease, error) {
	p, err := tx.holdsPart(planEpoch, index, l)
	if err != nil {
		return Lease{}, err
	}
	p.Lease.Until = tx.Now.Add(tx.Policy.LeaseFor)
	if rows > p.RowsDone {
		p.Interruptions = 0
	}
	p.RowsDone, p.BytesDone = max(p.RowsDone, rows), max(p.BytesDone, bytes)
	tx.notePartSpent(p)
	tx.touch(p)
	return p.Lease, nil
}

// PartResult is the object that a part's holder wrote.
type PartResult struct {
	Object  string
	Rows    int64
	Size    int64
	CRC32C  uint32
	Guarded int64
	Rescued int64
	// GuardedBy is Guarded by columns.
	GuardedBy *GuardedBy
	// Plain and Digest are as those of Part.
	Plain  *Plain
	Digest *Digest
}

// Next is what the committer of a part does after its transaction.
type Next struct {
	// Notify is the index of the part whose message to publish, -1 for none.
	Notify int
	// Finalize: this was the last part; the committer holds Lease on the job now.
	Finalize bool
	Lease    Lease
}

// CommitPart makes the part's object part of the job. A part of the wrong length is a permanent Failure
// (COUNT_MISMATCH), never a short file.
func (tx *Tx) CommitPart(planEpoch int64, index int, l Lease, worker string, r PartResult) (Next, error) {
	p, err := tx.holdsPart(planEpoch, index, l)
	if err != nil {
		return Next{}, err
	}
	if r.Rows != p.Rows {
		return Next{}, Fail(CodeCountMismatch, Permanent,
			fmt.Sprintf("part %d was counted at %d rows and has %d", index, p.Rows, r.Rows),
			"report this: rows of one snapshot must not differ; rerun with mode fresh", nil)
	}
	p.State, p.Lease, p.WakeAt, p.LastError = PartDone, Lease{}, time.Time{}, nil
	p.Object, p.Size, p.CRC32C, p.Guarded, p.GuardedBy, p.Rescued = r.Object, r.Size, r.CRC32C, r.Guarded, r.GuardedBy, r.Rescued
	p.Plain, p.Digest = r.Plain, r.Digest
	p.Begun, p.RowsDone, p.BytesDone = false, 0, 0
	tx.addPartSpent(p)
	tx.countPartSpent(p)
	tx.touch(p)

	j := tx.Job
	j.PartsDone++
	j.RowsDone, j.BytesDone, j.Interruptions = j.RowsDone+r.Rows, j.BytesDone+r.Size, 0
	if j.PartsDone == j.PartsTotal {
		j.Phase, j.Epoch = PhaseFinalize, j.Epoch+1
		j.Lease = tx.grant(worker)
		j.WakeAt = tx.leaseWake(j.Lease)
		return Next{Notify: -1, Finalize: true, Lease: j.Lease}, nil
	}
	return Next{Notify: tx.advance()}, nil
}

// advance moves the window by one part: none from NextPart on has ever been notified, so none is done.
// Returns its index, -1 at the end of the plan.
func (tx *Tx) advance() int {
	j := tx.Job
	if j.NextPart >= j.PartsTotal {
		return -1
	}
	j.NextPart++
	return j.NextPart - 1
}

// EndPartAttempt records how an attempt on a part ended that did not succeed. What no attempt at the part can
// mend ends or restarts the job. It returns whether the part is to be notified again right away.
func (tx *Tx) EndPartAttempt(planEpoch int64, index int, l Lease, f *Failure) (notify bool, err error) {
	p, err := tx.holdsPart(planEpoch, index, l)
	if err != nil {
		return false, err
	}
	tx.addPartSpent(p)
	if f.Class == Permanent || f.Class == Stale || f.Class == Transient && p.Attempt >= tx.Policy.MaxAttempts {
		// The failure is the job's: the part stays as it is, a rerun may resume it.
		p.State, p.Lease, p.WakeAt = PartPending, Lease{}, time.Time{}
		p.LastError = &JobError{Code: f.Code, Message: f.Message}
		tx.countPartSpent(p)
		tx.touch(p)
		tx.partEvent(EventPartRetry, p, f)
		if f.Class == Transient {
			return false, tx.inPart(index, tx.fail(f))
		}
		return false, tx.inPart(index, tx.endAttempt(f))
	}
	if f.Class == Interrupted {
		return tx.interruptPart(p)
	}
	p.State, p.Lease = PartPending, Lease{}
	p.NotBefore = tx.Now.Add(tx.Policy.Backoff(p.Attempt))
	p.WakeAt = p.NotBefore
	p.LastError = &JobError{Code: f.Code, Message: f.Message, Retryable: true}
	tx.touch(p)
	tx.partEvent(EventPartRetry, p, f)
	return false, nil
}

// interruptPart puts a part back without spending the attempt and says whether to notify it.
func (tx *Tx) interruptPart(p *Part) (notify bool, err error) {
	p.State, p.Lease, p.NotBefore = PartPending, Lease{}, time.Time{}
	p.Attempt-- // the claim counted it; an interruption does not spend it
	p.Interruptions++
	p.WakeAt = tx.Now.Add(tx.Policy.NotifyAgain)
	tx.addPartSpent(p)
	tx.touch(p)
	tx.partEvent(EventInterrupted, p, nil)
	if n := p.Interruptions; n > tx.Policy.MaxInterruptions {
		p.WakeAt = time.Time{}
		tx.countPartSpent(p)
		return false, tx.inPart(p.Index, tx.fail(Fail(CodeInterrupted, Permanent,
			fmt.Sprintf("part %d was interrupted %d times in a row", p.Index, n),
			"find out what kills the workers while they hold this part (memory?), then rerun the job", nil)))
	}
	return true, nil
}

// inPart notes in which part a job failed, if it did.
func (tx *Tx) inPart(index int, err error) error {
	if err == nil && tx.Job.State == Failed {
		tx.Job.Error.Part = &index
	}
	return err
}

func (tx *Tx) partEvent(t EventType, p *Part, f *Failure) {
	e := Event{At: tx.Now, Type: t, Actor: tx.Actor, Attempt: tx.Job.Attempt, Part: p.Index, LapsesAt: tx.Policy.LapsesAt(tx.Now)}
	if f != nil {
		e.Code, e.Message = f.Code, f.Message
	}
	tx.Events = append(tx.Events, e)
}

// Refill opens the window over a plan that is in force again after a rerun or rescue: unfinished are the
// indexes of the parts that are not done, ascending. The caller notifies what is returned.
func (tx *Tx) Refill(unfinished []int) ([]int, error) {
	if err := tx.check(); err != nil {
		return nil, err
	}
	j := tx.Job
	if j.State != Running || j.Phase != PhaseParts {
		return nil, fmt.Errorf("job %s (%s): %w", j.ID, j.State, ErrNotDue)
	}
	if len(unfinished) == 0 {
		// The commit of the last part would have ended the phase: PartsDone is not what was done.
		return nil, tx.VoidPlan(j.PlanEpoch, fmt.Errorf("all parts are done, partsDone is %d of %d: %w", j.PartsDone, j.PartsTotal, ErrInvalid))
	}
	notify := unfinished[:min(len(unfinished), tx.Policy.Window)]
	j.NextPart = max(j.NextPart, notify[len(notify)-1]+1)
	return notify, nil // WakeAt is ahead, by the claim or wake that led here
}
