package jobs

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Tx is one transaction on a job. Its methods are the transitions; each either changes Job, parts, events and
// callback together and returns nil, or returns an error and the transaction must be dropped. Not safe for
// concurrent use.
type Tx struct {
	Policy Policy
	Now    time.Time
	Actor  string // "worker w1", "api key k1": goes into the events
	Job    *Job
	// Spent is what the attempt has taken so far that the caller is at, or whose end it records.
	Spent Spent

	// Events and Callback are written with the job when the transaction commits.
	Events   []Event
	Callback *Callback
	// Tally, if not nil, is added to the rollups in that commit.
	Tally *Tally
	// Settlement, if not nil, is added to its day in that commit: Rows and Reads are by how much it changes.
	Settlement *BudgetDay
	// Met, if not nil, is the cause that has ended the run: it is noted with that commit.
	Met *CauseNote
	// Audit, if not nil, is written with that commit.
	Audit *AuditEntry
	// Places, if not nil, are those that the org's running jobs take, and ChangedPlaces the documents of them
	// that the transaction changed, each once.
	Places        Places
	ChangedPlaces []*Place
	// NewParts are created, Parts (those loaded through Part) updated where changed.
	NewParts []*Part
	Parts    map[string]*Part
	changed  map[string]bool

	// load gives a part that the store has read; ErrUnread where it has to read it first.
	load func(partID string) (*Part, error)
}

// NewTx starts a transaction on job; load gives a part of it as the transaction has read it, or ErrUnread: no
// transition calls a store.
func NewTx(p Policy, now time.Time, actor string, job *Job, load func(partID string) (*Part, error)) *Tx {
	job.reshard() // also where another version, or a hand, left none
	return &Tx{Policy: p, Now: now.UTC().Truncate(time.Microsecond), Actor: actor, Job: job, Parts: map[string]*Part{}, changed: map[string]bool{}, load: load}
}

// ChangedParts lists the loaded parts that the transaction changed, by index.
func (tx *Tx) ChangedParts() []*Part {
	var out []*Part
	for id := range tx.changed {
		out = append(out, tx.Parts[id])
	}
	slices.SortFunc(out, func(a, b *Part) int { return a.Index - b.Index })
	return out
}

// part gives a part of the plan in force. One that is missing is as damaged as one that makes no sense:
// ErrInvalid.
func (tx *Tx) part(index int) (*Part, error) {
	p, err := tx.partByID(PartID(tx.Job.PlanEpoch, index))
	if errors.Is(err, ErrNotFound) {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return p, err
}

// partByID gives a part of any plan, without what an earlier run of the job left on it.
func (tx *Tx) partByID(id string) (*Part, error) {
	if p, ok := tx.Parts[id]; ok {
		return p, nil
	}
	p, err := tx.load(id)
	if err != nil {
		return nil, fmt.Errorf("load part %s of job %s: %w", id, tx.Job.ID, err)
	}
	if err := p.Check(tx.Job, tx.Now); err != nil {
		return nil, err
	}
	if p.JobEpoch != tx.Job.Epoch && p.State != PartDone {
		p.State, p.Lease, p.NotBefore, p.Attempt, p.Interruptions = PartPending, Lease{}, time.Time{}, 0, 0
		p.Spent, p.SpentNow, p.SpentCounted = Spent{}, Spent{}, false
	}
	p.Shard = PartShard(tx.Job.ID, p.Index)
	tx.Parts[id] = p
	return p, nil
}

func (tx *Tx) touch(p *Part) { tx.changed[p.ID] = true }

// event adds a line about the job to the timeline.
func (tx *Tx) event(t EventType, code Code, message, reason string) {
	tx.Events = append(tx.Events, Event{At: tx.Now, Type: t, Actor: tx.Actor, Attempt: tx.Job.Attempt, Part: -1, Code: code, Message: message, Reason: reason, LapsesAt: tx.Policy.LapsesAt(tx.Now)})
}

func (tx *Tx) become(next State) error {
	if !tx.Job.State.CanBecome(next) {
		return &TransitionError{JobID: tx.Job.ID, State: tx.Job.State, To: next}
	}
	if tx.Job.State == Running {
		if err := tx.leavePlace(); err != nil {
			return err
		}
	}
	tx.addStateTime(next)
	tx.Job.State = next
	tx.Job.reshard()
	return nil
}

// check refuses what this version must not touch.
func (tx *Tx) check() error {
	j := tx.Job
	if foreign(j.Schema) {
		return fmt.Errorf("job %s has schema %d, this is %d: %w", j.ID, j.Schema, SchemaVersion, ErrUnknownSchema)
	}
	return j.Check(tx.Now)
}

// holds refuses whoever does not hold the job's lease.
func (tx *Tx) holds(l Lease) error {
	if err := tx.check(); err != nil {
		return err
	}
	if tx.Job.State != Running || l.Token == "" || tx.Job.Lease.Token != l.Token {
		return fmt.Errorf("job %s (%s): %w", tx.Job.ID, tx.Job.State, ErrLeaseLost)
	}
	return nil
}

// grant makes the lease of a new claim.
func (tx *Tx) grant(owner string) Lease {
	token := tx.Policy.Token
	if token == nil {
		token = NewToken
	}
	return Lease{Token: token(), Owner: owner, Until: tx.Now.Add(tx.Policy.LeaseFor)}
}

// expired reports whether a lease may be taken from its holder.
func (tx *Tx) expired(l Lease) bool {
	return !Held(l.Until, tx.Now, tx.Policy.LeaseFor, tx.Policy.Skew)
}

// waits reports whether a pause until t is not over. No transition makes one longer than BackoffMax: one that
// is further off is not believed.
func (tx *Tx) waits(t time.Time) bool {
	return tx.Now.Before(t) && !t.After(tx.Now.Add(tx.Policy.BackoffMax+tx.Policy.Skew))
}

// soon reports whether wakeAt can be what a transition set: somebody will look within most.
func (tx *Tx) soon(wakeAt time.Time, most time.Duration) bool {
	return tx.Now.Before(wakeAt) && !wakeAt.After(tx.Now.Add(most))
}

// leaseWake is when the rescuer looks whether a lease was renewed.
func (tx *Tx) leaseWake(l Lease) time.Time { return l.Until.Add(tx.Policy.Skew + time.Second) }
