package jobs

import (
	"slices"
	"strconv"
	"time"
)

// Batch is a rerun of every job that a filter matches, or of every callback, carried out by the workers.
type Batch struct {
	ID     string `firestore:"-"`
	Damage string `firestore:"-"` // as Job.Damage
	Schema int    `firestore:"schema"`
	Rev    string `firestore:"rev"` // as Job.Rev

	Filter BatchFilter `firestore:"filter"`
	// JobIDs are the jobs of a batch that was given a list, and no filter; at most MaxBatchIDs.
	JobIDs []string `firestore:"jobIds,omitempty"`
	// Callbacks is the filter of a batch of callbacks, which has no other; nil of jobs.
	Callbacks *CallbackFilter `firestore:"callbacks,omitempty"`
	Mode      RerunMode       `firestore:"mode"`
	Reason    string          `firestore:"reason"`
	Actor     string          `firestore:"actor"`
	// MaxPerSecond is 0 where Pace is set: of a batch that a build without Pace would carry out wrongly. Such
	// a build ends it as damaged and runs nothing.
	MaxPerSecond int `firestore:"maxPerSecond"`
	Pace         int `firestore:"pace,omitempty"`
	// Canary: one job (or callback) is run again first, then ten, then the rest, each when those before have
	// ended; where one fails again, of the batch's cause if it has one, the batch ends. Stage counts how far
	// that is. Listed: all jobs were looked at, and the batch waits for the end of those that it has run
	// again.
	Canary bool `firestore:"canary,omitempty"`
	Stage  int  `firestore:"stage,omitempty"`
	Listed bool `firestore:"listed,omitempty"`
	// Stopped is why it ended before its end.
	Stopped string `firestore:"stopped,omitempty"`
	// PausedAt is since when nobody carries it on; zero if it goes on.
	PausedAt time.Time `firestore:"pausedAt,omitempty"`

	CreatedAt  time.Time `firestore:"createdAt"`
	FinishedAt time.Time `firestore:"finishedAt,omitempty"`
	// WakeAt is when a worker must look at the batch; zero once it has finished.
	WakeAt time.Time `firestore:"wakeAt,omitempty"`
	// Cursor is the page token behind the last page that was worked through, of JobIDs how many of them were,
	// and Skipped what was not eligible up to there, by reason. Which jobs were rerun, the jobs know.
	Cursor  string         `firestore:"cursor"`
	Matched int            `firestore:"matched"`
	Skipped map[string]int `firestore:"skipped"`
}

// BatchFilter selects jobs as List does.
type BatchFilter struct {
	State       State  `firestore:"state,omitempty" json:"state,omitempty"`
	Kind        Kind   `firestore:"kind,omitempty" json:"kind,omitempty"`
	OrgID       string `firestore:"orgId,omitempty" json:"orgId,omitempty"`
	WorkspaceID string `firestore:"workspaceId,omitempty" json:"workspaceId,omitempty"`
	ErrorCode   Code   `firestore:"errorCode,omitempty" json:"errorCode,omitempty"`
	// Cause is the id of one, of which failed jobs are selected; ErrorCode is its code.
	Cause string `firestore:"cause,omitempty" json:"cause,omitempty"`
	// FileLost selects succeeded jobs whose file is not in storage; State is succeeded or empty.
	FileLost      bool      `firestore:"fileLost,omitempty" json:"fileLost,omitempty"`
	CreatedAfter  time.Time `firestore:"createdAfter,omitempty" json:"createdAfter,omitzero"`
	CreatedBefore time.Time `firestore:"createdBefore,omitempty" json:"createdBefore,omitzero"`
	Search        `firestore:"search,omitempty"`
}

// List is the page of the filter behind token.
func (f BatchFilter) List(token string, size int) List {
	if f.FileLost {
		f.State = Succeeded
	}
	return List{
		State: f.State, Kind: f.Kind, OrgID: f.OrgID, WorkspaceID: f.WorkspaceID, ErrorCode: f.ErrorCode, Cause: f.Cause,
		CreatedAfter: f.CreatedAfter, CreatedBefore: f.CreatedBefore, Search: f.Search, IncludeDeleted: true, PageSize: size, PageToken: token,
	}
}

// Rate is how many jobs a second are run again at most.
func (b *Batch) Rate() int { return max(b.MaxPerSecond, b.Pace) }

// rests reports whether nobody carries the batch on: it has ended, or is paused.
func (b *Batch) rests() bool { return !b.FinishedAt.IsZero() || !b.PausedAt.IsZero() }

// MaxBatchIDs bounds a list of jobs: at 26 bytes each and a few of Firestore's own, 64 KiB of a document.
const MaxBatchIDs = 2000

// Next gives the jobs of a list behind the cursor, at most n, and the cursor behind them, "" at the end.
func (b *Batch) Next(n int) (ids []string, next string) {
	done, err := strconv.Atoi(b.Cursor)
	if b.Cursor != "" && (err != nil || done < 0) || done >= len(b.JobIDs) {
		return nil, ""
	}
	end := min(done+n, len(b.JobIDs))
	if end < len(b.JobIDs) {
		next = strconv.Itoa(end)
	}
	return b.JobIDs[done:end], next
}

// batchOfCallbacks is the version of batches that those of callbacks alone are stored as.
const batchOfCallbacks = 2

// maxRate is the most reruns a second that a batch may ask for, as the API says.
const maxRate = 100

// Check says what is wrong with a batch's document, as an ErrInvalid; nil if it is whole. Of another schema,
// it is none of ours.
func (b *Batch) Check(now time.Time) error {
	c := &checks{now: now}
	c.that(b.Damage == "", "%s", b.Damage)
	c.that(Readable(b.Schema), "schema is %d", b.Schema)
	c.that(b.Mode == RerunResume || b.Mode == RerunFresh || b.Mode == "", "mode is none")
	c.that(b.Rate() >= 1 && b.Rate() <= maxRate || !b.FinishedAt.IsZero(), "maxPerSecond is %d", b.Rate())
	c.that(b.Filter.Cause == "" || CauseCode(b.Filter.Cause) == b.Filter.ErrorCode, "filter.cause is none")
	c.that(b.Stage >= 0 && b.Stage <= len(canaryStages), "stage is %d", b.Stage)
	c.that(b.Filter.State == "" || b.Filter.State.Valid(), "filter.state is none")
	c.that(b.Filter.Kind == "" || b.Filter.Kind.Valid(), "filter.kind is none")
	c.that(b.Filter.ErrorCode == "" || validCode(b.Filter.ErrorCode), "filter.errorCode is none")
	b.Filter.check(c)
	// Without them it would be one of all jobs. One that Invalidate has ended has lost them.
	c.that(b.Schema != batchOfCallbacks || b.Callbacks != nil || !b.FinishedAt.IsZero(), "callbacks is missing")
	if b.Callbacks != nil {
		b.Callbacks.check(c)
		c.that(b.Filter == (BatchFilter{}) && len(b.JobIDs) == 0, "it is of jobs and of callbacks")
	}
	for name, s := range map[string]string{"reason": b.Reason, "actor": b.Actor, "cursor": b.Cursor, "stopped": b.Stopped, "filter.orgId": b.Filter.OrgID, "filter.workspaceId": b.Filter.WorkspaceID, "rev": b.Rev} {
		c.text(name, s, maxText)
	}
	c.that(len(b.JobIDs) <= MaxBatchIDs && !slices.ContainsFunc(b.JobIDs, func(id string) bool { return !ValidID(id) }), "jobIds are %d, or none", len(b.JobIDs))
	c.count("matched", int64(b.Matched))
	c.that(len(b.Skipped) <= 100, "skipped has %d reasons", len(b.Skipped))
	c.that(!b.CreatedAt.IsZero(), "createdAt is missing")
	c.happened("createdAt", b.CreatedAt)
	c.happened("finishedAt", b.FinishedAt)
	c.happened("pausedAt", b.PausedAt)
	return c.err("batch", b.ID)
}

// Invalidate ends a batch that Check refuses, where it is: what it has rerun, the jobs know.
func (b *Batch) Invalidate(why error, now time.Time) {
	if foreign(b.Schema) {
		return
	}
	b.Schema, b.Cursor, b.Filter, b.JobIDs, b.Callbacks = readableOr(b.Schema), "", BatchFilter{}, nil, nil
	b.Mode, b.MaxPerSecond, b.Pace, b.Stage = RerunResume, min(max(b.Rate(), 1), maxRate), 0, 0
	tidy(b, now)
	if b.CreatedAt.IsZero() {
		b.CreatedAt = now
	}
	b.FinishedAt, b.WakeAt = now, time.Time{}
	b.Skipped = map[string]int{"the record of the batch is damaged: " + clip(why.Error(), 500): 1}
	b.Damage = "" // it is whole again
}
