//go:build !race

package jobs_test

import (
	"fmt"
	"hash/maphash"
	"strings"
	"time"

	"exportd/jobs"
)

// The model explores the protocol: every order of the steps of two workers, a rescuer, a canceler and an
// operator that share one job, its parts, the objects in storage, a batch that reruns it and a bag of
// messages. Transitions are the real methods of jobs.Tx. A transaction is two steps, read and commit; the
// commit is refused when a document that it writes has changed since the read. Any actor may crash between
// two steps; messages are lost and doubled, and taken in any order; answers of commits get lost; time may
// pass at any step, also beyond leases while their holders stand still. Budgets bound how often each of these
// happens.
//
// What the budgets leave is a finite graph without cycles, so that liveness needs no fairness: if every way
// through it ends with a purged record and no object left, the job always ends, whatever happens in whatever
// order.

// budget indexes what may still go wrong or be asked for.
type budget int

const (
	crash  budget = iota // an actor dies between two steps
	jump                 // time passes although somebody is in the middle of something
	lose                 // a message is lost
	double               // a message is delivered twice
	unsure               // the answer of a commit is lost, with or without the commit
	renew                // a heartbeat
	cancel               // the owner cancels
	remove               // the owner deletes
	rerun                // the operator reruns
	vanish               // the file is deleted from storage by somebody else, and missed
	faultTransient
	faultPermanent
	faultStale
	faultInterrupted
	batch // the operator asks for a batch
	hold  // the operator pauses the batch, or ends it
	void  // the record of a part is found damaged
	spoil // the job's own document is found damaged
	later // a commit makes the job one of a version that only the newer build of a mixed fleet knows
	budgets
)

// The actors. Workers are interchangeable.
const (
	worker1 = iota
	worker2
	rescuer
	canceler
	operator
	actors
)

// actor is one process: where it is in its program and what it remembers.
type actor struct {
	pc    pc
	op    op   // at pcRead and pcCommit: the transition under way
	class int8 // at opEndAttempt: the class of the failure

	msg   message // taken and not acknowledged yet
	token string  // of the lease held
	plan  int64   // the part worked on, plan 0 is the job itself
	part  int
	obj   string // object written and not recorded yet
	all   string // the one with all rows, where obj is to have changes
	mode  jobs.RerunMode

	job *jobDoc // as the actor last got to know it
	// What the pending transaction has read, and when.
	readJob  *jobDoc
	readPart *partDoc
	readAt   int32
	outcome  jobs.BatchOutcome // of the batch, as last read
	list     *list             // object names or part indexes listed before
}

// world is one state of the whole. It is comparable: everything behind a pointer is interned.
type world struct {
	now     int32
	job     *jobDoc // nil once purged
	parts   *partSet
	objects *objectSet
	bag     *bag
	calls   string // ids of callbacks that were made
	batch   *batchDoc
	actors  [actors]actor
	left    [budgets]uint8

	// What only the judge knows: progress shown in this run, results recorded in it, and whether an object
	// came to be after the last sweep.
	shown   int64
	results int
	late    bool
	batched int // how often the batch has run the job again
	// gone is the file that somebody else deleted.
	gone string
	// spent are the rows of the key's day, of which the job has reserved some; settled is how often the day
	// was told what a run came to, forfeited that a damaged job never tells.
	spent     int64
	settled   int
	forfeited bool
}

// scenario is what one exploration starts from.
type scenario struct {
	name   string
	parts  int
	window int
	// interruptions is the policy's MaxInterruptions.
	interruptions int
	budget        map[budget]uint8
	deep          map[budget]uint8 // used instead with -model.deep
	resume        bool             // the operator reruns with mode resume
	// twice: two rescuers believe that they hold the job's shard. The second is in the canceler's place.
	twice bool
	// batchTwice: two workers carry the batch out. The second is in the canceler's place.
	batchTwice bool
	// canary: the batch is one.
	canary bool
	// mixed: some actors are of an older build, see model_fleet_test.go.
	mixed bool
	// since: the job is to tell the changes to another one's file, see model_since_test.go.
	since  bool
	mutate mutation
}

// mutation breaks the protocol on purpose, to show that the checker notices.
type mutation struct {
	// before may change what the actor passes on, after what the transition has done.
	before func(o op, a *actor, tx *jobs.Tx)
	after  func(o op, tx *jobs.Tx)
	// blind commits without looking whether documents have changed.
	blind bool
	// sweepAll sweeps the objects of epochs above the job's, too.
	sweepAll bool
	// tokenless names objects without the token of the lease.
	tokenless bool
	// sweepWhole sweeps what lies behind a file of changes, too.
	sweepWhole bool
	// bluntPurge purges the record without a last sweep of the objects.
	bluntPurge bool
	// anyParts notes as discarded what was claimed more than once.
	anyParts bool
	// afterBatch may change what a transition of the batch has done.
	afterBatch func(*jobs.Batch)
	// hasty takes jobs that a canary has run again for ended.
	hasty bool
	// anyPage notes a page of the batch that somebody else has taken.
	anyPage bool
	// deaf never wakes parts and jobs.
	deaf bool
	// knowing lets the older build of a mixed fleet work on what it does not know.
	knowing bool
}

type model struct {
	scenario
	policy jobs.Policy
	docs   interner
	calls  map[call]*transition

	seed1, seed2 maphash.Seed
	seen         map[[2]uint64]int32 // steps to the farthest end plus 1; 0: on the way
	trail        []string
	steps        int
	ended        map[jobs.State]int // states at which the record was purged
}

const rowsPerPart = 10

var epoch0 = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func at(now int32) time.Time { return epoch0.Add(time.Duration(now) * time.Second) }

func newModel(s scenario) *model {
	return &model{
		scenario: s, docs: newInterner(), calls: map[call]*transition{}, seen: map[[2]uint64]int32{}, ended: map[jobs.State]int{},
		seed1: maphash.MakeSeed(), seed2: maphash.MakeSeed(),
		policy: jobs.Policy{
			LeaseFor: 30 * time.Second, RenewEvery: 5 * time.Second, Skew: 2 * time.Second, NotifyAgain: 20 * time.Second,
			MaxAttempts: 2, MaxInterruptions: s.interruptions, BackoffMin: 2 * time.Second, BackoffMax: 4 * time.Second, Window: s.window,
			SnapshotLife: 10 * time.Minute, FileLife: time.Hour, RecordLife: 2 * time.Hour, SweepAfter: time.Minute,
			Jitter: func() float64 { return 0 },
		},
	}
}

const modelJob = "aaaaaaaaaaaaaaaaaaaaaaaaaa"

// reserved is what the job has reserved of its key's day: more than any run comes to, so that each end tells.
func (m *model) reserved() *jobs.Reservation {
	return &jobs.Reservation{Day: epoch0, Rows: int64(m.parts)*rowsPerPart + 5}
}

func (m *model) start() world {
	job := jobs.Job{
		ID: modelJob, Schema: jobs.SchemaVersion, OrgID: "o", Kind: "vip-users", State: jobs.Queued,
		CreatedAt: epoch0, WakeAt: epoch0.Add(m.policy.NotifyAgain), Shard: jobs.ShardOf(modelJob), CallbackURL: "https://example.com/",
		Fingerprint: jobs.Fingerprint("o", "vip-users", 1, jobs.Params{}), Budget: m.reserved(),
	}
	m.based(&job)
	w := world{spent: job.Budget.Rows, job: m.docs.job(job), parts: m.docs.partSet(nil), objects: m.docs.objectSet(nil), bag: m.docs.publish(m.docs.bag(nil), message{})}
	for b, n := range m.budget {
		w.left[b] = n
	}
	return w
}

// violation ends an exploration. It is raised by panic, far down in the search.
type violation struct {
	what  string
	trail []string
}

func (v violation) String() string {
	return v.what + "\n  " + strings.Join(v.trail, "\n  ")
}

func (m *model) fail(format string, args ...any) {
	panic(violation{fmt.Sprintf(format, args...), append([]string(nil), m.trail...)})
}

// explore runs the whole search and gives the violation found, nil if there is none.
func (m *model) explore() (found *violation) {
	defer func() {
		if r := recover(); r != nil {
			v, ok := r.(violation)
			if !ok {
				panic(r)
			}
			found = &v
		}
	}()
	w := m.start()
	m.steps = int(m.visit(&w))
	return nil
}

// visit explores all that can come after w and gives the longest way to an end.
func (m *model) visit(w *world) int32 {
	m.check(w)
	c := *w
	if !m.mixed && less(&c.actors[worker2], &c.actors[worker1]) {
		c.actors[worker1], c.actors[worker2] = c.actors[worker2], c.actors[worker1]
	}
	key := [2]uint64{maphash.Comparable(m.seed1, c), maphash.Comparable(m.seed2, c)}
	if n, ok := m.seen[key]; ok {
		if n == 0 {
			m.fail("the protocol goes in circles: this state was here before")
		}
		return n - 1
	}
	m.seen[key] = 0
	longest, any := int32(0), false
	m.next(w, func(label string, n *world) {
		any = true
		m.trail = append(m.trail, label)
		longest = max(longest, 1+m.visit(n))
		m.trail = m.trail[:len(m.trail)-1]
	})
	if !any {
		m.checkEnd(w)
	}
	m.seen[key] = longest + 1
	return longest
}

// less orders workers by any order that is the same each time.
func less(a, b *actor) bool {
	if a.pc != b.pc {
		return a.pc < b.pc
	}
	if a.op != b.op {
		return a.op < b.op
	}
	if a.token != b.token {
		return a.token < b.token
	}
	if a.msg != b.msg {
		return a.msg.less(b.msg)
	}
	return a.readAt < b.readAt
}
