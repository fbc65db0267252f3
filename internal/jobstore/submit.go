package jobstore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"cloud.google.com/go/firestore"

	"exportd/internal/telemetry"
	"exportd/jobs"
)

// pointer is a document that leads from a fingerprint or an idempotency key to a job.
type pointer struct {
	JobID       string `firestore:"jobId"`
	Fingerprint string `firestore:"fingerprint"`
	// ExpiresAt is for Firestore's TTL policy. Of keys, which live for a day, PurgePointers deletes what that
	// leaves. A pointer past it leads nowhere.
	ExpiresAt time.Time `firestore:"expiresAt"`
	Rev       string    `firestore:"rev"`
}

// Submit makes the job of a request, or finds the one that an equal request or the same idempotency key made:
// in flight, or succeeded at most ReuseFor ago. Job, fingerprint and key are written in one commit. Errors:
// *jobs.QueueFullError, jobs.ErrIdempotencyMismatch, jobs.ErrNoBase, jobs.ErrUncounted, *jobs.BudgetError,
// jobs.ErrUnavailable.
func (s *Store) Submit(ctx context.Context, sub jobs.Submission) (jobs.Submitted, error) {
	var out jobs.Submitted
	if b := sub.Budget; b != nil && b.Counted {
		leave, err := s.budget.take(ctx, sub.KeyID)
		if err != nil {
			return out, err
		}
		defer leave()
	}
	id, again := jobs.NewID(), false // before the first attempt: a commit whose answer was lost must be found again
	err := retry(ctx, func() error {
		if again {
			// First of all: what it has reserved of a budget would refuse the next attempt, and a job that it
			// takes for another's is notified to nobody.
			job, err := s.Get(ctx, id)
			if err == nil {
				out = jobs.Submitted{Job: job}
			}
			if !errors.Is(err, jobs.ErrNotFound) {
				return err
			}
		}
		again = true
		var err error
		out, err = s.submit(ctx, id, sub)
		return err
	})
	if err == nil {
		s.cfg.Transitions.Submitted(out.Job, out.Reused)
	}
	return out, err
}

// ReuseFor is how long a success answers equal requests.
func (s *Store) ReuseFor() time.Duration { return s.cfg.ReuseFor }

func (s *Store) submit(ctx context.Context, id string, sub jobs.Submission) (jobs.Submitted, error) {
	now := s.cfg.Now().UTC().Truncate(time.Microsecond)
	fp := sub.Fingerprint()
	docs, err := s.pointers(ctx, &sub)
	if err != nil {
		return jobs.Submitted{}, err
	}
	job, byKey, err := s.attached(ctx, docs, &sub, now)
	if job != nil && !byKey && len(docs) == 2 {
		err = s.remember(ctx, docs[1], pointer{JobID: job.ID, Fingerprint: fp, ExpiresAt: now.Add(jobs.IdempotencyLife), Rev: jobs.NewToken()})
	}
	if err != nil || job != nil {
		return jobs.Submitted{Job: job, Reused: true}, err
	}
	if err := sub.Makes(); err != nil {
		return jobs.Submitted{}, err
	}
	if err := s.admit(ctx, sub.OrgID); err != nil {
		return jobs.Submitted{}, err
	}
	job = jobs.NewJob(id, &sub, s.cfg.Policy, now)
	batch := s.newWrites()
	if err := s.reserve(ctx, batch, job, sub.Budget); err != nil {
		return jobs.Submitted{}, err
	}
	batch.Create(s.jobs().Doc(id), job.Stored())
	s.point(batch, docs[0], pointer{JobID: id, Fingerprint: fp, ExpiresAt: now.Add(s.cfg.Policy.RecordLife), Rev: job.Rev})
	if len(docs) == 2 {
		s.point(batch, docs[1], pointer{JobID: id, Fingerprint: fp, ExpiresAt: now.Add(jobs.IdempotencyLife), Rev: job.Rev})
	}
	events, audit := sub.Record(job, s.cfg.Policy)
	s.addEvents(batch, id, events)
	s.addAudit(batch, audit)
	if err := s.commit(ctx, batch, s.hasRev(s.jobs().Doc(id), job.Rev)); err != nil {
		return jobs.Submitted{}, fmt.Errorf("submit job %s: %w", id, err)
	}
	return jobs.Submitted{Job: job}, nil
}

// Find gives the job that Submit would give now, nil if it would make one.
func (s *Store) Find(ctx context.Context, sub jobs.Submission) (*jobs.Job, error) {
	docs, err := s.pointers(ctx, &sub)
	if err != nil {
		return nil, err
	}
	job, _, err := s.attached(ctx, docs, &sub, s.cfg.Now().UTC().Truncate(time.Microsecond))
	return job, err
}

// pointers reads what may lead to the job of a request: its fingerprint, and its key if it has one.
func (s *Store) pointers(ctx context.Context, sub *jobs.Submission) ([]*firestore.DocumentSnapshot, error) {
	refs := []*firestore.DocumentRef{s.fingerprints().Doc(sub.Fingerprint())}
	if sub.IdempotencyKey != "" {
		sum := sha256.Sum256([]byte(sub.OrgID + "\x00" + sub.IdempotencyKey))
		refs = append(refs, s.idempotency().Doc(hex.EncodeToString(sum[:])))
	}
	docs, err := s.client.GetAll(ctx, refs)
	if err != nil {
		return nil, fmt.Errorf("look for an equal request: %w", classify(err))
	}
	return docs, nil
}

// attached gives the job that a request gets, nil for a new one, and whether its key leads there.
func (s *Store) attached(ctx context.Context, docs []*firestore.DocumentSnapshot, sub *jobs.Submission, now time.Time) (job *jobs.Job, byKey bool, err error) {
	if len(docs) == 2 {
		job, err := s.idempotent(ctx, docs[1], sub.Fingerprint(), sub, now)
		if err != nil || job != nil && job.ID != sub.Except {
			return job, true, err
		}
	}
	if sub.Fresh {
		return nil, false, nil
	}
	job, err = s.reusable(ctx, docs[0], now)
	if err != nil || job != nil && job.ID == sub.Except {
		return nil, false, err
	}
	return job, false, nil
}

// point writes a pointer on condition that it is as it was read.
func (s *Store) point(batch *writes, was *firestore.DocumentSnapshot, p pointer) {
	if !was.Exists() {
		batch.Create(was.Ref, p)
		return
	}
	batch.Update(was.Ref, fields(p), firestore.LastUpdateTime(was.UpdateTime))
}

// remember has an idempotency key lead to a job that an equal request made: it gives that one also when the
// job has failed, or can no longer be shared.
func (s *Store) remember(ctx context.Context, key *firestore.DocumentSnapshot, p pointer) error {
	batch := s.newWrites()
	s.point(batch, key, p)
	if err := s.commit(ctx, batch, s.hasRev(key.Ref, p.Rev)); err != nil {
		return fmt.Errorf("note the idempotency key of job %s: %w", p.JobID, err)
	}
	return nil
}

// idempotent gives the job that the key made within its life, nil if it made none that answers it: the next
// one takes its place.
func (s *Store) idempotent(ctx context.Context, doc *firestore.DocumentSnapshot, fp string, sub *jobs.Submission, now time.Time) (*jobs.Job, error) {
	p, job, err := s.follow(ctx, doc)
	if err != nil || job == nil || now.After(p.ExpiresAt) || job.OrgID != sub.OrgID {
		return nil, err
	}
	if p.Fingerprint != fp {
		return nil, fmt.Errorf("key belongs to job %s: %w", p.JobID, jobs.ErrIdempotencyMismatch)
	}
	if !sub.Attaches(job, now) {
		return nil, nil
	}
	return job, nil
}

// reusable gives the job that equal requests share now, nil if there is none.
func (s *Store) reusable(ctx context.Context, doc *firestore.DocumentSnapshot, now time.Time) (*jobs.Job, error) {
	p, job, err := s.follow(ctx, doc)
	if err != nil || job == nil || !now.Before(p.ExpiresAt) || !job.Shared(now, s.cfg.ReuseFor) {
		return nil, err
	}
	return job, nil
}

// follow gives the job that a pointer leads to. One that is damaged, or leads to a job that was not made of
// the request it stands for, leads nowhere: no org is given another's job.
func (s *Store) follow(ctx context.Context, doc *firestore.DocumentSnapshot) (pointer, *jobs.Job, error) {
	var p pointer
	if !doc.Exists() {
		return p, nil, nil
	}
	why := salvage(doc, &p)
	if why == "" {
		why = s.checkPointer(doc, p)
	}
	if why != "" { // the new job overwrites it
		s.damaged(kindOf(doc), doc, why)
		return p, nil, nil
	}
	job, err := s.Get(ctx, p.JobID)
	if errors.Is(err, jobs.ErrNotFound) {
		return p, nil, nil // purged
	}
	if err == nil && job.Fingerprint != p.Fingerprint {
		s.damaged(kindOf(doc), doc, "it leads to the job of another request")
		return p, nil, nil
	}
	return p, job, err
}

func kindOf(pointer *firestore.DocumentSnapshot) telemetry.DocumentKind {
	if pointer.Ref.Parent.ID == "ExportIdempotency" {
		return telemetry.IdempotencyDocument
	}
	return telemetry.FingerprintDocument
}

// checkPointer says what is wrong with one, "" if nothing is.
func (s *Store) checkPointer(doc *firestore.DocumentSnapshot, p pointer) string {
	c := jobs.NewChecks(s.cfg.Now())
	c.That(jobs.ValidID(p.JobID), "jobId is none")
	c.That(len(p.Fingerprint) == sha256.Size*2, "fingerprint is none")
	c.Text("rev", p.Rev)
	c.That(!p.ExpiresAt.IsZero(), "expiresAt is missing")
	if kindOf(doc) == telemetry.IdempotencyDocument {
		c.That(!p.ExpiresAt.After(s.cfg.Now().Add(jobs.IdempotencyLife+s.cfg.Policy.Skew)), "expiresAt is further off than its life")
	} else {
		c.That(p.Fingerprint == doc.Ref.ID, "fingerprint is not its id")
	}
	return c.What()
}

// admit refuses a job of an org whose queue is full. Requests that arrive in the same instant are all counted
// before any is written, so the limit may be passed by their number.
func (s *Store) admit(ctx context.Context, orgID string) error {
	limit := s.cfg.Limits.Of(orgID).QueuedJobs
	if limit == 0 {
		return nil
	}
	// Served by the index that has the queued jobs of an org side by side, up to the limit: the price of one
	// read for each 1,000 that the limit allows.
	n, err := s.count(ctx, s.inState(orgID, jobs.Queued).Limit(limit))
	if err != nil {
		return fmt.Errorf("count queued jobs: %w", err)
	}
	if n < int64(limit) {
		return nil
	}
	page, err := s.List(ctx, jobs.List{OrgID: orgID, State: jobs.Running, PageSize: 10})
	if err != nil {
		return err
	}
	full := &jobs.QueueFullError{Limit: limit}
	for _, j := range page.Jobs {
		full.RunningIDs = append(full.RunningIDs, j.ID)
	}
	return full
}
