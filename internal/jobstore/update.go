package jobstore

import (
	"context"
	"errors"
	"fmt"
	"reflect"

	"cloud.google.com/go/firestore"

	"exportd/jobs"
)

// Update applies a transition to a job and commits what it changed, all or nothing, again
// from the start when somebody else was faster; fn must therefore only touch its Tx. An
// error of fn ends it and is returned as it is. Returns the job as committed.
func (s *Store) Update(ctx context.Context, jobID, actor string, fn func(*jobs.Tx) error) (*jobs.Job, error) {
	return s.UpdatePart(ctx, jobID, "", actor, fn)
}

// UpdatePart is Update for a transition of a part: job and part are read in one round trip.
// The commits of a job's parts follow each other at the job's document, so that each round
// trip between read and commit would make all of them wait.
func (s *Store) UpdatePart(ctx context.Context, jobID, partID, actor string, fn func(*jobs.Tx) error) (*jobs.Job, error) {
	var job *jobs.Job
	err := retry(ctx, func() error {
		var err error
		job, err = s.update(ctx, jobID, partID, actor, fn)
		return err
	})
	if err != nil {
		return nil, err
	}
	return job, nil
}

func (s *Store) update(ctx context.Context, jobID, partID, actor string, fn func(*jobs.Tx) error) (*jobs.Job, error) {
	if !jobs.ValidID(jobID) {
		return nil, fmt.Errorf("job id: %w", jobs.ErrNotFound)
	}
	refs := []*firestore.DocumentRef{s.jobs().Doc(jobID)}
	if partID != "" {
		refs = append(refs, s.parts(jobID).Doc(partID))
	}
	docs, err := s.client.GetAll(ctx, refs)
	if err != nil {
		return nil, fmt.Errorf("get job %s: %w", jobID, classify(err))
	}
	at := docs[0]
	if !at.Exists() {
		return nil, fmt.Errorf("get job %s: %w", jobID, jobs.ErrNotFound)
	}
	job := decodeJob(at)
	before := *job
	partDocs := map[string]*firestore.DocumentSnapshot{}
	for _, doc := range docs[1:] {
		partDocs[doc.Ref.ID] = doc
	}
	tx := jobs.NewTx(s.cfg.Policy, s.cfg.Now(), actor, job, func(id string) (*jobs.Part, error) {
		doc := partDocs[id]
		if doc == nil {
			if doc, err = s.parts(jobID).Doc(id).Get(ctx); err != nil {
				return nil, classify(err)
			}
			partDocs[id] = doc
		}
		if !doc.Exists() {
			return nil, jobs.ErrNotFound
		}
		p := &jobs.Part{}
		if err := decode(doc, p); err != nil {
			return nil, err
		}
		p.ID = id
		return p, nil
	})
	if err := fn(tx); err != nil {
		return nil, err
	}
	rev := jobs.NewToken()
	batch, empty := s.newWrites(), true
	ours := func(context.Context) (bool, error) { return false, nil }
	for _, p := range tx.ChangedParts() {
		p.Rev, empty = rev, false
		batch.Update(s.parts(jobID).Doc(p.ID), fields(p), firestore.LastUpdateTime(partDocs[p.ID].UpdateTime))
		ours = s.carries(s.parts(jobID).Doc(p.ID), rev)
	}
	if !reflect.DeepEqual(before, *job) {
		job.Rev, empty = rev, false
		batch.Update(s.jobs().Doc(jobID), fields(job), firestore.LastUpdateTime(at.UpdateTime))
		ours = s.carries(s.jobs().Doc(jobID), rev)
	}
	for _, p := range tx.NewParts {
		batch.Create(s.parts(jobID).Doc(p.ID), p)
	}
	s.addEvents(batch, jobID, tx.Events)
	if tx.Callback != nil {
		batch.Create(s.callbacks().Doc(tx.Callback.ID), tx.Callback)
	}
	if empty {
		return job, nil
	}
	if err := commit(ctx, batch, ours); err != nil {
		return nil, fmt.Errorf("commit job %s: %w", jobID, err)
	}
	return job, nil
}

// carries tells whether a document holds the write with this rev.
func (s *Store) carries(ref *firestore.DocumentRef, rev string) func(context.Context) (bool, error) {
	return func(ctx context.Context) (bool, error) {
		doc, err := ref.Get(ctx)
		if err != nil {
			return false, err
		}
		got, err := doc.DataAt("rev")
		return err == nil && got == rev, nil
	}
}

func (s *Store) addEvents(batch *writes, jobID string, events []jobs.Event) {
	for i, e := range events {
		// Ids sort by time; the random end keeps two writers of one microsecond apart.
		id := fmt.Sprintf("%016d-%03d-%s", e.At.UnixMicro(), i, jobs.NewToken()[:6])
		batch.Create(s.events(jobID).Doc(id), e)
	}
}

// read gets a job with its snapshot. A document that cannot be decoded is given as a job
// that every transition refuses with ErrInvalid, so that the rescuer can end it.
func (s *Store) read(ctx context.Context, jobID string) (*jobs.Job, *firestore.DocumentSnapshot, error) {
	if !jobs.ValidID(jobID) {
		return nil, nil, fmt.Errorf("job id: %w", jobs.ErrNotFound)
	}
	doc, err := s.jobs().Doc(jobID).Get(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("get job %s: %w", jobID, classify(err))
	}
	return decodeJob(doc), doc, nil
}

func decodeJob(doc *firestore.DocumentSnapshot) *jobs.Job {
	job := &jobs.Job{}
	if err := decode(doc, job); errors.Is(err, jobs.ErrInvalid) {
		org, _ := doc.DataAt("orgId")
		name, _ := org.(string)
		job = &jobs.Job{Schema: jobs.SchemaVersion, OrgID: name, CreatedAt: doc.CreateTime}
	}
	job.ID = doc.Ref.ID
	return job
}

// Get reads a job. ErrNotFound if there is none.
func (s *Store) Get(ctx context.Context, jobID string) (*jobs.Job, error) {
	job, _, err := s.read(ctx, jobID)
	return job, err
}

// Watch calls fn with the job as it is and again after each change, until fn says stop or
// ctx ends. It listens, it does not poll. ErrNotFound when the job is not or no longer there.
func (s *Store) Watch(ctx context.Context, jobID string, fn func(*jobs.Job) (stop bool)) error {
	if !jobs.ValidID(jobID) {
		return fmt.Errorf("job id: %w", jobs.ErrNotFound)
	}
	it := s.jobs().Doc(jobID).Snapshots(ctx)
	defer it.Stop()
	for {
		doc, err := it.Next()
		if err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return fmt.Errorf("watch job %s: %w", jobID, classify(err))
		}
		if !doc.Exists() {
			return fmt.Errorf("watch job %s: %w", jobID, jobs.ErrNotFound)
		}
		if fn(decodeJob(doc)) {
			return nil
		}
	}
}
