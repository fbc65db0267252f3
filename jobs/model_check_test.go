//go:build !race

package jobs_test

import (
	"strconv"
	"strings"

	"exportd/jobs"
)

// whole is the content of the complete file.
func (m *model) whole() string {
	var b strings.Builder
	for i := range m.parts {
		b.WriteString(strconv.Itoa(i))
	}
	return b.String()
}

// check holds every state against the invariants.
func (m *model) check(w *world) {
	m.checkBatch(w)
	if w.job == nil {
		return
	}
	j := &w.job.Job
	if j.WakeAt.IsZero() {
		m.fail("the job is %s and nobody is due to look at it", j.State)
	}
	if want := shardOf(j); j.Shard != want {
		m.fail("the job is %s and in shard %d, want %d", j.State, j.Shard, want)
	}
	m.checkParts(w)
	m.checkBudget(w)
	m.checkResult(w)
	if shown := m.shown(w); shown < w.shown && (j.State == jobs.Queued || j.State == jobs.Running) {
		m.fail("progress went back from %d to %d", w.shown, shown)
	} else {
		w.shown = max(w.shown, shown)
	}
	if j.State.Ended() && !j.Cleanup && m.quiet(w) && !w.late {
		for _, o := range w.objects.all {
			if !keeps(j, o.name) {
				m.fail("object %s is left after the sweep of a job that is %s", o.name, j.State)
			}
		}
	}
}

// checkBudget: the key's day is told once what the first run came to, in the commit that ends it.
func (m *model) checkBudget(w *world) {
	j := &w.job.Job
	switch {
	case w.settled > 1:
		m.fail("what the job has reserved was settled %d times", w.settled)
	case j.State.Ended() && (!j.Budget.Settled || w.settled == 0 && !w.forfeited):
		m.fail("the job is %s and what it has reserved is not settled", j.State)
	case j.State == jobs.Succeeded && w.settled == 1 && w.spent != 0 && w.spent != j.Result.FileRows():
		m.fail("the file has %d rows, and %d are spent", j.Result.FileRows(), w.spent)
	}
}

func (m *model) checkParts(w *world) {
	j := &w.job.Job
	done, rows := 0, int64(0)
	for _, p := range w.parts.docs {
		if p.Shard != jobs.PartShard(j.ID, p.Index) {
			m.fail("part %s is in shard %d, want %d", p.ID, p.Shard, jobs.PartShard(j.ID, p.Index))
		}
		if p.PlanEpoch == j.PlanEpoch && p.State == jobs.PartRunning && p.WakeAt.IsZero() {
			m.fail("part %s is held and nobody is due to look at it", p.ID)
		}
		if p.PlanEpoch != j.PlanEpoch || p.State != jobs.PartDone {
			continue
		}
		done++
		rows += p.Rows
		if got, ok := w.objects.get(p.Object); j.State != jobs.Succeeded && j.State != jobs.Expired && j.State != jobs.Canceled && (!ok || got != strconv.Itoa(p.Index)) {
			m.fail("part %s is done and its object holds %q while the job is %s", p.ID, got, j.State)
		}
	}
	if j.Phase == jobs.PhaseParts && j.State == jobs.Running && (done != j.PartsDone || rows != j.RowsDone) {
		m.fail("%d parts with %d rows are done, the job says %d with %d", done, rows, j.PartsDone, j.RowsDone)
	}
}

// shardOf is where those look who are due to look at the job.
func shardOf(j *jobs.Job) int {
	if j.State.Ended() {
		return jobs.EndedShard(jobs.ShardOf(j.ID))
	}
	return jobs.ShardOf(j.ID)
}

// shown is the progress as the store's Progress adds it up.
func (m *model) shown(w *world) int64 {
	j := &w.job.Job
	rows := j.RowsDone
	if j.State == jobs.Running && j.Phase == jobs.PhaseParts {
		for _, p := range w.parts.docs {
			if p.PlanEpoch == j.PlanEpoch && p.Begun {
				rows += p.RowsDone
			}
		}
	}
	return max(rows, j.RowsFloor)
}

// checkEnd judges the states after which nothing can happen any more.
func (m *model) checkEnd(w *world) {
	switch {
	case w.job != nil:
		m.fail("nothing more happens and the job is %s", w.job.State)
	case len(w.parts.docs) > 0:
		m.fail("the record is gone and parts of it are left")
	case w.batch != nil && w.batch.FinishedAt.IsZero():
		m.fail("nothing more happens and the batch has not ended")
	case len(w.objects.all) > 0:
		m.fail("the record is gone and object %s is left", w.objects.all[0].name)
	}
}

// quiet reports whether no actor is in the middle of anything.
func (m *model) quiet(w *world) bool {
	for i := range w.actors {
		if w.actors[i].pc != pcIdle {
			return false
		}
	}
	return true
}
