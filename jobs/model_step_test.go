//go:build !race

package jobs_test

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"exportd/jobs"
)

// pc is where an actor is in its program, which is that of package worker step by step.
type pc int

const (
	pcIdle         pc = iota
	pcRead            // about to read for op
	pcCommit          // has read for op, about to commit
	pcWrite           // about to write its object
	pcList            // about to list the parts to compose
	pcCompose         // about to compose them
	pcCompare         // has all rows in an object, about to compare them
	pcTell            // about to write what has changed
	pcDiscard         // has succeeded, about to delete the parts' objects
	pcDrop            // has lost its lease, about to delete its objects
	pcNotify          // about to publish what list says
	pcOpen            // about to list unfinished parts to refill the window
	pcSweepList       // about to list objects to sweep
	pcSweepDelete     // about to delete them
	pcPurge           // about to sweep before the purge
	pcPurgeParts      // about to delete the part records
	pcPurgeJob        // about to delete the job's record
	pcBatchLook       // holds a batch that is a canary, about to look how its jobs are
	pcBatchProceed    // has looked, about to go on
	pcBatchList       // holds the batch, about to list its page
	pcBatchNotify     // the batch has run the job again, about to notify for it
	pcBatchAdvance    // about to note the page
)

type emit func(label string, n *world)

// next emits every state that can come right after w.
func (m *model) next(w *world, out emit) {
	for i := range w.actors {
		m.step(w, i, out)
		if w.left[crash] > 0 && w.actors[i].pc != pcIdle {
			n := *w
			n.left[crash]--
			if msg := n.actors[i].msg; msg.present { // not acknowledged: it comes again
				n.bag = m.docs.publish(n.bag, msg)
			}
			n.actors[i] = actor{}
			out(name(i)+" crashes", &n)
		}
	}
	for i, msg := range w.bag.all {
		if i > 0 && w.bag.all[i-1] == msg {
			continue
		}
		if w.left[lose] > 0 {
			n := *w
			n.left[lose]--
			n.bag = m.docs.take(n.bag, i)
			out(fmt.Sprintf("message %v is lost", msg), &n)
		}
		if w.left[double] > 0 {
			n := *w
			n.left[double]--
			n.bag = m.docs.publish(n.bag, msg)
			out(fmt.Sprintf("message %v is doubled", msg), &n)
		}
	}
	m.pass(w, out)
}

func name(i int) string {
	return [...]string{"worker 1", "worker 2", "rescuer", "canceler", "operator"}[i]
}

// pass lets time go on to the next wakeAt: for free when there is nothing to do before, else out of the
// budget, up to the day when file or record go.
func (m *model) pass(w *world, out emit) {
	if w.job == nil && w.batch == nil {
		return
	}
	clock := at(m.clock(rescuer, w.now))
	due, target := false, time.Time{}
	look := func(t time.Time) {
		switch {
		case t.IsZero():
		case !t.After(clock):
			due = true
		case target.IsZero() || t.Before(target):
			target = t
		}
	}
	if w.job != nil {
		look(w.job.WakeAt)
	}
	if w.batch != nil {
		look(w.batch.WakeAt)
	}
	for _, p := range w.parts.docs {
		look(p.WakeAt)
	}
	if target.IsZero() {
		return
	}
	n := *w
	if due || len(w.bag.all) > 0 || !m.quiet(w) {
		if w.left[jump] == 0 || w.job != nil && w.job.State.Ended() && !w.job.Cleanup && w.batch == nil {
			return
		}
		n.left[jump]--
	}
	n.now += int32((target.Sub(clock) + time.Second - 1) / time.Second)
	out(fmt.Sprintf("time passes to %d s", n.now), &n)
}

// step emits what actor i can do.
func (m *model) step(w *world, i int, out emit) {
	a := &w.actors[i]
	switch a.pc {
	case pcIdle:
		m.idle(w, i, out)
	case pcRead:
		n := *w
		m.read(&n, i)
		out(name(i)+" reads for "+a.op.String(), &n)
	case pcCommit:
		m.commit(w, i, out)
	default:
		n := *w
		label := m.act(&n, i)
		out(name(i)+" "+label, &n)
		m.trouble(w, i, out)
	}
	if a.token != "" && w.left[renew] > 0 && slices.Contains([]pc{pcRead, pcCommit, pcWrite, pcList, pcCompose, pcCompare, pcTell}, a.pc) && a.op != opEndAttempt && a.op != opEndPartAttempt {
		m.heartbeat(w, i, out)
	}
}

// idle emits how an idle actor can begin something.
func (m *model) idle(w *world, i int, out emit) {
	begin := func(label string, n *world, a actor) {
		n.actors[i] = a
		m.begin(n, &n.actors[i])
		if t := m.transit(n, i, &n.actors[i]); t.err != nil {
			m.refused(n, i, t.err)
		} else {
			n.actors[i].pc = pcCommit
		}
		out(name(i)+" "+label, n)
	}
	if m.works(i) {
		m.batchIdle(w, i, out)
	}
	if m.foreign(w, i) && !m.mutate.knowing {
		return
	}
	n := *w
	switch {
	case i <= worker2:
		for k, msg := range w.bag.all {
			if k > 0 && w.bag.all[k-1] == msg {
				continue
			}
			n := *w
			n.bag = m.docs.take(n.bag, k)
			if msg.plan == 0 {
				begin("takes the job's message", &n, actor{op: opClaim, msg: msg})
			} else {
				begin("takes message of part "+strconv.Itoa(msg.part), &n, actor{op: opClaimPart, msg: msg, plan: msg.plan, part: msg.part})
			}
		}
	case w.job == nil:
	case (i == rescuer || i == canceler && m.twice) && !m.mutate.deaf:
		clock := at(m.clock(rescuer, w.now))
		if !clock.Before(w.job.WakeAt) && w.job.Shard == shardOf(&w.job.Job) {
			begin("finds the job due", &n, actor{op: opWake})
		}
		for _, p := range w.parts.docs {
			if !p.WakeAt.IsZero() && !clock.Before(p.WakeAt) {
				n := *w
				begin("finds part "+p.ID+" due", &n, actor{op: opWakePart, plan: p.PlanEpoch, part: p.Index})
			}
		}
		if j := w.job; w.left[void] > 0 && j.State == jobs.Running && j.Phase == jobs.PhaseParts {
			n := *w
			n.left[void]--
			begin("finds the plan damaged", &n, actor{op: opVoid, plan: j.PlanEpoch})
		}
		if w.left[spoil] > 0 {
			n := *w
			n.left[spoil]--
			begin("finds the job damaged", &n, actor{op: opInvalidate})
		}
	case i == canceler && w.left[cancel] > 0 && !w.job.State.Ended():
		n.left[cancel]--
		begin("cancels", &n, actor{op: opCancel})
	case i == canceler && w.left[remove] > 0 && w.job.DeletedAt.IsZero():
		n.left[remove]--
		begin("deletes", &n, actor{op: opDelete})
	case i == canceler && w.left[vanish] > 0 && w.job.State == jobs.Succeeded:
		n.left[vanish]--
		n.gone = w.job.Result.Object
		n.objects = m.docs.delete(n.objects, n.gone)
		begin("misses the file, which somebody deleted", &n, actor{op: opLose, obj: n.gone})
	case i == operator && w.left[rerun] > 0 && w.job.State.CanBecome(jobs.Queued) && w.job.State.Ended() && w.job.DeletedAt.IsZero():
		n.left[rerun]--
		begin("reruns", &n, actor{op: opRerun, mode: m.mode()})
	}
}

// read begins the transition under way of actor i.
func (m *model) read(n *world, i int) {
	a := &n.actors[i]
	m.begin(n, a)
	if t := m.transit(n, i, a); t.err != nil {
		m.refused(n, i, t.err)
		return
	}
	a.pc = pcCommit
}

func (m *model) commit(w *world, i int, out emit) {
	label := name(i) + " commits " + w.actors[i].op.String()
	n := *w
	a := &n.actors[i]
	t := m.transit(&n, i, a)
	switch {
	case t.err != nil:
		m.refused(&n, i, t.err)
		out(label+": "+t.err.Error(), &n)
		return
	case w.job == nil || !m.apply(&n, a, t):
		a.pc = pcRead
		out(label+": conflict", &n)
		return
	}
	if w.left[unsure] > 0 && (n.job != w.job || n.parts != w.parts) {
		applied, not := n, *w
		for _, v := range []*world{&applied, &not} {
			v.left[unsure]--
			m.refused(v, i, jobs.ErrUnavailable)
		}
		out(label+", applied, answer lost", &applied)
		out(label+", not applied", &not)
	}
	m.checkBuild(w, &n, i, a.readJob)
	if n.job != w.job {
		m.commitLater(w, i, t, out)
	}
	m.done(&n, i, t)
	out(label, &n)
	if a.op == opPin {
		// The worker notes the snapshot while it writes the file: either may be done first.
		a.pc = pcWrite
		out(label+", is to write first", &n)
	}
}

// done says what actor i does after its transition has committed.
func (m *model) done(n *world, i int, t *transition) {
	was := n.actors[i]
	job, res := t.job, t.out
	a := &n.actors[i]
	*a = actor{}
	notify := func(plan int64, indexes ...int) {
		if len(indexes) > 0 {
			*a = actor{pc: pcNotify, plan: plan, list: m.docs.list(list{indexes: indexes})}
		}
	}
	switch was.op {
	case opClaim:
		*a = actor{pc: pcRead, op: opPlan, job: job, token: res.lease.Token}
		switch {
		case res.lease.Token == "":
			*a = actor{pc: pcOpen, job: job}
		case job.Phase == jobs.PhaseFinalize:
			a.pc, a.op = pcList, opNone
		case m.parts == 1:
			a.op = opPin
		}
	case opPin:
		*a = actor{pc: pcWrite, job: job, token: was.token}
		if was.obj != "" {
			a.obj = was.obj
			m.written(a)
		}
	case opPlan:
		var first []int
		for k := range job.NextPart {
			first = append(first, k)
		}
		notify(job.PlanEpoch, first...)
	case opSucceed:
		if was.list != nil {
			*a = actor{pc: pcDiscard, list: was.list, job: job}
		}
	case opEndAttempt:
		if job.State == jobs.Queued && !at(n.now).Before(job.NotBefore) {
			notify(0, -1)
		}
	case opClaimPart:
		*a = actor{pc: pcWrite, job: job, token: res.lease.Token, plan: was.plan, part: was.part}
	case opCommitPart:
		if res.next.Finalize {
			*a = actor{pc: pcList, job: job, token: res.next.Lease.Token}
		} else if res.next.Notify >= 0 {
			notify(was.plan, res.next.Notify)
		}
	case opEndPartAttempt, opWakePart:
		if res.notify {
			notify(was.plan, was.part)
		} else if was.op == opEndPartAttempt && job.State == jobs.Queued {
			notify(0, -1)
		}
	case opRefill:
		notify(job.PlanEpoch, res.notifies...)
	case opWake:
		switch res.duty {
		case jobs.NotifyJob:
			notify(0, -1)
		case jobs.RefillParts:
			*a = actor{pc: pcOpen, job: job}
		case jobs.Sweep:
			*a = actor{pc: pcSweepList, job: job}
		case jobs.Purge:
			*a = actor{pc: pcPurge, job: job}
		}
	case opRerun:
		notify(0, -1)
	case opRerunIn:
		n.batched++
		*a = actor{pc: pcBatchNotify, job: was.job}
	}
}

// refused says what actor i does when its transition could not be made or its answer was lost.
func (m *model) refused(n *world, i int, err error) {
	was := n.actors[i]
	a := &n.actors[i]
	*a = actor{}
	away := errors.Is(err, jobs.ErrUnavailable)
	switch was.op {
	case opRerunIn:
		if away { // the batch is looked at again later
			return
		}
		if _, ok := errors.AsType[*jobs.RerunError](err); !ok && !notThere(err) {
			m.fail("%s: %v", was.op, err)
		}
		*a = actor{pc: pcBatchAdvance, job: was.job}
	case opClaim, opClaimPart:
		if away || errors.Is(err, jobs.ErrUnknownSchema) { // it comes again
			n.bag = m.docs.publish(n.bag, was.msg)
		} else if !notThere(err) {
			m.fail("%s: %v", was.op, err)
		}
	case opPin, opPlan, opSucceed, opCommitPart:
		switch {
		case away:
			m.endAttempt(a, was, jobs.Transient)
		case lost(err):
			if was.obj != "" {
				*a = actor{pc: pcDrop, obj: was.obj, all: was.all}
			}
		case !notThere(err):
			m.fail("%s: %v", was.op, err)
		}
	}
}

func (m *model) endAttempt(a *actor, was actor, c jobs.Class) {
	*a = actor{pc: pcRead, op: opEndAttempt, class: int8(slices.Index(fails, c)), token: was.token, plan: was.plan, part: was.part}
	if was.plan > 0 {
		a.op = opEndPartAttempt
	}
}

// heartbeat renews actor i's lease beside its work. A lease found lost ends the work.
func (m *model) heartbeat(w *world, i int, out emit) {
	n := *w
	n.left[renew]--
	b := n.actors[i]
	if b.op = opRenew; b.plan > 0 {
		b.op = opRenewPart
	}
	m.begin(&n, &b)
	t := m.transit(&n, i, &b)
	if t.err != nil {
		n.actors[i] = actor{}
		out(name(i)+" cannot renew and stops", &n)
		return
	}
	m.apply(&n, &b, t)
	m.checkBuild(w, &n, i, b.readJob)
	out(name(i)+" renews", &n)
}

// trouble emits how the work of actor i can fail.
func (m *model) trouble(w *world, i int, out emit) {
	a := w.actors[i]
	if !slices.Contains([]pc{pcWrite, pcCompose, pcCompare, pcTell}, a.pc) {
		return
	}
	for k, b := range []budget{faultTransient, faultPermanent, faultStale, faultInterrupted} {
		if w.left[b] > 0 {
			n := *w
			n.left[b]--
			m.endAttempt(&n.actors[i], a, fails[k])
			out(name(i)+" fails: "+[...]string{"transient", "permanent", "stale", "interrupted"}[k], &n)
		}
	}
}

// epochOf reads the epoch from an object's name, as the sweep does.
func epochOf(j *jobs.Job, object string) int64 {
	first, _, _ := strings.Cut(strings.TrimPrefix(object, j.ObjectPrefix()), "/")
	n, err := strconv.ParseInt(first, 10, 64)
	if err != nil {
		panic(err)
	}
	return n
}
