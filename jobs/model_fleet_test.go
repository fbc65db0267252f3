//go:build !race

package jobs_test

import (
	"errors"

	"exportd/jobs"
)

// A mixed fleet in the model: worker 2 and the canceler (an API, or a rescuer) are of the build before. Each
// commit of the others may, while the budget lasts, be one that the older build's version of the document
// cannot express: from then on the job is of a version that the older build does not know. A newer build
// gives such a document the form that its transitions know when it reads it, as Upgrade does, and writes it
// as what it was.

// laterSchema is the version that only the newer build knows.
const laterSchema = jobs.SchemaVersion + 1

// older reports whether an actor is of the older build.
func (m *model) older(i int) bool { return m.mixed && (i == worker2 || i == canceler) }

// foreign reports whether an actor knows nothing of the job's version. A message of it is not acknowledged
// and comes again to others; no query for what is due finds it.
func (m *model) foreign(w *world, i int) bool {
	return m.older(i) && w.job != nil && w.job.Schema == laterSchema
}

// commitLater emits the commit that makes the job one of the later version.
func (m *model) commitLater(w *world, i int, t *transition, out emit) {
	if !m.mixed || m.older(i) || w.left[later] == 0 || t.job.Schema == laterSchema {
		return
	}
	n := *w
	n.left[later]--
	j := t.job.Job
	j.Schema = laterSchema
	newer := *t
	newer.job = m.docs.job(j)
	if m.apply(&n, &n.actors[i], &newer) {
		m.done(&n, i, &newer)
		out(name(i)+" commits what only its build knows", &n)
	}
}

// checkBuild judges a write of actor i, which led from w to n. It may write a part of what it read as a job
// of its own version, as the job's document is then not looked at again; whatever it does with it next is
// refused.
func (m *model) checkBuild(w, n *world, i int, read *jobDoc) {
	if m.foreign(w, i) && (n.job != w.job || n.parts != w.parts && read.Schema == laterSchema) {
		m.fail("%s writes a job which its build does not know", name(i))
	}
}

// lost reports whether the work under a lease is over: also where a newer build has made the job one of its
// own version.
func lost(err error) bool {
	return errors.Is(err, jobs.ErrLeaseLost) || errors.Is(err, jobs.ErrUnknownSchema)
}
