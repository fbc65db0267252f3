package jobs

import (
	"fmt"
	"strings"
	"time"
)

// Whole is a file with all rows of a snapshot.
type Whole struct {
	Object   string    `firestore:"object"`
	Rows     int64     `firestore:"rows"`
	Size     int64     `firestore:"size"`
	CRC32C   uint32    `firestore:"crc32c"`
	Snapshot time.Time `firestore:"snapshot"`
}

// Changes are the rows of two snapshots, counted: each is of one kind.
type Changes struct {
	Added     int64 `firestore:"added"`
	Changed   int64 `firestore:"changed"`
	Removed   int64 `firestore:"removed"`
	Unchanged int64 `firestore:"unchanged"`
}

// Rows are those that a file of changes has.
func (c Changes) Rows() int64 { return c.Added + c.Changed + c.Removed }

// Before and After are the rows of the earlier snapshot and of the later one.
func (c Changes) Before() int64 { return c.Changed + c.Removed + c.Unchanged }

// After is as Before.
func (c Changes) After() int64 { return c.Added + c.Changed + c.Unchanged }

// FileRows are the rows in the file.
func (r Result) FileRows() int64 {
	if r.Changes != nil {
		return r.Changes.Rows()
	}
	return r.Rows
}

// Whole is the file of a succeeded job that has all rows: its result, or what lies behind a file of changes.
func (j *Job) Whole() Whole {
	if w := j.Result.Whole; w != nil {
		return *w
	}
	return j.Result.AsWhole(j.SnapshotTime)
}

// AsWhole is the file of a result that has all rows of a snapshot.
func (r Result) AsWhole(snapshot time.Time) Whole {
	return Whole{Object: r.Object, Rows: r.Rows, Size: r.Size, CRC32C: r.CRC32C, Snapshot: snapshot}
}

// Objects are the names of the file and, of a file of changes, that with all rows.
func (r Result) Objects() []string {
	if r.Whole == nil {
		return []string{r.Object}
	}
	return []string{r.Object, r.Whole.Object}
}

// WholeName is the create-only object that the holder of the job's lease writes all rows to: the result, but
// where that is made of changes.
func (j *Job) WholeName() string {
	if j.Base == nil {
		return j.ResultName()
	}
	return j.ResultName() + ".whole"
}

// provesChanges refuses a result whose changes do not lead from the rows of one snapshot to those of the
// other, as they were counted.
func (j *Job) provesChanges(r Result) error {
	if j.Base == nil {
		return nil
	}
	c := r.Changes
	if c != nil && r.Whole != nil && c.Before() == j.Base.Rows && c.After() == j.RowsTotal && r.Whole.Rows == j.RowsTotal {
		return nil
	}
	return Fail(CodeCountMismatch, Permanent, fmt.Sprintf("the changes do not add up from %d rows to %d", j.Base.Rows, j.RowsTotal),
		"report this: each row of two snapshots must be of one kind; rerun with mode fresh", nil)
}

// checkBase is about what a file of changes leads from.
func (j *Job) checkBase(c *checks) {
	since := j.Params.Since()
	c.that((since != "") == (j.Base != nil), "params.since is %q and base is set: %t", since, j.Base != nil)
	if j.Base != nil {
		c.that(ValidID(since) && since != j.ID, "params.since is none")
		c.whole("base", j.Base)
		c.that(strings.HasPrefix(j.Base.Object, (&Job{OrgID: j.OrgID, ID: since}).ObjectPrefix()), "base.object is not of the job that params.since names")
	}
}

// checkChanges is about the result of a job with a base.
func (j *Job) checkChanges(c *checks) {
	r := j.Result
	c.that((r.Whole != nil) == (j.Base != nil) && (r.Changes != nil) == (j.Base != nil), "result.whole or result.changes do not go with base")
	if r.Whole == nil || r.Changes == nil || j.Base == nil {
		return
	}
	c.whole("result.whole", r.Whole)
	c.that(j.ownsObject(r.Whole.Object) && r.Whole.Object != r.Object, "result.whole.object is not of this job")
	for name, n := range map[string]int64{"added": r.Changes.Added, "changed": r.Changes.Changed, "removed": r.Changes.Removed, "unchanged": r.Changes.Unchanged} {
		c.count("result.changes."+name, n)
	}
	c.that(j.provesChanges(r) == nil, "result.changes do not add up")
}

func (c *checks) whole(name string, w *Whole) {
	c.that(w.Object != "" && len(w.Object) <= 1024, "%s.object is none", name) // Storage's bound for names
	c.count(name+".rows", w.Rows)
	c.count(name+".size", w.Size)
	c.happened(name+".snapshot", w.Snapshot)
}
