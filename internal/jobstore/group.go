package jobstore

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"cloud.google.com/go/firestore"

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
	told chan bool
	end  error // of its group
}

// maxGroup bounds the changes that are committed together, far below the 500 writes that a
// commit may have: each takes at most five. A worker has 4 parts in flight by default.
const maxGroup = 32

// errAborted is the end of a group of which the leader panicked.
var errAborted = errors.New("the transition was aborted")

// groupQueue lets one group of changes at a time work on a job, within this process.
type groupQueue struct {
	mu      sync.Mutex
	waiting map[string][]*change // by job; a key is there while a group is at work
}

// do has c applied in a group of changes of the job, and returns the error of the group. The
// first of a group leads it: its apply is called with all of them. When a leader's context ends
// it, its group goes on without it.
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
			o.told <- false
		}
		if len(rest) == 0 {
			delete(t.waiting, jobID)
			return
		}
		t.waiting[jobID] = rest[1:]
		rest[0].told <- true
	}()
	err = apply(append([]*change{c}, others...))
	return err
}

// enter waits until c leads a group or was in one. What waits and was not taken yet leaves
// when ctx ends; a group that took it ends soon, since its commit is bounded.
func (t *groupQueue) enter(ctx context.Context, jobID string, c *change) (lead bool) {
	t.mu.Lock()
	if _, busy := t.waiting[jobID]; !busy {
		t.waiting[jobID] = nil
		t.mu.Unlock()
		return true
	}
	c.told = make(chan bool, 1)
	t.waiting[jobID] = append(t.waiting[jobID], c)
	t.mu.Unlock()
	select {
	case lead := <-c.told:
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
	return i < 0 && <-c.told
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

	created   []*jobs.Part
	events    []jobs.Event
	callbacks []*jobs.Callback
}

func newGroup(job jobs.Job, updated time.Time) *group {
	return &group{job: job, updated: updated, docs: map[string]*firestore.DocumentSnapshot{}, parts: map[string]*jobs.Part{},
		places: map[int]placeDocs{}, changedPlaces: map[placeKey]*jobs.Place{}}
}

// add runs a change. One that fails leaves nothing behind.
func (g *group) add(ctx context.Context, s *Store, c *change) (*jobs.Job, error) {
	job := g.job
	tx := jobs.NewTx(s.cfg.Policy, s.cfg.Now(), c.actor, &job, func(id string) (*jobs.Part, error) {
		if p := g.parts[id]; p != nil {
			again := *p
			return &again, nil
		}
		return g.read(ctx, s, id)
	})
	tx.Places = groupPlaces{ctx, s, g}
	if err := c.fn(tx); err != nil {
		return nil, err
	}
	g.job = job
	for _, p := range tx.ChangedPlaces {
		g.changedPlaces[placeKey{p.Number, p.Slot()}] = p
	}
	for _, p := range tx.ChangedParts() {
		g.parts[p.ID] = p
	}
	g.created = append(g.created, tx.NewParts...)
	g.events = append(g.events, tx.Events...)
	if tx.Callback != nil {
		g.callbacks = append(g.callbacks, tx.Callback)
	}
	return &job, nil
}

// read gives a part as it is stored.
func (g *group) read(ctx context.Context, s *Store, id string) (*jobs.Part, error) {
	doc := g.docs[id]
	if doc == nil {
		var err error
		if doc, err = s.parts(g.job.ID).Doc(id).Get(ctx); err != nil {
			return nil, classify(err)
		}
		g.docs[id] = doc
	}
	if !doc.Exists() || s.lapsed(doc) {
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
