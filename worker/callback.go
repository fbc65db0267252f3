package worker

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"exportd/internal/webhook"
	"exportd/jobs"
)

// CallbackKey is what the sender needs of an API key.
type CallbackKey struct {
	// Secrets sign: the current one and, during a rotation, the previous one.
	Secrets []webhook.Secret
	// Hosts are where the key's callbacks may go; empty allows every public one.
	Hosts webhook.HostList
}

// sender makes one attempt; *webhook.Sender is it.
type sender interface {
	Send(ctx context.Context, d webhook.Delivery) webhook.Attempt
}

// keys gives what signs the callbacks of an API key as it is now, not as a cache has it.
// jobs.ErrNotFound means
// that the key was disabled or deleted: nothing is sent in its name any more.
type keys interface {
	CallbackKey(ctx context.Context, keyID string) (CallbackKey, error)
}

// CallbackConfig is what the lane of the callbacks is made of. All fields are required.
type CallbackConfig struct {
	// Slots bound the tries that are under way, placesPerSlot for each. Beyond quickWithin, a try no
	// longer counts.
	Slots  int
	Sender sender
	Keys   keys
	Files  jobs.ObjectLinker
	// URLLife is how long a csvUrl in a callback works; at most maxCallbackURL.
	URLLife time.Duration
	// Rand gives numbers in [0,1) for the jitter of the schedule.
	Rand func() float64
}

const (
	// quickWithin is how long a try may hold its place. A try takes milliseconds with a receiver
	// that works and up to 15 s with one that does not: those move aside, so that they do
	// not stand in the way of the others. At a second, ten hosts that die together would hold
	// all places for three, and the callbacks of the others would come late.
	quickWithin = 250 * time.Millisecond
	// placesPerSlot bounds the tries that are under way and no longer than quickWithin, at about 100 KiB
	// each; three times as many more have been set aside.
	placesPerSlot = 8
	// looksAtOnce bounds the doorbells that are looked at side by side. A look is a read, an
	// acknowledgement and, with a place, a commit: at 25 ms for one that has none, a worker goes
	// through 5,000 a second. The reads fit on the connections that carry heartbeats.
	looksAtOnce = 128
	// maxCallbackURL is how long a URL signed through IAM is sure to work.
	maxCallbackURL = 12 * time.Hour
	// unavailablePause is when a try is made that could not be prepared.
	unavailablePause = 5 * time.Second
)

// calls is the state of the lane of the callbacks.
type calls struct {
	CallbackConfig
	policy  webhook.Policy
	queue   *waitQueue
	closing atomic.Bool // the worker takes nothing new
}

func newCalls(cfg *CallbackConfig) *calls {
	if cfg == nil {
		return nil
	}
	return &calls{
		CallbackConfig: *cfg, policy: webhook.Policy{Rand: cfg.Rand},
		queue: newWaitQueue(webhook.NewLimiter(webhook.Concurrency{Total: placesPerSlot * cfg.Slots})),
	}
}

// claimed is a try that this worker is to make.
type claimed struct {
	callback *jobs.Callback
	lease    jobs.Lease
	place    *webhook.Permit
}

// looks is how many doorbells the lane of the callbacks takes at a time.
func (c *calls) looks() int { return max(c.Slots, min(placesPerSlot*c.Slots, looksAtOnce)) }

// handleCallback claims a delivery for which there is a place. Without one, it waits in the queue, and
// claimed when a place is left; should the worker die, its wakeAt has it rung. What waits there is
// rung again and again, and not read for that.
func (p *Pool) handleCallback(ctx context.Context, m jobs.Message) (func(context.Context), error) {
	if waits, first, place := p.calls.queue.ringQueued(m.CallbackID); place != nil {
		return func(ctx context.Context) { p.work.Go(func() { p.makeParked(ctx, first, place) }) }, nil
	} else if waits {
		return nil, jobs.ErrNotDue
	}
	c, err := p.claimCallback(ctx, m, nil)
	if c == nil {
		return nil, err
	}
	return func(ctx context.Context) { p.work.Go(func() { p.deliverAndLeave(ctx, c) }) }, err
}

// callBack begins, under work, a callback of which this worker knows that it is due, if it has a place
// for it: all doorbells that are waiting would go first. Else it rings, as another worker may have
// a place.
func (p *Pool) callBack(ctx, work context.Context, origin, org string, m jobs.Message) {
	if p.calls != nil && !p.calls.closing.Load() && !p.isPaused(jobs.QueueCallbacks) {
		if first, place := p.calls.queue.tryAcquire(origin, org, m); place != nil {
			p.work.Go(func() { p.makeParked(work, first, place) })
			return
		}
	}
	p.ring(ctx, jobs.QueueCallbacks, m)
}

// claimCallback takes a place, unless it is called with one, and gives nil without. With a
// place but without a claim, which is an error, the callback is nil and the place still to
// be released.
func (p *Pool) claimCallback(ctx context.Context, m jobs.Message, place *webhook.Permit) (*claimed, error) {
	c := &claimed{place: place}
	cb, err := p.Store.UpdateCallback(ctx, m.CallbackID, p.actor, func(tx *jobs.CallbackTx) error {
		if err := tx.Due(); errors.Is(err, jobs.ErrInvalid) {
			return tx.Invalidate()
		} else if err != nil {
			return err
		}
		if c.place == nil { // a second round has its place already
			if c.place = p.calls.queue.acquire(tx.Callback.Origin, tx.Callback.OrgID, m); c.place == nil {
				return jobs.ErrNotDue
			}
		}
		var err error
		c.lease, err = tx.Claim(p.ID)
		return err
	})
	if c.place == nil {
		return nil, err
	}
	if err == nil && cb.State == jobs.CallbackPending {
		c.callback = cb
	}
	return c, err
}

// deliverAndLeave makes a claimed try, releases its place and begins those that waited for one.
func (p *Pool) deliverAndLeave(ctx context.Context, c *claimed) {
	quick := false
	if c.callback != nil {
		crowd, breakOff := context.WithCancel(context.WithoutCancel(ctx))
		begun, ended := time.Now(), p.setAside(ctx, c.place, breakOff)
		p.deliver(ctx, crowd, c.callback, c.lease)
		ended()
		breakOff()
		quick = time.Since(begun) < quickWithin
	}
	c.place.Release(quick)
	p.beginParked(ctx)
}

// setAside has a try give its place to others when it takes longer than quickWithin, or breaks it off
// where it is in a crowd. The function is to be called when it has ended.
func (p *Pool) setAside(ctx context.Context, place *webhook.Permit, breakOff func()) (ended func()) {
	done := make(chan struct{})
	t := time.AfterFunc(quickWithin, func() {
		defer close(done)
		freed, crowd := place.SetAside()
		switch {
		case freed:
			p.beginParked(ctx)
		case crowd:
			breakOff()
		}
	})
	return func() {
		if !t.Stop() {
			<-done
		}
	}
}

// beginParked begins those that waited and for whom there is a place now.
func (p *Pool) beginParked(ctx context.Context) {
	for !p.calls.closing.Load() && !p.isPaused(jobs.QueueCallbacks) { // else what waits is rung by its wakeAt
		m, place := p.calls.queue.next()
		if place == nil {
			return
		}
		p.work.Go(func() { p.makeParked(ctx, m, place) })
	}
}

// makeParked claims a delivery that has its place, and makes it.
func (p *Pool) makeParked(ctx context.Context, m jobs.Message, place *webhook.Permit) {
	claim, cancel := context.WithTimeout(ctx, claimWithin)
	c, err := p.claimCallback(claim, m, place)
	cancel()
	if err != nil && !errors.Is(err, jobs.ErrNotDue) {
		p.Log.Debug("parked callback cannot be claimed; the rescuer rings it", zap.String("job_id", m.JobID), zap.Error(err))
	}
	p.deliverAndLeave(ctx, c)
}

// deliver makes the try that was claimed, until crowd ends, and records how it ended. When nothing
// can be recorded the lease runs out, and it is made again: at least once.
func (p *Pool) deliver(ctx, crowd context.Context, cb *jobs.Callback, lease jobs.Lease) {
	known, err := p.Store.Receivers(ctx, cb.OrgID, cb.Origin, cb.URL)
	if err == nil && !cb.Forced && (known[0].Suspended || known[1].Suspended) {
		p.withdraw(ctx, cb, lease, jobs.CallbackSuspended, "nothing is sent to this receiver until it is resumed")
		return
	}
	var a webhook.Attempt
	var d webhook.Delivery
	var trace string
	var told []zap.Field
	if err == nil {
		d, trace, err = p.prepare(ctx, cb)
	}
	if err == nil {
		a, told = p.send(ctx, crowd, cb, trace, d)
	} else {
		a = webhook.Attempt{StartedAt: p.Now(), Class: webhook.ClassInternalError, Err: err}
	}
	if errors.Is(a.Err, errDeleted) {
		p.withdraw(ctx, cb, lease, jobs.CallbackDropped, "the export was deleted")
		return
	}
	p.record(ctx, cb, lease, a, known, told)
}

// send makes a try, and says by what its line leads to its trace.
func (p *Pool) send(ctx, crowd context.Context, cb *jobs.Callback, trace string, d webhook.Delivery) (webhook.Attempt, []zap.Field) {
	ctx, span := p.resumeCallback(ctx, cb, trace)
	defer span.End()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(crowd, cancel)()
	return p.calls.Sender.Send(ctx, d), p.traceFields(ctx, trace)
}

// withdraw ends a delivery without a try.
func (p *Pool) withdraw(ctx context.Context, cb *jobs.Callback, lease jobs.Lease, state jobs.CallbackState, why string) {
	_, err := p.Store.UpdateCallback(ctx, cb.ID, p.actor, func(tx *jobs.CallbackTx) error { return tx.Withdraw(lease, state, why) })
	p.Log.Info("callback withdrawn", zap.String("job_id", cb.JobID), zap.String("request_id", cb.RequestID), zap.Int("attempt", cb.Attempt), zap.String("callback_id", cb.ID),
		zap.String("origin", cb.Origin), zap.String("state", string(state)), zap.Error(err))
}

// record writes down how a try ended, and what that says of the receiver.
func (p *Pool) record(ctx context.Context, cb *jobs.Callback, lease jobs.Lease, a webhook.Attempt, known []jobs.Receiver, told []zap.Field) {
	ctx, cancel := detached(ctx)
	defer cancel()
	verdict, result := p.judge(cb, a)
	done, err := p.Store.UpdateCallback(ctx, cb.ID, p.actor, func(tx *jobs.CallbackTx) error { return tx.Record(lease, result) })
	fields := append([]zap.Field{
		zap.String("job_id", cb.JobID), zap.String("request_id", cb.RequestID), zap.Int("attempt", cb.Attempt), zap.String("org_id", cb.OrgID), zap.String("callback_id", cb.ID),
		zap.String("origin", cb.Origin), zap.String("class", result.Try.Class), zap.Int("status", a.Status), zap.Duration("took", a.Duration),
		zap.String("state", string(result.State)), zap.Time("next_at", result.Try.NextAt),
	}, told...)
	if err != nil {
		p.Log.Warn("callback could not be recorded and will be made again", append(fields, zap.Error(err))...)
		return
	}
	p.Log.Info("callback", append(fields, zap.NamedError("cause", a.Err))...)
	if a.Class != webhook.ClassInternalError { // our own fault says nothing of the receiver
		p.noteReceiver(ctx, done, verdict, known)
	}
}

// judge turns an attempt into what is recorded of it.
func (p *Pool) judge(cb *jobs.Callback, a webhook.Attempt) (webhook.Verdict, jobs.CallbackResult) {
	now := p.Now().UTC()
	d := p.calls.policy.Decide(cb.Schedule, a, now)
	r := jobs.CallbackResult{
		Try: jobs.CallbackAttempt{At: a.StartedAt.UTC(), Millis: a.Duration.Milliseconds(), Class: string(a.Class), Status: a.Status, Response: a.Response, NextAt: d.NextAt},
	}
	switch d.Verdict {
	case webhook.VerdictDelivered:
		r.State = jobs.CallbackDelivered
	case webhook.VerdictGone:
		r.State = jobs.CallbackGone
	case webhook.VerdictBlocked:
		r.State = jobs.CallbackBlocked
	case webhook.VerdictExhausted:
		r.State = jobs.CallbackExhausted
	case webhook.VerdictInterrupted:
		r.State, r.Unspent = jobs.CallbackPending, true
	case webhook.VerdictRetry:
		r.State = jobs.CallbackPending
	}
	switch {
	case errors.Is(a.Err, errKeyRevoked):
		r.State, r.Try.Class, r.Try.NextAt = jobs.CallbackBlocked, jobs.TryKeyRevoked, time.Time{}
	case errors.Is(a.Err, jobs.ErrUnavailable) && a.Class == webhook.ClassInternalError && cb.Interruptions < p.policy.MaxInterruptions:
		r.State, r.Unspent, r.Try.NextAt = jobs.CallbackPending, true, now.Add(unavailablePause)
	}
	return d.Verdict, r
}
