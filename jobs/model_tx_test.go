//go:build !race

package jobs_test

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"exportd/jobs"
)

// op is a transition of jobs.Tx.
type op int

const (
	opNone op = iota
	opClaim
	opPin
	opPlan
	opRenew
	opSucceed
	opEndAttempt
	opClaimPart
	opRenewPart
	opCommitPart
	opEndPartAttempt
	opRefill
	opWake
	opWakePart
	opCleaned
	opDiscarded
	opCancel
	opDelete
	opRerun
	opRerunIn
	opVoid
	opInvalidate
	opLose
)

func (o op) String() string {
	return [...]string{"", "claim", "pin", "plan", "renew", "succeed", "end attempt", "claim part", "renew part", "commit part",
		"end part attempt", "refill", "wake", "wake part", "cleaned", "discarded", "cancel", "delete", "rerun", "rerun by the batch", "void", "invalidate", "lose"}[o]
}

// ofHolder lists the transitions that only the holder of a lease may make.
func (o op) ofHolder() bool {
	return slices.Contains([]op{opPin, opPlan, opRenew, opSucceed, opEndAttempt, opRenewPart, opCommitPart, opEndPartAttempt}, o)
}

func (o op) ofPart() bool {
	return slices.Contains([]op{opClaimPart, opRenewPart, opCommitPart, opEndPartAttempt, opWakePart}, o)
}

// outcome is what a transition gave to its caller.
type outcome struct {
	lease    jobs.Lease
	next     jobs.Next
	duty     jobs.Duty
	notify   bool
	notifies []int
}

// clock is the actor's: the rescuer's is ahead by as much as clocks may be apart.
func (m *model) clock(actor int, now int32) int32 {
	if actor == rescuer || actor == canceler && m.twice {
		now += int32(m.policy.Skew.Seconds())
	}
	return now
}

// begin reads what the transition needs.
func (m *model) begin(w *world, a *actor) {
	a.readJob, a.readAt, a.readPart = w.job, w.now, nil
	if a.op.ofPart() {
		a.readPart = w.parts.get(jobs.PartID(a.plan, a.part))
	}
}

var fails = []jobs.Class{jobs.Transient, jobs.Permanent, jobs.Stale, jobs.Interrupted}

// transition is what one call of a method of jobs.Tx came to.
type transition struct {
	err      error
	out      outcome
	job      *jobDoc
	changed  []*partDoc
	created  []*partDoc
	callback string
	settled  *jobs.BudgetDay
}

// call is all that a transition depends on.
type call struct {
	actor
	clock int32
	older bool     // the actor is of the older build
	parts *partSet // where other parts are read
}

// transit runs the transition under way on what was read, or remembers what it came to.
func (m *model) transit(w *world, who int, a *actor) *transition {
	key := call{actor: *a, clock: m.clock(who, a.readAt), older: m.older(who)}
	key.pc, key.msg, key.readAt = 0, message{}, 0
	if a.op == opCommitPart || a.op == opEndPartAttempt || a.op == opVoid || a.op == opDiscarded {
		key.parts = w.parts
	}
	t, ok := m.calls[key]
	if ok {
		return t
	}
	t = &transition{}
	m.calls[key] = t
	if a.readJob == nil {
		t.err = jobs.ErrNotFound
		return t
	}
	tx, out, err := m.run(w, who, a)
	if t.err = err; err != nil {
		return t
	}
	t.out, t.job = out, m.docs.job(*tx.Job)
	for _, p := range tx.ChangedParts() {
		t.changed = append(t.changed, m.docs.part(*p))
	}
	for _, p := range tx.NewParts {
		t.created = append(t.created, m.docs.part(*p))
	}
	if t.settled = tx.Settlement; tx.Callback != nil {
		t.callback = tx.Callback.ID
	}
	return t
}

func (m *model) run(w *world, who int, a *actor) (*jobs.Tx, outcome, error) {
	var out outcome
	job := a.readJob.Job
	policy := m.policy
	policy.Token = func() string {
		// The same for the same grant in whatever order things happen; epochs keep grants apart.
		if a.op == opClaimPart {
			return fmt.Sprintf("p%d.%d.%d", a.plan, a.part, a.readPart.Epoch)
		}
		return "j" + strconv.FormatInt(job.Epoch, 10)
	}
	if !m.older(who) || m.mutate.knowing {
		job.Schema = jobs.SchemaVersion
		defer func() { job.Schema = a.readJob.Schema }()
	}
	tx := jobs.NewTx(policy, at(m.clock(who, a.readAt)), "", &job, func(id string) (*jobs.Part, error) {
		p := w.parts.get(id)
		if a.readPart != nil && a.readPart.ID == id {
			p = a.readPart
		}
		if p == nil {
			return nil, jobs.ErrNotFound
		}
		part := p.Part
		return &part, nil
	})
	if m.mutate.before != nil {
		before := *a
		m.mutate.before(a.op, a, tx)
		defer func() { *a = before }()
	}
	var err error
	lease := jobs.Lease{Token: a.token}
	res := jobs.PartResult{Object: a.obj, Rows: rowsPerPart, Size: rowsPerPart}
	switch a.op {
	case opClaim:
		out.lease, err = tx.Claim("w")
	case opPin:
		err = tx.Pin(lease, at(a.readAt), int64(m.parts)*rowsPerPart)
	case opPlan:
		ranges := make([]jobs.Range, m.parts)
		for i := range ranges {
			ranges[i].Rows = rowsPerPart
		}
		err = tx.Plan(lease, at(a.readAt), ranges, 0)
	case opRenew:
		_, err = tx.Renew(lease, rowsPerPart/2, 1)
	case opSucceed:
		err = tx.Succeed(lease, m.result(a))
	case opEndAttempt:
		err = tx.EndAttempt(lease, m.failure(a))
	case opClaimPart:
		_, out.lease, err = tx.ClaimPart(a.plan, a.part, "w")
	case opRenewPart:
		_, err = tx.RenewPart(a.plan, a.part, lease, rowsPerPart/2, 1)
	case opCommitPart:
		out.next, err = tx.CommitPart(a.plan, a.part, lease, "w", res)
	case opEndPartAttempt:
		out.notify, err = tx.EndPartAttempt(a.plan, a.part, lease, m.failure(a))
	case opRefill:
		out.notifies, err = tx.Refill(a.list.indexes)
	case opWake:
		out.duty, err = tx.Wake()
	case opWakePart:
		out.notify, err = tx.WakePart(a.plan, a.part)
	case opCleaned:
		if err = jobs.ErrNotDue; tx.Job.Epoch == a.job.Epoch {
			err = tx.Cleaned()
		}
	case opDiscarded:
		var parts []*jobs.Part
		for _, p := range w.parts.docs {
			if p.PlanEpoch == a.job.PlanEpoch {
				parts = append(parts, &p.Part)
			}
		}
		if m.mutate.anyParts {
			parts = slices.Clone(parts)
			for i, p := range parts {
				once := *p
				once.Epoch, parts[i] = 1, &once
			}
		}
		err = tx.Discarded(a.job.Epoch, parts)
	case opCancel:
		err = tx.Cancel("")
	case opDelete:
		err = tx.Delete("")
	case opRerun:
		_, err = tx.Rerun(a.mode, "")
	case opRerunIn:
		err = tx.RerunIn(&jobs.Batch{ID: modelBatch, Mode: a.mode})
	case opVoid:
		err = tx.VoidPlan(a.plan, jobs.ErrInvalid)
	case opInvalidate:
		tx.Job.Damage = "spoilt"
		err = tx.Invalidate()
	case opLose:
		err = tx.LoseFile(a.obj)
	}
	if err == nil && m.mutate.after != nil {
		m.mutate.after(a.op, tx)
	}
	return tx, out, err
}

func (m *model) failure(a *actor) *jobs.Failure {
	return jobs.Fail(jobs.CodeUnavailable, fails[a.class], "", "", nil)
}

// apply writes what a transition changed, unless somebody else changed it since it was read.
func (m *model) apply(w *world, a *actor, t *transition) (ok bool) {
	writesJob := t.job != a.readJob
	if writesJob && w.job != a.readJob && !m.mutate.blind {
		return false
	}
	for _, p := range t.changed {
		if a.readPart == nil || a.readPart.ID != p.ID {
			m.fail("%s changes part %s, which is not its own", a.op, p.ID)
		}
		if now := w.parts.get(p.ID); now == nil || now != a.readPart && !m.mutate.blind {
			return false
		}
	}
	if writesJob || len(t.changed) > 0 {
		m.checkWrite(w, a, t, writesJob)
	}
	for _, p := range t.created {
		if w.parts.get(p.ID) != nil {
			m.fail("%s creates part %s, which exists", a.op, p.ID)
		}
		w.parts = m.docs.with(w.parts, p)
	}
	if t.callback != "" {
		if slices.Contains(strings.Fields(w.calls), t.callback) {
			m.fail("%s creates callback %s, which exists: it can never be committed", a.op, t.callback)
		}
		w.calls += t.callback + " "
	}
	if writesJob {
		w.job = t.job
		w.forfeited = w.forfeited || a.op == opInvalidate
	}
	if t.settled != nil {
		w.spent, w.settled = w.spent+t.settled.Rows, w.settled+1
	}
	for _, p := range t.changed {
		w.parts = m.docs.with(w.parts, p)
	}
	return true
}

// checkWrite judges a write by what it changes, not by what the transition itself checked.
func (m *model) checkWrite(w *world, a *actor, t *transition, writesJob bool) {
	was, now := &w.job.Job, at(w.now)
	if a.op.ofHolder() && !m.holds(w, a) {
		m.fail("%s was accepted from a lost lease %s", a.op, a.token)
	}
	if a.op == opWakePart && len(t.changed) > 0 {
		if p := w.parts.get(t.changed[0].ID); p.State == jobs.PartRunning && t.changed[0].State != jobs.PartRunning && now.Before(p.Lease.Until) {
			m.fail("the lease of part %d was taken before its end", a.part)
		}
	}
	if !writesJob {
		return
	}
	if a.op == opWake && was.State == jobs.Running && was.Lease.Token != "" && t.job.State != jobs.Running && now.Before(was.Lease.Until) {
		m.fail("the job's lease was taken before its end")
	}
	if t.job.State != was.State && !was.State.CanBecome(t.job.State) && a.op != opInvalidate {
		m.fail("%s moved the job from %s to %s", a.op, was.State, t.job.State)
	}
	if t.job.State == jobs.Succeeded && was.State == jobs.Running {
		if w.results++; w.results > 1 {
			m.fail("a second result was recorded in one run")
		}
	}
	if a.op == opRerun || a.op == opRerunIn {
		if !was.DeletedAt.IsZero() {
			m.fail("a job that its owner has deleted is run again")
		}
		w.results, w.shown = 0, 0
	}
}

// holds reports whether the documents as they are give the actor the right to write.
func (m *model) holds(w *world, a *actor) bool {
	j := &w.job.Job
	if !a.op.ofPart() {
		return j.State == jobs.Running && j.Lease.Token == a.token
	}
	p := w.parts.get(jobs.PartID(a.plan, a.part))
	if p.State != jobs.PartRunning || p.Lease.Token != a.token {
		return false
	}
	// The job's document is not written by a renewal, so that it may have ended meanwhile.
	return a.op != opCommitPart || j.State == jobs.Running && j.Phase == jobs.PhaseParts && j.PlanEpoch == a.plan
}

func notThere(err error) bool {
	return errors.Is(err, jobs.ErrNotFound) || errors.Is(err, jobs.ErrNotDue) || errors.Is(err, jobs.ErrTransition)
}
