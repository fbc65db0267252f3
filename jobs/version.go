package jobs

import "time"

// Three things have versions that change by themselves: documents, which these numbers are of; the columns of
// a dataset's file (Job.Columns, of which only the fingerprint knows); and the HTTP API.
const (
	// SchemaVersion is the latest version of the documents of jobs, parts, callbacks and batches that this
	// build reads. It is raised only where a build that lacks the version would do something wrong with a
	// document; a field more, which an older build may leave as it is, is no version.
	SchemaVersion = 2
	// OldestSchema is the oldest that it still reads.
	OldestSchema = 1
)

// A document's Schema is the version that it is stored as; in memory it has the form of the latest. Upgrade
// leads there when it was read. Stored leads back before it is written: to the oldest version that can
// express it and that is none before the one it had. So a build that lacks a version meets it in those
// documents alone that need it, and going back to that build loses nothing else. Those it leaves alone: it
// neither changes nor ends them, and they count for none of the limits of their org.
//
// A part is never of a later version than its job (StoredWith), so that a build can do either nothing or
// everything for a job. Places have no versions, see PlaceSchema.

// form is what a version changed in a kind of document. One without up is as it was before.
type form[T any] struct {
	// up makes of a document of the version before one of this version.
	up func(*T)
	// down is the way back; false where the version before has no form for the document. Without it, this
	// version is written always: for when no build that lacks it will run again. What pointers and maps of
	// the document lead to it may replace and must not change.
	down func(*T) bool
}

// step is what a version changed.
type step struct {
	job      form[Job]
	part     form[Part]
	callback form[Callback]
	batch    form[Batch]
}

// steps lead from OldestSchema to SchemaVersion, one for each version after the oldest. CONTRIBUTING.md says
// how one is added.
var steps = []step{
	// 2: jobs have more parameters of their files, batches may be of callbacks, and jobs in a sandbox: a
	// build without them would run all jobs again, and look for real rows. Jobs have reserved of their key's
	// budget: a build without it would not settle that. And files may be zips of sheets.
	{
		job: form[Job]{up: func(*Job) {}, down: func(j *Job) bool {
			return j.Params.ofVersion1() && !InSandbox(j.OrgID) && j.Budget == nil && j.SheetRows == 0
		}},
		callback: form[Callback]{up: func(*Callback) {}, down: func(cb *Callback) bool { return cb.Scenario == "" }},
		batch:    form[Batch]{up: func(*Batch) {}, down: func(b *Batch) bool { return b.Callbacks == nil }},
	},
}

// Readable reports whether this build reads documents of a version.
func Readable(schema int) bool { return schema >= OldestSchema && schema <= SchemaVersion }

// foreign reports whether a document's schema is that of another build, which looks after it.
func foreign(schema int) bool { return !Readable(schema) && schema >= 1 && schema <= maxBuilds }

// readableOr is for a document that is ended because it is damaged: its schema may be what was.
func readableOr(schema int) int {
	if Readable(schema) {
		return schema
	}
	return OldestSchema
}

// Foreign reports whether the job is of a version that this build does not read. Of such a job it knows what
// no version moves: what it is found by, and what its caller is shown.
func (j *Job) Foreign() bool { return foreign(j.Schema) }

// abandonedAfter is for how long a job of another version may be overdue before it is taken as one that no
// build looks after: rescuers come within seconds, and a second fleet is not slower for that.
const abandonedAfter = 2 * time.Minute

// Abandoned reports whether the job is of a version that no build at work knows, as far as can be seen:
// somebody was to look at it and did not. It goes on when such a build is back.
func (j *Job) Abandoned(now time.Time) bool {
	return j.Foreign() && now.After(j.WakeAt.Add(abandonedAfter))
}

// Upgrade gives a job that was just read the form of the latest version.
func (j *Job) Upgrade() { upgrade(steps, j, j.Schema, func(s step) form[Job] { return s.job }) }

// Upgrade is as that of Job.
func (p *Part) Upgrade() { upgrade(steps, p, p.Schema, func(s step) form[Part] { return s.part }) }

// Upgrade is as that of Job.
func (cb *Callback) Upgrade() {
	upgrade(steps, cb, cb.Schema, func(s step) form[Callback] { return s.callback })
}

// Upgrade is as that of Job.
func (b *Batch) Upgrade() { upgrade(steps, b, b.Schema, func(s step) form[Batch] { return s.batch }) }

// Stored gives the job as it is to be written, and notes the version of that.
func (j *Job) Stored() Job {
	out, schema := stored(steps, *j, j.Schema, func(s step) form[Job] { return s.job })
	out.Schema, j.Schema = schema, schema
	return out
}

// StoredWith gives parts of the job as they are to be written in one commit with it: a job is of no earlier
// version than any of its parts.
func (j *Job) StoredWith(parts []*Part) []Part {
	out := make([]Part, len(parts))
	for i, p := range parts {
		out[i] = p.Stored()
		j.Schema = max(j.Schema, out[i].Schema)
	}
	return out
}

// Stored gives it as it is to be written.
func (p Part) Stored() Part {
	p, p.Schema = stored(steps, p, p.Schema, func(s step) form[Part] { return s.part })
	return p
}

// Stored gives it as it is to be written.
func (cb Callback) Stored() Callback {
	cb, cb.Schema = stored(steps, cb, cb.Schema, func(s step) form[Callback] { return s.callback })
	return cb
}

// Stored gives it as it is to be written.
func (b Batch) Stored() Batch {
	b, b.Schema = stored(steps, b, b.Schema, func(s step) form[Batch] { return s.batch })
	return b
}

func upgrade[T any](steps []step, doc *T, schema int, of func(step) form[T]) {
	if schema < OldestSchema || schema > OldestSchema+len(steps) {
		return // another build's, or damaged
	}
	for _, s := range steps[schema-OldestSchema:] {
		if up := of(s).up; up != nil {
			up(doc)
		}
	}
}

func stored[T any](steps []step, doc T, least int, of func(step) form[T]) (T, int) {
	least = max(least, OldestSchema)
	for i := len(steps) - 1; OldestSchema+i >= least; i-- {
		f := of(steps[i])
		if f.up == nil {
			continue
		}
		before := doc
		if f.down == nil || !f.down(&before) {
			return doc, OldestSchema + i + 1
		}
		doc = before
	}
	return doc, least
}
