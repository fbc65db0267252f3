package jobstore

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"cloud.google.com/go/firestore"
	"google.golang.org/api/iterator"

	"exportd/jobs"
)

// Update applies a transition to a job and commits what it changed, all or nothing, again from the start when
// somebody else was faster; fn must therefore only touch its Tx, and what it leaves behind elsewhere be right
// when it runs again. An error of fn ends it and is returned as it is. Returns the job as it was after fn.
func (s *Store) Update(ctx context.Context, jobID, actor string, fn func(*jobs.Tx) error) (*jobs.Job, error) {
	return s.UpdatePart(ctx, jobID, "", actor, fn)
}

// UpdatePart is Update for a transition of a part: job and part are read in one round trip.
//
// The commits of a job's parts follow each other at the job's document. So those of one process go together:
// while one is under way, others of the same job wait and then share a read and a commit. Each sees what
// those before it in the group have done.
func (s *Store) UpdatePart(ctx context.Context, jobID, partID, actor string, fn func(*jobs.Tx) error) (*jobs.Job, error) {
	if !jobs.ValidID(jobID) {
		return nil, fmt.Errorf("job id: %w", jobs.ErrNotFound)
	}
	c := &change{partID: partID, actor: actor, fn: fn}
	err := s.groups.do(ctx, jobID, c, func(group []*change) error {
		return retry(ctx, func() error { return s.apply(ctx, jobID, group) })
	})
	if err != nil {
		return nil, err // c.err may come of what was not committed
	}
	if c.err != nil {
		s.cfg.Transitions.Refused(partID != "", c.err)
	}
	return c.job, c.err
}

// apply runs a group of changes on a job and commits them at once.
func (s *Store) apply(ctx context.Context, jobID string, group []*change) error {
	if done, err := s.applyLeased(ctx, jobID, group); done || err != nil {
		return err
	}
	g, err := s.readGroup(ctx, jobID, group)
	if err != nil {
		return err
	}
	_, err = s.applyTo(ctx, g, group)
	return err
}

// applyLeased is apply without a read, for who holds the job's lease. Not done means that nothing was
// changed, and that nothing it found is to be believed.
func (s *Store) applyLeased(ctx context.Context, jobID string, group []*change) (done bool, err error) {
	k, ok := s.leased.take(jobID)
	if !ok || slices.ContainsFunc(group, func(c *change) bool { return c.partID != "" }) {
		return false, nil
	}
	g := newGroup(k.job, k.updated)
	g.unread = true
	if k.place != nil {
		g.places[k.job.Place] = *k.place
	}
	done, err = s.applyTo(ctx, g, group)
	if errors.Is(err, errConflict) {
		return false, nil
	}
	return done, err
}

// readGroup reads the job and the parts that a group is about.
func (s *Store) readGroup(ctx context.Context, jobID string, group []*change) (*group, error) {
	refs := []*firestore.DocumentRef{s.jobs().Doc(jobID)}
	for _, c := range group {
		if ref := s.parts(jobID).Doc(c.partID); c.partID != "" && !slices.ContainsFunc(refs, func(r *firestore.DocumentRef) bool { return r.Path == ref.Path }) {
			refs = append(refs, ref)
		}
	}
	docs, err := s.client.GetAll(ctx, refs)
	if err != nil {
		return nil, fmt.Errorf("get job %s: %w", jobID, classify(err))
	}
	if !docs[0].Exists() {
		return nil, fmt.Errorf("get job %s: %w", jobID, jobs.ErrNotFound)
	}
	g := newGroup(*s.readJob(docs[0]), docs[0].UpdateTime)
	for _, doc := range docs[1:] {
		g.docs[doc.Ref.ID] = doc
	}
	return g, nil
}

// applyTo runs the changes one on top of the other and commits what they change, if anything. A change that
// fails leaves nothing behind and does not hinder the others.
func (s *Store) applyTo(ctx context.Context, g *group, group []*change) (committed bool, err error) {
	before, jobID := g.job, g.job.ID
	for _, c := range group {
		if c.job, c.err = g.add(ctx, s, c); c.err != nil && g.unread {
			return false, nil
		}
		if c.err != nil && ctx.Err() != nil {
			return false, c.err // of the leader's leaving, which is none of the others'
		}
	}
	rev := jobs.NewToken()
	batch, updates := s.newWrites(), 0
	landed := func(context.Context) (bool, error) { return false, nil }
	created, changed := g.job.StoredWith(g.created), g.job.StoredWith(g.changed())
	for _, p := range changed {
		p.Rev = rev
		updates++
		batch.Update(s.parts(jobID).Doc(p.ID), fields(p), firestore.LastUpdateTime(g.docs[p.ID].UpdateTime))
		landed = s.hasRev(s.parts(jobID).Doc(p.ID), rev)
	}
	jobWrite := -1
	if !reflect.DeepEqual(before, g.job) {
		g.job.Rev, jobWrite = rev, updates
		updates++
		batch.Update(s.jobs().Doc(jobID), fields(g.job.Stored()), firestore.LastUpdateTime(g.updated))
		landed = s.hasRev(s.jobs().Doc(jobID), rev)
	}
	placeWrites := map[placeKey]int{}
	for key, p := range g.changedPlaces {
		placeWrites[key] = updates
		updates++
		s.writePlace(batch, g.places[key.number][key.slot], p, rev)
	}
	for _, p := range created {
		batch.Create(s.parts(jobID).Doc(p.ID), p)
	}
	s.addEvents(batch, jobID, g.events)
	for _, cb := range g.callbacks {
		batch.Create(s.callbacks().Doc(cb.ID), cb.Stored())
	}
	for _, t := range g.tallies {
		s.addTally(batch, t)
	}
	for _, by := range g.settled {
		s.addSettlement(batch, by)
	}
	noted := s.addCauses(ctx, batch, g.met...)
	s.addAudit(batch, g.audit...)
	if updates == 0 || g.unread && jobWrite < 0 {
		return false, nil
	}
	// One of the group may leave while the others wait: what is sent is not taken back.
	results, err := s.commitResults(context.WithoutCancel(ctx), batch, landed)
	if err != nil {
		return false, fmt.Errorf("commit job %s: %w", jobID, err)
	}
	noted()
	g.recordTransitions(s.cfg.Transitions)
	if jobWrite >= 0 && results != nil {
		known := leasedJob{job: g.job, updated: results[jobWrite].UpdateTime}
		if place, ok := g.places[g.job.Place]; ok {
			for key, i := range placeWrites {
				if key.number == g.job.Place {
					place[key.slot] = placeDoc{place: g.changedPlaces[key], exists: true, updated: results[i].UpdateTime}
				}
			}
			known.place = &place
		}
		s.leased.note(jobID, known)
	}
	return true, nil
}

// hasRev tells whether a document holds the write with this rev.
func (s *Store) hasRev(ref *firestore.DocumentRef, rev string) func(context.Context) (bool, error) {
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

// read gets a job with its snapshot.
func (s *Store) read(ctx context.Context, jobID string) (*jobs.Job, *firestore.DocumentSnapshot, error) {
	if !jobs.ValidID(jobID) {
		return nil, nil, fmt.Errorf("job id: %w", jobs.ErrNotFound)
	}
	doc, err := s.jobs().Doc(jobID).Get(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("get job %s: %w", jobID, classify(err))
	}
	return s.readJob(doc), doc, nil
}

// Get reads a job. ErrNotFound if there is none. One whose document makes no sense is ended by whoever reads
// it: it may be in no index by which the rescuer would find it soon.
func (s *Store) Get(ctx context.Context, jobID string) (*jobs.Job, error) {
	job, _, err := s.read(ctx, jobID)
	if err != nil {
		return nil, err
	}
	return s.seen(ctx, job), nil
}

// GetOf is Get of a job of an org: another org's is ErrNotFound. It asks by org and id at once, not by id:
// another org's document is neither read nor ended, so that neither time nor bill tells that there is one. An
// index leads to the one document, or none.
func (s *Store) GetOf(ctx context.Context, orgID, jobID string) (*jobs.Job, error) {
	if !jobs.ValidID(jobID) {
		return nil, fmt.Errorf("job id: %w", jobs.ErrNotFound)
	}
	it := s.jobs().Where("orgId", "==", orgID).Where(firestore.DocumentID, "==", s.jobs().Doc(jobID)).Limit(1).Documents(ctx)
	defer it.Stop()
	doc, err := it.Next()
	if err == iterator.Done {
		err = jobs.ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("get job %s: %w", jobID, classify(err))
	}
	return s.seen(ctx, s.readJob(doc)), nil
}

// seen is a job as it is shown, ended if it makes no sense.
func (s *Store) seen(ctx context.Context, job *jobs.Job) *jobs.Job {
	shown := s.shown(job)
	if shown != job {
		if ended, err := s.Update(ctx, job.ID, "reader", (*jobs.Tx).Invalidate); err == nil {
			return ended
		}
	}
	return shown
}

// Watch calls fn with the job as readers get it and again after each change, until fn says stop or ctx ends.
// It listens, it does not poll. ErrNotFound when the job is not or no longer there.
func (s *Store) Watch(ctx context.Context, jobID string, fn func(*jobs.Job) (stop bool)) error {
	if !jobs.ValidID(jobID) {
		return fmt.Errorf("job id: %w", jobs.ErrNotFound)
	}
	gone := false
	err := s.cfg.Documents.Watch(ctx, "ExportJobs/"+jobID, func(doc *firestore.DocumentSnapshot) bool {
		gone = !doc.Exists()
		return gone || fn(s.shownJob(doc))
	})
	switch {
	case gone:
		return fmt.Errorf("watch job %s: %w", jobID, jobs.ErrNotFound)
	case err != nil && ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return fmt.Errorf("watch job %s: %w", jobID, classify(err))
	}
	return nil
}

// snapshots is Documents by a stream of the client's for each call.
type snapshots struct{ client *firestore.Client }

func (s snapshots) Watch(ctx context.Context, path string, fn func(*firestore.DocumentSnapshot) bool) error {
	it := s.client.Doc(path).Snapshots(ctx)
	defer it.Stop()
	for {
		doc, err := it.Next()
		if err != nil || fn(doc) {
			return err
		}
	}
}
