package jobs

import "time"

// Limits bound what one org may have going. 0 is no bound.
type Limits struct {
	RunningJobs int
	QueuedJobs  int
	Rows        int64
	Bytes       int64
}

// List selects jobs, newest first. Empty fields select all.
type List struct {
	OrgID, WorkspaceID string
	State              State
	Kind               Kind
	ErrorCode          Code
	Cause              string    // the Cause.ID that they failed by
	CreatedAfter       time.Time // inclusive
	CreatedBefore      time.Time // exclusive
	IncludeDeleted     bool
	Search             Search // of those that the others select
	PageSize           int
	// PageToken is what the page before gave as Next.
	PageToken string
}

// Fits reports whether the list has a job, on some page.
func (l *List) Fits(j *Job) bool {
	code, cause := "", ""
	if j.Error != nil {
		code, cause = string(j.Error.Code), j.Error.CauseID
	}
	return is(l.OrgID, j.OrgID) && is(l.WorkspaceID, j.Params.Text("workspaceId")) && is(string(l.State), string(j.State)) && is(string(l.Kind), string(j.Kind)) &&
		is(string(l.ErrorCode), code) && is(l.Cause, cause) && !j.CreatedAt.Before(l.CreatedAfter) && (l.CreatedBefore.IsZero() || j.CreatedAt.Before(l.CreatedBefore)) &&
		(l.IncludeDeleted || j.DeletedAt.IsZero()) && l.Search.Fits(j)
}

// JobPage is one page of a List; Next is empty on the last. Where there is a Search, a page ends early when
// as many jobs as a store reads for one have been read, even without any.
type JobPage struct {
	Jobs []*Job
	Next string
}
