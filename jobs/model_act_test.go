//go:build !race

package jobs_test

import (
	"strconv"

	"exportd/jobs"
)

// act does the step of actor i outside transactions and says what it was.
func (m *model) act(n *world, i int) string {
	a := &n.actors[i]
	was := *a
	switch a.pc {
	case pcWrite:
		return m.write(n, a)
	case pcBatchLook, pcBatchProceed, pcBatchList, pcBatchNotify, pcBatchAdvance:
		return m.batchAct(n, a)
	case pcList:
		return m.listDone(n, a)
	case pcCompose:
		return m.compose(n, a)
	case pcCompare, pcTell:
		return m.compare(n, a)
	case pcDiscard:
		*a = actor{pc: pcRead, op: opDiscarded, job: was.job}
		n.objects = m.docs.delete(n.objects, was.list.names...)
		return "discards the parts"
	case pcDrop:
		*a = actor{}
		if m.recorded(n, was.obj) {
			return "finds its object recorded"
		}
		n.objects = m.docs.delete(n.objects, was.obj, was.all)
		return "drops its objects"
	case pcNotify:
		*a = actor{}
		var msgs []message
		for _, k := range was.list.indexes {
			msg := message{plan: was.plan, part: k}
			if k < 0 {
				msg = message{}
			}
			msgs = append(msgs, msg)
		}
		n.bag = m.docs.publish(n.bag, msgs...)
		return "notifies"
	case pcOpen:
		var open []int
		for k := range was.job.PartsTotal {
			if p := n.parts.get(jobs.PartID(was.job.PlanEpoch, k)); p != nil && p.State != jobs.PartDone {
				open = append(open, k)
			}
		}
		*a = actor{pc: pcRead, op: opRefill, list: m.docs.list(list{indexes: open})}
		return "lists unfinished parts"
	}
	return m.tidy(n, a)
}

// tidy does the rescuer's steps of sweep and purge.
func (m *model) tidy(n *world, a *actor) string {
	was := *a
	switch a.pc {
	case pcSweepList:
		*a = actor{pc: pcSweepDelete, job: was.job, list: m.leftovers(n, was.job)}
		return "lists what to sweep"
	case pcSweepDelete:
		n.objects = m.docs.delete(n.objects, was.list.names...)
		*a = actor{pc: pcRead, op: opCleaned, job: was.job}
		return "sweeps"
	case pcPurge:
		if !m.mutate.bluntPurge {
			n.objects = m.docs.delete(n.objects, m.leftovers(n, was.job).names...)
		}
		a.pc = pcPurgeParts
		return "sweeps before the purge"
	case pcPurgeParts:
		n.parts = m.docs.partSet(nil)
		a.pc = pcPurgeJob
		return "purges the parts"
	case pcPurgeJob:
		if n.job != nil {
			if !n.job.State.Ended() {
				m.fail("a job that is %s is purged", n.job.State)
			}
			m.ended[n.job.State]++
		}
		n.job = nil
		*a = actor{}
		return "purges the job"
	}
	panic("no such step " + strconv.Itoa(int(a.pc)))
}

// leftovers lists what a sweep deletes.
func (m *model) leftovers(n *world, j *jobDoc) *list {
	var names []string
	if j.Swept() {
		if j.State != jobs.Succeeded && j.Result.Object != "" {
			names = append(names, j.Result.Object)
		}
		return m.docs.list(list{names: names})
	}
	for _, o := range n.objects.all {
		if epochOf(&j.Job, o.name) > j.Epoch && !m.mutate.sweepAll || keeps(&j.Job, o.name) && !(m.mutate.sweepWhole && o.name != j.Result.Object) {
			continue
		}
		names = append(names, o.name)
	}
	return m.docs.list(list{names: names})
}

// create puts an object into storage, where none of the name may be.
func (m *model) create(n *world, a *actor, name, content string) {
	if m.mutate.tokenless {
		name = name[:len(name)-len(a.token)-len("-.csv")] + ".csv"
	}
	if _, ok := n.objects.get(name); ok {
		m.fail("object %s exists already and cannot be created", name)
	}
	n.objects = m.docs.create(n.objects, name, content)
	n.late = n.late || n.job == nil || n.job.State.Ended() && at(n.now).After(n.job.FinishedAt.Add(m.policy.SweepAfter-2*m.policy.Skew))
	a.obj = name
}

func (m *model) write(n *world, a *actor) string {
	j := a.job.Job
	if a.plan == 0 {
		m.create(n, a, j.WholeName(), m.whole())
		a.pc = pcRead
		if a.op != opPin { // which else is still to come
			m.written(a)
		}
		return "writes the file"
	}
	p := jobs.Part{PlanEpoch: a.plan, Index: a.part}
	m.create(n, a, p.ObjectName(&j, a.token), strconv.Itoa(a.part))
	a.pc, a.op = pcRead, opCommitPart
	return "writes part " + strconv.Itoa(a.part)
}

func (m *model) listDone(n *world, a *actor) string {
	var names []string
	for k := range a.job.PartsTotal {
		p := n.parts.get(jobs.PartID(a.job.PlanEpoch, k))
		if p == nil || p.State != jobs.PartDone {
			m.endAttempt(a, *a, jobs.Stale)
			return "finds the plan incomplete"
		}
		names = append(names, p.Object)
	}
	a.pc, a.list = pcCompose, m.docs.list(list{names: names})
	return "lists the parts to compose"
}

func (m *model) compose(n *world, a *actor) string {
	content := ""
	for _, name := range a.list.names {
		part, ok := n.objects.get(name)
		if !ok {
			m.endAttempt(a, *a, jobs.Stale)
			return "misses object " + name
		}
		content += part
	}
	m.create(n, a, a.job.WholeName(), content)
	m.written(a)
	return "composes"
}

// recorded reports whether the job or a part names the object.
func (m *model) recorded(n *world, object string) bool {
	if n.job != nil && n.job.Result.Object == object {
		return true
	}
	for _, p := range n.parts.docs {
		if p.Object == object {
			return true
		}
	}
	return false
}
