package jobs

import (
	"fmt"
	"time"
)

// Batch is a rerun of every job that a filter matches, carried out by the workers.
type Batch struct {
	ID     string `firestore:"-"`
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

// HasFile is why a job is not eligible whose file was to be lost.
const HasFile = "has its file"

// Ineligible says why a job cannot be run again by a mode, "" if it can.
func Ineligible(j *Job, mode RerunMode) string {
	switch {
	case j.Schema != SchemaVersion:
		return "written by another version"
	case !j.DeletedAt.IsZero():
		return "deleted by its owner"
	case j.checkedRequest(time.Time{}) != nil:
		return "its record is damaged"
	case !j.State.CanBecome(Queued) || !j.State.Ended() || j.State == Succeeded && mode != Fresh:
		return fmt.Sprintf("is %s", j.State)
	}
	return ""
}
