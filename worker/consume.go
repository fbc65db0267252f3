package worker

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"exportd/internal/backoff"
	"exportd/internal/telemetry"
	"exportd/jobs"
)

// handler claims what a message names and, if the claim stands, returns the work to do
// under it. It must be quick: the message is held until it returns.
type handler func(ctx context.Context, m jobs.Message) (work func(context.Context), err error)

// queue pulls messages while it has free slots, until fetch ends. Work runs under work.
func (p *Pool) consume(fetch, work context.Context, q jobs.Queue, slots int, h handler) {
	free := make(chan struct{}, slots)
	for range slots {
		free <- struct{}{}
	}
	work = telemetry.WithLane(work, telemetry.Lane(q))
	fetch = telemetry.WithLane(fetch, telemetry.Lane(q))
	var busy atomic.Int32 // not what free lacks: a pull holds all that are free
	p.pulse.slots(q, func() (int, int) { return slots - int(busy.Load()), slots })
	pauses := backoff.Doubling(time.Second, 8*time.Second) // what is back is found within 12 s
	gate := p.gates.queues[q]
	for {
		p.pulse.wait(string(q))
		if !p.passGate(fetch, gate) {
			return
		}
		n := take(fetch, free)
		if n == 0 {
			return
		}
		p.pulse.beat(string(q))
		pull, stop := gate.while(fetch)
		got, err := p.Queue.Pull(pull, q, n)
		paused := pull.Err() != nil
		stop()
		for range n - len(got) {
			free <- struct{}{}
		}
		if err != nil && fetch.Err() == nil && !paused {
			pause := pauses.Next()
			p.Log.Warn("cannot pull", zap.String("queue", string(q)), zap.Error(err), zap.Duration("again_in", pause))
			wait(fetch, pause)
			continue
		}
		pauses.Reset()
		if len(got) > 0 {
			p.refresh(fetch)
		}
		for _, d := range got {
			busy.Add(1)
			p.work.Go(func() {
				defer func() { busy.Add(-1); free <- struct{}{} }()
				p.answer(work, q, d, h)
			})
		}
	}
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

// claimWithin bounds a claim, which is a few reads and one commit: less than the 20 s after
// which the message would be delivered again.
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
		work, err = h(claim, m)
		cancel()
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
