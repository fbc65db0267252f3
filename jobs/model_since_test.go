//go:build !race

package jobs_test

import (
	"exportd/jobs"
)

// A comparison in the model: whoever has all rows of a job with a base in an object compares them with the
// base, writes a run beside the file on the way, which it may fail to delete, and then the file of changes.
// The base is another job's, and does not change; that it is gone is one of the permanent faults.

const (
	// modelBase is the id of the job whose file is compared with.
	modelBase = "cccccccccccccccccccccccccc"
	baseRows  = 7
	// changesContent is what a file of changes holds.
	changesContent = "changes"
)

func (m *model) based(j *jobs.Job) {
	if m.since {
		base := jobs.Job{OrgID: j.OrgID, ID: modelBase, Epoch: 1}
		j.Params = jobs.Params{jobs.ParamSince: modelBase}
		j.Base = &jobs.Whole{Object: base.ResultName(), Rows: baseRows, Snapshot: epoch0}
		j.Fingerprint = jobs.Fingerprint(j.OrgID, j.Kind, 1, j.Params)
	}
}

// written says what comes after the object with all rows.
func (m *model) written(a *actor) {
	a.pc, a.op = pcRead, opSucceed
	if m.since {
		a.pc, a.op, a.all = pcCompare, opNone, a.obj
	}
}

// compare does the steps of a comparison.
func (m *model) compare(n *world, a *actor) string {
	if content, ok := n.objects.get(a.all); !ok {
		m.endAttempt(a, *a, jobs.Stale)
		return "misses all rows"
	} else if content != m.whole() {
		m.fail("%s holds parts %q and is compared", a.all, content)
	}
	if a.pc == pcCompare {
		m.create(n, a, a.job.ResultName()+".run-0", "run")
		a.pc = pcTell
		return "compares, and writes a run"
	}
	m.create(n, a, a.job.ResultName(), changesContent)
	a.pc, a.op = pcRead, opSucceed
	return "writes the changes"
}

// result is what the actor has made.
func (m *model) result(a *actor) jobs.Result {
	rows := int64(m.parts) * rowsPerPart
	res := jobs.Result{Object: a.obj, Rows: rows}
	if m.since {
		res.Whole = &jobs.Whole{Object: a.all, Rows: rows, Snapshot: a.job.SnapshotTime}
		res.Changes = &jobs.Changes{Added: rows - baseRows + 1, Removed: 1, Unchanged: baseRows - 1}
	}
	return res
}

// checkResult holds the files of a succeeded job against what they should be.
func (m *model) checkResult(w *world) {
	j := &w.job.Job
	if m.since != (j.Base != nil) {
		m.fail("the job has a base: %t", j.Base != nil)
	}
	if j.State != jobs.Succeeded {
		if j.State != jobs.Expired && j.Result.Object != "" {
			m.fail("a job that is %s has a result", j.State)
		}
		return
	}
	m.holdsFile(w, j.Whole().Object, m.whole())
	if m.since {
		m.holdsFile(w, j.Result.Object, changesContent)
	}
}

func (m *model) holdsFile(w *world, name, want string) {
	if got, ok := w.objects.get(name); (!ok || got != want) && w.gone != name {
		m.fail("the result %s holds parts %q, want %q", name, got, want)
	}
}

// keeps reports whether an object is one of a succeeded job's.
func keeps(j *jobs.Job, name string) bool {
	return j.State == jobs.Succeeded && (name == j.Result.Object || name == j.Whole().Object)
}
