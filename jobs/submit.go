package jobs

import "time"

// IdempotencyLife is how long an Idempotency-Key gives the same job, as the contract says.
const IdempotencyLife = 24 * time.Hour

// Fingerprint is that of the request.
func (s *Submission) Fingerprint() string {
	return Fingerprint(s.OrgID, s.Kind, max(s.Columns, 1), s.Params)
}

// NewJob is the job of a request, under an id that NewID gave.
func NewJob(id string, s *Submission, p Policy, now time.Time) *Job {
	now = now.UTC().Truncate(time.Microsecond)
	return &Job{
		ID: id, Schema: OldestSchema, Rev: NewToken(), OrgID: s.OrgID, KeyID: s.KeyID, RequestID: s.RequestID, Trace: s.Trace,
		Kind: s.Kind, Params: s.Params, Columns: s.Columns, Fingerprint: s.Fingerprint(), State: Queued,
		CreatedAt: now, WakeAt: now.Add(p.RingAgain), Shard: ShardOf(id), CallbackURL: s.CallbackURL,
		Lapses: true,
	}
}

// Shared reports whether equal requests get the job now: it is alive, or has succeeded at most reuseFor ago.
func (j *Job) Shared(now time.Time, reuseFor time.Duration) bool {
	if foreign(j.Schema) || !j.DeletedAt.IsZero() {
		return false
	}
	switch j.State {
	case Queued, Running:
		return true
	case Succeeded:
		return now.Sub(j.FinishedAt) <= reuseFor && now.Before(j.FileExpiresAt)
	}
	return false
}
