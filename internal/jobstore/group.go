package jobstore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"cloud.google.com/go/firestore"

	"exportd/internal/panics"
	"exportd/internal/telemetry"
	"exportd/jobs"
)

// change is a transition that somebody waits for.
type change struct {
	partID, actor string
	fn            func(*jobs.Tx) error

	job *jobs.Job // as fn left it
	err error     // of fn

	// A change that waits is told once: that it leads the next group, or that its group is through.
	lead chan bool
	end  error // of its group
}

// maxGroup bounds the changes that are committed together, far below the 500 writes that a commit may have:
// each takes at most seven. A worker has 4 parts in flight by default.
const maxGroup = 32

// errAborted is the end of a group of which the leader panicked.
var errAborted = errors.New("the transition was aborted")

// groupQueue lets one group of changes at a time work on a job, within this process.
type groupQueue struct {
	mu      sync.Mutex
	waiting map[string][]*change // by job; a key is there while a group is at work
}

// do has c applied in a group of changes of the job, and returns the error of the group. The first of a group
// leads it: its apply is called with all of them. When a leader's context ends it, its group goes on without
// it.
func (t *groupQueue) do(ctx context.Context, jobID string, c *change, apply func([]*change) error) error {
	if lead := t.enter(ctx, jobID, c); !lead {
		return c.end
	}
	t.mu.Lock()
	rest := t.waiting[jobID]
	n := min(len(rest), maxGroup-1)
	others := slices.Clone(rest[:n])
	t.waiting[jobID] = rest[n:]
	t.mu.Unlock()

	err := errAborted
	defer func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		rest := t.waiting[jobID]
		if err != nil && ctx.Err() != nil {
			rest = slices.Concat(others, rest)
			others = nil
		}
		for _, o := range others {
			o.end = err
			o.lead <- false
		}
		if len(rest) == 0 {
			delete(t.waiting, jobID)
			return
		}
		t.waiting[jobID] = rest[1:]
		rest[0].lead <- true
	}()
	err = apply(append([]*change{c}, others...))
	return err
}

// enter waits until c leads a group or was in one. What waits and was not taken yet leaves when ctx ends; a
// group that took it ends soon, since its commit is bounded.
func (t *groupQueue) enter(ctx context.Context, jobID string, c *change) (lead bool) {
	t.mu.Lock()
	if _, busy := t.waiting[jobID]; !busy {
		t.waiting[jobID] = nil
		t.mu.Unlock()
		return true
	}
	c.lead = make(chan bool, 1)
	t.waiting[jobID] = append(t.waiting[jobID], c)
	t.mu.Unlock()
	select {
	case lead := <-c.lead:
		return lead
	case <-ctx.Done():
	}
	t.mu.Lock()
	i := slices.Index(t.waiting[jobID], c)
	if i >= 0 {
		t.waiting[jobID] = slices.Delete(t.waiting[jobID], i, i+1)
		c.end = context.Cause(ctx)
	}
	t.mu.Unlock()
	return i < 0 && <-c.lead
}

// group is what the changes of a group make of a job, one on top of the other.
type group struct {
	job     jobs.Job
	updated time.Time                              // of the job's document
	unread  bool                                   // job and updated are not of a read, but remembered
	docs    map[string]*firestore.DocumentSnapshot // parts as read
	parts   map[string]*jobs.Part                  // parts as changed

	places        map[int]placeDocs // as read
	order         []int             // in which places are looked at
	changedPlaces map[placeKey]*jobs.Place
	next          []string // the jobs of the org that have waited longest; nil if nobody has asked

	steps     []step
	created   []*jobs.Part
	events    []jobs.Event
	callbacks []*jobs.Callback
	tallies   []*jobs.Tally
	settled   []*jobs.BudgetDay
	met       []*jobs.CauseNote
	audit     []*jobs.AuditEntry
}

// step is a change as it was made, to be told of once it is committed.
type step struct {
	before, after jobs.Job
	events        []jobs.Event
	parts         [][2]jobs.Part // before and after
}

// recordTransitions tells of the changes one by one.
func (g *group) recordTransitions(to *telemetry.Transitions) {
	for i := range g.steps {
		s := &g.steps[i]
		to.Job(&s.before, &s.after, s.events)
		for k := range s.parts {
			to.Part(&s.after, &s.parts[k][0], &s.parts[k][1])
		}
	}
}

func newGroup(job jobs.Job, updated time.Time) *group {
	return &group{job: job, updated: updated, docs: map[string]*firestore.DocumentSnapshot{}, parts: map[string]*jobs.Part{},
		places: map[int]placeDocs{}, changedPlaces: map[placeKey]*jobs.Place{}}
}

// maxReads bounds the rounds of reading what a transition asks for: a claim asks for one place, then for all,
// and who is next, an end for the job's place and then for its parts under way.
const maxReads = 8

// add runs a change. One that fails leaves nothing behind. A transition reads nothing by itself: what it asks
// for and has not been read yet is read here, all at once, and the transition runs again.
func (g *group) add(ctx context.Context, s *Store, c *change) (*jobs.Job, error) {
	for range maxReads {
		job, want := g.job, &wanted{}
		tx := jobs.NewTx(s.cfg.Policy, s.cfg.Now(), c.actor, &job, func(id string) (*jobs.Part, error) { return g.part(s, want, id) })
		tx.Places = groupPlaces{s, g, want}
		// A fault of one transition is that one's error, and none of those that are committed with it.
		if err := panics.Do(func() error { return c.fn(tx) }); want.any() {
			if err := g.read(ctx, s, want); err != nil {
				return nil, err
			}
			continue
		} else if err != nil {
			return nil, err
		}
		g.addChanges(tx)
		return &job, nil
	}
	return nil, fmt.Errorf("the transition asks for ever more documents: %w", jobs.ErrUnavailable)
}

// addChanges takes what a transition has changed.
func (g *group) addChanges(tx *jobs.Tx) {
	made := step{before: g.job, after: *tx.Job, events: tx.Events}
	g.job = *tx.Job
	for _, p := range tx.ChangedPlaces {
		g.changedPlaces[placeKey{p.Number, p.Slot()}] = p
	}
	for _, p := range tx.ChangedParts() {
		was := g.parts[p.ID]
		if was == nil {
			was = decodePart(g.docs[p.ID])
		}
		made.parts = append(made.parts, [2]jobs.Part{*was, *p})
		g.parts[p.ID] = p
	}
	g.steps = append(g.steps, made)
	g.created = append(g.created, tx.NewParts...)
	g.events = append(g.events, tx.Events...)
	g.tallies = append(g.tallies, tx.Tally)
	if tx.Settlement != nil {
		g.settled = append(g.settled, tx.Settlement)
	}
	if tx.Audit != nil {
		g.audit = append(g.audit, tx.Audit)
	}
	if tx.Met != nil {
		g.met = append(g.met, tx.Met)
	}
	if tx.Callback != nil {
		g.callbacks = append(g.callbacks, tx.Callback)
	}
}

// wanted is what a transition asked for that was not read yet.
type wanted struct {
	parts  []string
	places []int
	next   bool
}

func (w *wanted) any() bool { return len(w.parts)+len(w.places) > 0 || w.next }

// read reads what is wanted: documents in one round trip.
func (g *group) read(ctx context.Context, s *Store, w *wanted) error {
	if w.next {
		next, err := s.next(ctx, g.job.OrgID)
		if err != nil {
			return err
		}
		g.next = append([]string{}, next...)
	}
	refs := make([]*firestore.DocumentRef, 0, len(w.parts)+len(w.places)*jobs.PlaceTurns)
	for _, id := range w.parts {
		refs = append(refs, s.parts(g.job.ID).Doc(id))
	}
	for _, n := range w.places {
		refs = append(refs, s.placeRefs(g.job.OrgID, n)...)
	}
	docs, err := s.client.GetAll(ctx, refs)
	if err != nil {
		return classify(err)
	}
	for i, id := range w.parts {
		g.docs[id] = docs[i]
	}
	docs = docs[len(w.parts):]
	for i, n := range w.places {
		g.places[n] = s.readPlace(docs[i*jobs.PlaceTurns:(i+1)*jobs.PlaceTurns], g.job.OrgID, n)
	}
	return nil
}

// part gives a part as the changes of the group leave it.
func (g *group) part(s *Store, want *wanted, id string) (*jobs.Part, error) {
	if p := g.parts[id]; p != nil {
		again := *p
		return &again, nil
	}
	doc := g.docs[id]
	switch {
	case doc == nil:
		want.parts = append(want.parts, id)
		return nil, jobs.ErrUnread
	case !doc.Exists() || s.lapsed(doc):
		return nil, jobs.ErrNotFound
	}
	p := decodePart(doc)
	if err := p.Check(&g.job, s.cfg.Now()); err != nil {
		s.damaged(telemetry.PartDocument, doc, err.Error())
	}
	return p, nil
}

// changed lists the parts to update, in order.
func (g *group) changed() []*jobs.Part {
	return slices.SortedFunc(maps.Values(g.parts), func(a, b *jobs.Part) int { return a.Index - b.Index })
}
