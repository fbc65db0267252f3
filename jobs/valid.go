package jobs

import (
	"fmt"
	"strings"
	"time"
	"unicode"
)

// What a document may contain. Its writer may have been a build with a fault, a script, a person in the
// console: nothing in it may cost memory, stop a rescuer or make a wrong file. Times that only say when to
// look next (WakeAt, NotBefore, Lease.Until) are no part of the checks here: one that no transition can have
// set is not believed, see Held and Tx.soon.
const (
	// MaxParts bounds the parts of a plan: a thousand are about 400 KiB, written in one commit.
	MaxParts = 1000
	// maxCount bounds numbers: integers up to it are exact in JSON, and sums of a few of them far from
	// overflowing.
	maxCount = 1 << 53
	// maxSmallCount bounds what is counted one by one: attempts, interruptions, restarts.
	maxSmallCount = 1_000_000
	// maxText bounds texts, in bytes: ids of up to 1,500 characters, of four bytes each.
	maxText = 6000
	// maxURL is the longest callback URL that is accepted, as webhook.MaxURLBytes.
	maxURL = 2048
	// maxToken bounds the tokens of leases, which become part of names.
	maxToken = 256
	// maxAhead is by how much what has happened may be ahead of now. Builds before this one took their own
	// machine's clock for it; hours were seen.
	maxAhead = 24 * time.Hour
	// maxFileLife is EXPORTD_FILE_DAYS at its most, and a day.
	maxFileLife = 366 * 24 * time.Hour
	// maxBuilds is far above the schema that any build will have: beyond it, and below 1, a schema is no
	// other build's but damaged.
	maxBuilds = 1000
)

// earliest is before anything that exportd has written.
var earliest = time.Date(1990, 1, 1, 0, 0, 0, 0, time.UTC)

// checks gathers the first thing that is wrong.
type checks struct {
	now  time.Time
	what string
}

func (c *checks) that(ok bool, format string, args ...any) {
	if !ok && c.what == "" {
		c.what = fmt.Sprintf(format, args...)
	}
}

func (c *checks) count(name string, n int64) {
	c.that(n >= 0 && n <= maxCount, "%s is %d", name, n)
}

func (c *checks) small(name string, n int) { c.that(n >= 0 && n <= maxSmallCount, "%s is %d", name, n) }

func (c *checks) text(name, s string, most int) {
	c.that(len(s) <= most, "%s has %d bytes", name, len(s))
}

// happened is for times of what is past; zero is what has not happened.
func (c *checks) happened(name string, t time.Time) {
	c.that(t.IsZero() || !t.Before(earliest) && !t.After(c.now.Add(maxAhead)), "%s is %s", name, t.Format(time.RFC3339))
}

func (c *checks) lease(l Lease, held bool) {
	c.text("lease.owner", l.Owner, maxText)
	c.that(l.Token == "" || validToken(l.Token), "lease.token is none")
	c.that((l.Token != "") == held, "lease.token is %t, want %t", l.Token != "", held)
}

func (c *checks) failure(e *JobError) {
	if e == nil {
		return
	}
	c.that(validCode(e.Code), "error.code is none")
	c.text("error.message", e.Message, maxText)
	c.text("error.remedy", e.Remedy, maxText)
	c.text("error.what", e.What, maxText)
	c.that(e.Part == nil || *e.Part >= 0 && *e.Part < MaxParts, "error.part is none")
	c.that(e.CauseID == "" || CauseCode(e.CauseID) == e.Code, "error.cause is none")
}

func (c *checks) err(kind, id string) error {
	if c.what == "" {
		return nil
	}
	return fmt.Errorf("%s %s: %s: %w", kind, id, c.what, ErrInvalid)
}

// validToken allows what NewToken gives and what can stand in an object's name.
func validToken(s string) bool {
	return len(s) <= maxToken && !strings.ContainsFunc(s, func(r rune) bool { return r == '/' || r <= ' ' || r > '~' })
}

func validCode(c Code) bool {
	return c != "" && len(c) <= 64 && !strings.ContainsFunc(string(c), func(r rune) bool { return r != '_' && (r < 'A' || r > 'Z') && (r < '0' || r > '9') })
}

// ValidOrg reports whether s can be an org's id. It guards the names that the id becomes part of: objects in
// Cloud Storage, where "/" and ".." would lead into another org's folder.
func ValidOrg(s string) bool {
	return s != "" && len(s) <= 128 && s != "." && s != ".." &&
		!strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || r == '/' })
}

// validURL reports whether a callback can be tried at u at all; whether it may, package webhook knows. The
// URL was normalised when it was accepted.
func validURL(u string) bool {
	origin := OriginOf(u)
	scheme, host, _ := strings.Cut(origin, "://")
	return len(u) <= maxURL && (scheme == "https" || scheme == "http") && host != "" &&
		!strings.ContainsFunc(u, func(r rune) bool { return r <= ' ' || unicode.IsControl(r) })
}

// Check says what is wrong with a job's document, as an ErrInvalid; nil if it is whole.
func (j *Job) Check(now time.Time) error {
	c := &checks{now: now}
	c.that(j.Damage == "", "%s", j.Damage)
	c.that(Readable(j.Schema), "schema is %d", j.Schema)
	j.checkPlain(c)
	if !j.invalidated() {
		j.checkRequest(c)
	}
	j.checkState(c)
	j.checkPlan(c)
	return c.err("job", j.ID)
}

// checkPlain is about each field by itself.
func (j *Job) checkPlain(c *checks) {
	c.that(j.State.Valid(), "state is none")
	c.that(j.Phase == PhaseStart || j.Phase == PhaseParts || j.Phase == PhaseFinalize, "phase is none")
	for name, n := range map[string]int64{
		"epoch": j.Epoch, "planEpoch": j.PlanEpoch, "rowsTotal": j.RowsTotal, "rowsDone": j.RowsDone, "bytesDone": j.BytesDone, "rowsFloor": j.RowsFloor, "sheetRows": j.SheetRows,
		"result.rows": j.Result.Rows, "result.size": j.Result.Size, "result.guardedCells": j.Result.GuardedCells,
		"result.rescuedValues": j.Result.RescuedValues,
	} {
		c.count(name, n)
	}
	j.Result.GuardedBy.check(c, "result.guardedBy")
	j.Result.Digest.check(c, "result.digest")
	c.small("attempt", j.Attempt)
	c.small("interruptions", j.Interruptions)
	c.small("place", j.Place)
	c.small("snapshotRestarts", j.SnapshotRestarts)
	c.that(j.AttemptBase >= 0 && j.AttemptBase <= j.Attempt, "attemptBase is %d at attempt %d", j.AttemptBase, j.Attempt)
	c.text("rev", j.Rev, maxText)
	c.text("keyId", j.KeyID, maxText)
	c.text("requestId", j.RequestID, maxText)
	c.text("batchId", j.BatchID, maxText)
	c.text("rerunOf", j.RerunOf, maxText)
	c.count("linksRevoked", j.LinksRevoked)
	c.that(len(j.RevokedLinks) <= maxRevokedLinks, "revokedLinks are %d", len(j.RevokedLinks))
	for _, id := range j.RevokedLinks {
		c.that(ValidLink(id), "one of revokedLinks is none")
	}
	c.that(!j.CreatedAt.IsZero(), "createdAt is missing")
	for name, t := range map[string]time.Time{
		"createdAt": j.CreatedAt, "startedAt": j.StartedAt, "finishedAt": j.FinishedAt, "snapshotTime": j.SnapshotTime, "deletedAt": j.DeletedAt,
	} {
		c.happened(name, t)
	}
	c.failure(j.Error)
	j.Budget.check(c)
}

// checkRequest is about whose job it is and what it exports. The fingerprint was made of these at the
// request: what was changed since would make another file than was asked for.
func (j *Job) checkRequest(c *checks) {
	c.that(ValidID(j.ID), "its id is none")
	c.that(ValidOrg(j.OrgID), "orgId is none")
	c.that(j.Kind.Valid(), "kind is none")
	c.that(j.CallbackURL == "" || validURL(j.CallbackURL), "callbackUrl is none")
	c.small("columns", j.Columns)
	j.checkBase(c)
	wrong := j.Params.whole()
	c.that(wrong == "", "%s", wrong)
	c.that(c.what != "" || Fingerprint(j.OrgID, j.Kind, ColumnsVersion(j.Columns), j.Params) == j.Fingerprint, "orgId, kind and params are not those of the fingerprint")
}

// checkState is about what goes together in a state.
func (j *Job) checkState(c *checks) {
	s := j.State
	c.that(s.Ended() == !j.FinishedAt.IsZero(), "it is %s and finishedAt is set: %t", s, !j.FinishedAt.IsZero())
	c.that(s != Running || !j.StartedAt.IsZero(), "it is running and never started")
	c.lease(j.Lease, s == Running && j.Phase != PhaseParts)
	lost := s == Expired && j.Error != nil && j.Error.Code == CodeFileLost
	c.that((s == Failed) == (j.Error != nil) || lost, "it is %s and has an error: %t", s, j.Error != nil)
	c.that(s.Ended() || !j.Cleanup, "it is %s and to be swept", s)
	hasFile := s == Succeeded || s == Expired
	c.that(hasFile == (j.Result.Object != ""), "it is %s and has a result: %t", s, j.Result.Object != "")
	if hasFile {
		c.that(j.ownsObject(j.Result.Object), "result.object is not of this job")
		c.that(j.Counted && j.Result.Rows == j.RowsTotal, "result.rows are %d of %d", j.Result.Rows, j.RowsTotal)
		j.checkChanges(c)
		c.that(j.FileExpiresAt.After(j.FinishedAt) && j.FileExpiresAt.Sub(j.FinishedAt) <= maxFileLife, "fileExpiresAt is %s", j.FileExpiresAt.Format(time.RFC3339))
	}
}

// ownsObject reports whether an object lies where this job's lie, in an epoch that it had.
func (j *Job) ownsObject(name string) bool {
	rest, ok := strings.CutPrefix(name, j.ObjectPrefix())
	epoch, file, ok2 := strings.Cut(rest, "/")
	return ok && ok2 && file != "" && len(name) <= 1024 && epoch != "" && strings.Trim(epoch, "0123456789") == "" // Storage's bound for names
}

// checkPlan is about the snapshot and the plan made at it.
func (j *Job) checkPlan(c *checks) {
	c.that(j.Counted == !j.SnapshotTime.IsZero(), "counted is %t and snapshotTime is set: %t", j.Counted, !j.SnapshotTime.IsZero())
	// A snapshot is of the job's own time; of the last whole minute with point-in-time recovery.
	c.that(!j.Counted || !j.SnapshotTime.Before(j.CreatedAt.Add(-time.Minute-maxAhead)), "snapshotTime is before the request")
	c.that(j.PartsTotal >= 0 && j.PartsTotal <= MaxParts, "partsTotal is %d", j.PartsTotal)
	c.that(j.PartsDone >= 0 && j.PartsDone <= j.PartsTotal, "partsDone is %d of %d", j.PartsDone, j.PartsTotal)
	c.that(j.NextPart >= 0 && j.NextPart <= j.PartsTotal, "nextPart is %d of %d", j.NextPart, j.PartsTotal)
	c.that(j.PlanEpoch <= j.Epoch && (j.PlanEpoch > 0) == (j.PartsTotal > 0), "planEpoch is %d at epoch %d with %d parts", j.PlanEpoch, j.Epoch, j.PartsTotal)
	c.that(j.PartsTotal == 0 || j.Counted, "it has parts and no count")
	c.that(j.SheetRows == 0 || j.PartsTotal > 0 && j.Params.Excel() && !j.Params.Gzip(), "sheetRows is %d of no zip", j.SheetRows)
	if j.Phase == PhaseStart {
		return
	}
	c.that(j.State == Queued || j.State == Running || j.State == Failed, "it is %s in phase %s", j.State, j.Phase)
	c.that(j.PartsTotal > 0 && (j.PartsDone == j.PartsTotal) == (j.Phase == PhaseFinalize), "it has %d of %d parts in phase %s", j.PartsDone, j.PartsTotal, j.Phase)
}

// Check says what is wrong with the document of a part of the plan in force of j.
func (p *Part) Check(j *Job, now time.Time) error {
	c := &checks{now: now}
	c.that(p.Damage == "", "%s", p.Damage)
	c.that(Readable(p.Schema), "schema is %d", p.Schema)
	c.that(p.Index >= 0 && p.Index < MaxParts && p.PlanEpoch >= 0 && p.ID == PartID(p.PlanEpoch, p.Index), "its id is not of planEpoch %d and index %d", p.PlanEpoch, p.Index)
	c.that(p.JobID == j.ID && p.OrgID == j.OrgID, "jobId and orgId are not those of its job")
	c.text("from", p.From, maxText)
	c.text("to", p.To, maxText)
	for name, n := range map[string]int64{
		"rows": p.Rows, "epoch": p.Epoch, "jobEpoch": p.JobEpoch, "rowsDone": p.RowsDone, "bytesDone": p.BytesDone, "size": p.Size, "guarded": p.Guarded, "rescued": p.Rescued,
	} {
		c.count(name, n)
	}
	c.that(p.Rows <= j.RowsTotal, "it has %d rows of %d", p.Rows, j.RowsTotal)
	p.GuardedBy.check(c, "guardedBy")
	p.Digest.check(c, "digest")
	if p.Plain != nil {
		c.count("plain.size", p.Plain.Size)
	}
	c.small("attempt", p.Attempt)
	c.small("interruptions", p.Interruptions)
	c.text("rev", p.Rev, maxText)
	c.failure(p.LastError)
	c.that(p.State == PartPending || p.State == PartRunning || p.State == PartDone, "state is none")
	c.lease(p.Lease, p.State == PartRunning)
	c.that((p.State == PartDone) == (p.Object != ""), "it is %s and has an object: %t", p.State, p.Object != "")
	c.that(p.Object == "" || j.ownsObject(p.Object), "object is not of this job")
	return c.err("part "+p.ID+" of job", j.ID)
}
