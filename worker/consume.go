package worker

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"exportd/internal/backoff"
	"exportd/internal/panics"
	"exportd/internal/telemetry"
	"exportd/jobs"
)

// handler claims what a message names and, if the claim stands, returns the work to do under it. It must be
// quick: the message is held until it returns.
type handler func(ctx context.Context, m jobs.Message) (work func(context.Context), err error)

// consume pulls messages while it has free slots, until fetch ends. Work runs under work.
func (p *Pool) consume(fetch, work context.Context, q jobs.Queue, slots int, h handler) {
	l := &consumer{
		queue: q, free: make(chan struct{}, slots), gate: p.gates.queues[q], handle: h,
		fetch: telemetry.WithLane(fetch, telemetry.Lane(q)), work: telemetry.WithLane(work, telemetry.Lane(q)),
		pauses: backoff.Doubling(time.Second, 8*time.Second), // what is back is found within 12 s
	}
	for range slots {
		l.free <- struct{}{}
	}
	p.pulse.slots(q, func() (int, int) { return slots - int(l.busy.Load()), slots })
	p.Panics.Loop(fetch, panics.Queue, func() {
		for p.fill(l) {
		}
	})
}

// consumer takes from one queue, with its slots.
type consumer struct {
	queue       jobs.Queue
	fetch, work context.Context //nolint:containedctx // of the consumer's life
	free        chan struct{}
	busy        atomic.Int32 // not what free lacks: a pull holds all that are free
	gate        *gate
	handle      handler
	pauses      *backoff.Pauses
}

// fill waits for free slots and fills them with what is pulled; false when it is to end. However it ends,
// slots that were not filled are free again.
func (p *Pool) fill(l *consumer) bool {
	p.pulse.wait(string(l.queue))
	if !p.passGate(l.fetch, l.gate) {
		return false
	}
	left := take(l.fetch, l.free)
	if left == 0 {
		return false
	}
	defer func() {
		for range left {
			l.free <- struct{}{}
		}
	}()
	p.pulse.beat(string(l.queue))
	pull, stop := l.gate.while(l.fetch)
	defer stop()
	got, err := p.Queue.Pull(pull, l.queue, left)
	if err != nil && l.fetch.Err() == nil && pull.Err() == nil {
		pause := l.pauses.Next()
		p.Log.Warn("cannot pull", zap.String("queue", string(l.queue)), zap.Error(err), zap.Duration("again_in", pause))
		wait(l.fetch, pause)
		return true
	}
	l.pauses.Reset()
	if len(got) > 0 {
		p.refresh(l.fetch)
	}
	for _, d := range got {
		left--
		l.busy.Add(1)
		p.work.Go(func() {
			defer func() { l.busy.Add(-1); l.free <- struct{}{} }()
			// What it had claimed is another's when the lease has run out; what it had not comes again.
			p.Panics.Run(panics.Message, func() { p.answer(l.work, l.queue, d, l.handle) })
		})
	}
	return true
}

func (p *Pool) isPaused(q jobs.Queue) bool { return !p.gates.queues[q].isOpen() }

// take waits for a free slot and takes all that are free; 0 when ctx ended.
func take(ctx context.Context, free chan struct{}) int {
	select {
	case <-ctx.Done():
		return 0
	case <-free:
	}
	for n := 1; ; n++ {
		select {
		case <-free:
		default:
			return n
		}
	}
}

// claimWithin bounds a claim, which is a few reads and one commit: less than the 20 s after which the message
// would be delivered again.
const claimWithin = 15 * time.Second

// answer claims what a message names, says what becomes of the message, and works.
func (p *Pool) answer(ctx context.Context, q jobs.Queue, d jobs.PulledMessage, h handler) {
	if p.isPaused(q) {
		// Pulled before the pause and not claimed: it waits in the queue, for whoever pulls first afterwards.
		if err := p.Queue.Nack(ctx, q, d, 0); err != nil {
			p.Log.Debug("message of a paused queue comes back when its deadline lapses", zap.String("queue", string(q)), zap.Error(err))
		}
		return
	}
	m, err := jobs.ParseMessage(d.Data)
	ctx = withMessage(ctx, d)
	var work func(context.Context)
	if err == nil {
		claim, cancel := context.WithTimeout(ctx, claimWithin)
		err = panics.Do(func() (err error) { work, err = h(claim, m); return err })
		cancel()
		p.Panics.Tell(panics.Message, err, zap.String("job_id", m.JobID))
	}
	o := outcomeOf(err)
	p.Metrics.Message(q, o.String(), d.Published, p.Now())
	switch o {
	case ack, leave:
		if o == leave {
			p.Log.Debug("message is left to the build that wrote its document", zap.String("queue", string(q)), zap.String("job_id", m.JobID), zap.Error(err))
		}
		if aerr := p.Queue.Ack(ctx, q, d); aerr != nil {
			p.Log.Debug("message was not acknowledged and will come again", zap.String("queue", string(q)), zap.Error(aerr))
		}
	case nack:
		p.Log.Warn("message goes back", zap.String("queue", string(q)), zap.String("job_id", m.JobID), zap.Error(err))
		_ = p.Queue.Nack(ctx, q, d, nackPause) // else it comes back when its deadline lapses
	case bury:
		p.Log.Error("message cannot be handled and goes to the dead letters", zap.String("queue", string(q)), zap.String("job_id", m.JobID), zap.Error(err))
		berr := errors.Join(p.Queue.Bury(ctx, q, d, err.Error()), p.Store.NoteDead(ctx, q, err.Error()))
		if berr != nil {
			p.Log.Warn("dead letter will come again", zap.String("queue", string(q)), zap.Error(berr))
		}
	}
	if work != nil {
		work(ctx)
	}
}

// notify publishes a message. What cannot be published now is notified by the rescuer.
func (p *Pool) notify(ctx context.Context, q jobs.Queue, m jobs.Message) {
	if err := p.Queue.Publish(ctx, q, m); err != nil {
		p.Log.Debug("message was not notified; the rescuer will", zap.String("queue", string(q)), zap.String("job_id", m.JobID), zap.Error(err))
	}
}

func wait(ctx context.Context, d time.Duration) {
	_ = backoff.Sleep(ctx, d) // whoever waits looks at ctx
}
