// Package worker is the pool that carries exports out.
//
// A Pool pulls messages from the queues as it has free slots, claims what they name, acknowledges, and works
// under the claim's lease, which it renews until the work has ended and its outcome is recorded. One pool of
// all also is the rescuer, which does what is due for jobs that nobody came for (see package jobs).
//
// Jobs have slots of their own beside parts: counting, planning and exports of one part never wait behind the
// parts of a large export. That is the queue of exports, which are small or about to be cut.
package worker

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"

	"exportd/internal/export"
	"exportd/internal/panics"
	"exportd/internal/telemetry"
	"exportd/internal/tracing"
	"exportd/jobs"
)

// Store is what the pool needs of a job store. internal/jobstore has it.
type Store interface {
	jobs.TxStore
	jobs.PartStore
	jobs.WaitStore
	jobs.DueStore
	jobs.PurgeStore
	jobs.PartitionStore
	jobs.SwitchStore
	jobs.PresenceStore
	jobs.ListStore
	jobs.BatchStore
	jobs.CallbackStore
	jobs.ReceiverStore
	jobs.DeadLetterStore
}

// Queue is what the pool needs of a queue. internal/jobqueue has it.
type Queue interface {
	jobs.Publisher
	jobs.Subscriber
}

// exporter is the pipeline; see package export for what each step promises.
type exporter interface {
	Plan(ctx context.Context, j *jobs.Job) (export.Plan, error)
	Write(ctx context.Context, s export.Spec, p *export.Progress) (jobs.PartResult, error)
	Compose(ctx context.Context, j *jobs.Job, parts []*jobs.Part, dst string) (jobs.Result, []string, error)
	Changes(ctx context.Context, j *jobs.Job, whole jobs.Result, dst string) (jobs.Result, error)
	Sweep(ctx context.Context, j *jobs.Job) (int, error)
	Discard(ctx context.Context, names ...string) error
	Lost(ctx context.Context, j *jobs.Job) (bool, error)
}

// Config is what a Pool is made of. All fields but Callbacks, Tracer, TraceProject, Panics and Now are
// required.
type Config struct {
	// ID names the worker to people and in leases.
	ID       string
	Store    Store
	Queue    Queue
	Exporter exporter
	Log      *zap.Logger
	// JobSlots and PartSlots bound what the pool does at a time. Memory is about 10 MiB a slot.
	JobSlots, PartSlots int
	// Drain is how long work may go on after the context of Run has ended; then it is handed back.
	Drain time.Duration
	// Callbacks, when set, has the worker call receivers too.
	Callbacks *CallbackConfig
	Now       func() time.Time
	// Metrics is told of what the pool does between the transitions; nobody is if nil.
	Metrics *telemetry.Work
	// Panics is told of faults outside attempts, and has the metric of all; one of the pool's own if nil.
	Panics *panics.Reporter
	// Tracer makes the spans of what it does; none if nil.
	Tracer *tracing.Tracer
	// TraceProject is the project whose traces log lines lead to; they name none if empty.
	TraceProject string
}

// Pool takes jobs and parts and carries them out.
type Pool struct {
	Config
	policy    jobs.Policy
	actor     string
	callbacks *callbackState
	gates     *gates
	shares    *partitions
	skipped   skipList
	dueSoon   *dueSoon
	work      sync.WaitGroup // claims under way and their work
	priority  *jobPriority
	pulse     *pulse
	sandbox   chan struct{} // a permit for each job of a sandbox in hand
}

// New makes a Pool.
func New(cfg Config) *Pool {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Panics == nil {
		cfg.Panics = panics.NewReporter(cfg.Log)
	}
	return &Pool{Config: cfg, policy: cfg.Store.Policy(), actor: "worker " + cfg.ID, callbacks: newCallbackState(cfg.Callbacks), priority: newJobPriority(), gates: newGates(), shares: newPartitions(), dueSoon: newDueSoon(), pulse: newPulse(cfg.Now), sandbox: make(chan struct{}, sandboxAtOnce)}
}

// Run works until ctx ends; then it takes nothing new, lets work end for at most Drain, hands the rest back
// without spending its attempts, and returns when all is quiet, but 10 s later at the latest: then the
// process is to end.
func (p *Pool) Run(ctx context.Context) error {
	workCtx, interrupt := context.WithCancelCause(context.WithoutCancel(ctx))
	defer interrupt(nil)
	defer p.pulse.stop()
	var loops sync.WaitGroup
	// Each goes on by itself after a panic in a turn of it. One that ends all the same stands still, which
	// Alive tells.
	begin := func(at panics.Place, loop func()) { loops.Go(func() { p.Panics.Run(at, loop) }) }
	begin(panics.Queue, func() { p.consume(ctx, workCtx, jobs.QueueExports, p.JobSlots, p.handleJob) })
	begin(panics.Queue, func() { p.consume(ctx, workCtx, jobs.QueueParts, p.PartSlots, p.handlePart) })
	if p.callbacks != nil {
		begin(panics.Queue, func() {
			p.consume(ctx, workCtx, jobs.QueueCallbacks, p.callbacks.claimSlots(), p.handleCallback)
		})
	}
	begin(panics.Rescuer, func() { p.rescue(ctx, workCtx) })
	begin(panics.Signs, func() { p.Panics.Loop(ctx, panics.Signs, func() { p.switches(ctx) }) })
	begin(panics.Signs, func() { p.presence(ctx) })
	p.Log.Info("worker started", zap.String("worker", p.ID), zap.Int("job_slots", p.JobSlots), zap.Int("part_slots", p.PartSlots))
	<-ctx.Done()
	p.pulse.stop()
	if p.callbacks != nil {
		p.callbacks.closing.Store(true)
	}
	p.Log.Info("worker takes no new work", zap.String("worker", p.ID), zap.Duration("drain", p.Drain))
	drain := time.AfterFunc(p.Drain, func() { interrupt(jobs.ErrInterrupted) })
	defer drain.Stop()
	quiet := make(chan struct{})
	go func() {
		defer close(quiet)
		loops.Wait()
		p.work.Wait()
	}()
	late := time.NewTimer(p.Drain + handBackWithin)
	defer late.Stop()
	select {
	case <-quiet:
		p.Log.Info("worker stopped", zap.String("worker", p.ID))
	case <-late.C:
		p.Log.Error("worker stops with work in hand, because services do not answer: leases give it to others", zap.String("worker", p.ID))
	}
	return nil
}

// handBackWithin bounds what a stop takes beyond the drain: one record of an outcome, which has 10 s. Where
// services hang there would be no end; whoever holds nothing any more but leases may as well die.
const handBackWithin = 10 * time.Second

// aliveEvery is how often a worker shows that it lives; after two missed it counts as gone. Each costs a
// write, and a hundred workers that idle make nothing else but these.
const aliveEvery = time.Minute

// askWithin bounds a look at a document that the loops of a worker make over and over.
const askWithin = 5 * time.Second

func (p *Pool) presence(ctx context.Context) {
	defer func() {
		// Outlives ctx: the sign is taken away when the worker has stopped taking work.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_ = p.Store.ShowGone(ctx, p.ID) // else it lapses
	}()
	self := jobs.Worker{ID: p.ID, Slots: jobs.Slots{Jobs: p.JobSlots, Parts: p.PartSlots}}
	for ctx.Err() == nil {
		shown := false
		p.Panics.Run(panics.Signs, func() {
			show, cancel := context.WithTimeout(ctx, askWithin)
			defer cancel()
			shown = p.Store.ShowAlive(show, self, aliveTTL) == nil
		})
		if !shown {
			wait(ctx, askWithin) // the next beat would come too late
			continue
		}
		wait(ctx, aliveEvery)
	}
}

// aliveTTL is two beats and as long as it takes to find out that one failed.
const aliveTTL = 2*aliveEvery + 3*askWithin
