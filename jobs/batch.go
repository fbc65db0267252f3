package jobs

import "time"

// Batch is a rerun of every job that a filter matches, carried out by the workers.
type Batch struct {
	ID     string `firestore:"-"`
	Damage string `firestore:"-"` // as Job.Damage
	Schema int    `firestore:"schema"`
	Rev    string `firestore:"rev"` // as Job.Rev

	Filter       BatchFilter `firestore:"filter"`
	Mode         RerunMode   `firestore:"mode"`
	Reason       string      `firestore:"reason"`
	Actor        string      `firestore:"actor"`
	MaxPerSecond int         `firestore:"maxPerSecond"`

	CreatedAt  time.Time `firestore:"createdAt"`
	FinishedAt time.Time `firestore:"finishedAt,omitempty"`
	// WakeAt is when a worker must look at the batch; zero once it has finished.
	WakeAt time.Time `firestore:"wakeAt,omitempty"`
	// Cursor is the page token behind the last page that was worked through, and Skipped what
	// was not eligible up to there, by reason. Which jobs were rerun, the jobs know.
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
	// FileLost selects succeeded jobs whose file is not in storage; State is succeeded or empty.
	FileLost      bool      `firestore:"fileLost,omitempty" json:"fileLost,omitempty"`
	CreatedAfter  time.Time `firestore:"createdAfter,omitempty" json:"createdAfter,omitzero"`
	CreatedBefore time.Time `firestore:"createdBefore,omitempty" json:"createdBefore,omitzero"`
}

// List is the page of the filter behind token.
func (f BatchFilter) List(token string, size int) List {
	if f.FileLost {
		f.State = Succeeded
	}
	return List{
		State: f.State, Kind: f.Kind, OrgID: f.OrgID, WorkspaceID: f.WorkspaceID, ErrorCode: f.ErrorCode,
		CreatedAfter: f.CreatedAfter, CreatedBefore: f.CreatedBefore, IncludeDeleted: true, PageSize: size, PageToken: token,
	}
}

// maxRate is the most reruns a second that a batch may ask for, as the API says.
const maxRate = 100

// Check says what is wrong with a batch's document, as an ErrInvalid; nil if it is whole. Of
// another schema, it is none of ours.
func (b *Batch) Check(now time.Time) error {
	c := &checks{now: now}
	c.that(b.Damage == "", "%s", b.Damage)
	c.that(Readable(b.Schema), "schema is %d", b.Schema)
	c.that(b.Mode == RerunResume || b.Mode == RerunFresh || b.Mode == "", "mode is none")
	c.that(b.MaxPerSecond >= 1 && b.MaxPerSecond <= maxRate || !b.FinishedAt.IsZero(), "maxPerSecond is %d", b.MaxPerSecond)
	c.that(b.Filter.State == "" || b.Filter.State.Valid(), "filter.state is none")
	c.that(b.Filter.Kind == "" || b.Filter.Kind.Valid(), "filter.kind is none")
	c.that(b.Filter.ErrorCode == "" || validCode(b.Filter.ErrorCode), "filter.errorCode is none")
	for name, s := range map[string]string{"reason": b.Reason, "actor": b.Actor, "cursor": b.Cursor, "filter.orgId": b.Filter.OrgID, "filter.workspaceId": b.Filter.WorkspaceID, "rev": b.Rev} {
		c.text(name, s, maxText)
	}
	c.count("matched", int64(b.Matched))
	c.that(len(b.Skipped) <= 100, "skipped has %d reasons", len(b.Skipped))
	c.that(!b.CreatedAt.IsZero(), "createdAt is missing")
	c.happened("createdAt", b.CreatedAt)
	c.happened("finishedAt", b.FinishedAt)
	return c.err("batch", b.ID)
}

// Invalidate ends a batch that Check refuses, where it is: what it has rerun, the jobs know.
func (b *Batch) Invalidate(why error, now time.Time) {
	if foreign(b.Schema) {
		return
	}
	b.Schema, b.Cursor, b.Filter = readableOr(b.Schema), "", BatchFilter{}
	b.Mode, b.MaxPerSecond = RerunResume, min(max(b.MaxPerSecond, 1), maxRate)
	tidy(b, now)
	if b.CreatedAt.IsZero() {
		b.CreatedAt = now
	}
	b.FinishedAt, b.WakeAt = now, time.Time{}
	b.Skipped = map[string]int{"the record of the batch is damaged: " + clip(why.Error(), 500): 1}
	b.Damage = "" // it is whole again
}
