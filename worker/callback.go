package worker

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"exportd/internal/filelink"
	"exportd/internal/panics"
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

// keys gives what signs the callbacks of an API key as it is now, not as a cache has it. jobs.ErrNotFound
// means that the key was disabled or deleted: nothing is sent in its name any more.
type keys interface {
	CallbackKey(ctx context.Context, keyID string) (CallbackKey, error)
}

// CallbackConfig is what the queue of the callbacks is made of. All fields but Links are required.
type CallbackConfig struct {
	// Slots bound the attempts that are under way, permitsPerSlot for each. Beyond quickWithin, an attempt no
	// longer counts.
	Slots  int
	Sender sender
	Keys   keys
	Files  jobs.ObjectLinker
	// Links makes the link in a callback; Files does if nil.
	Links *filelink.Links
	// URLLife is how long a csvUrl in a callback works; at most maxCallbackURL.
	URLLife time.Duration
	// Rand gives numbers in [0,1) for the jitter of the schedule.
	Rand func() float64
}

const (
	// quickWithin is how long an attempt may hold its permit. An attempt takes milliseconds with a receiver
	// that works and up to 15 s with one that does not: those move aside, so that they do not stand in the
	// way of the others. At a second, ten hosts that die together would hold all permits for three, and the
	// callbacks of the others would come late.
	quickWithin = 250 * time.Millisecond
	// permitsPerSlot bounds the attempts that are under way and no longer than quickWithin, at about 100 KiB
	// each; three times as many more have been set aside.
	permitsPerSlot = 8
	// claimsAtOnce bounds the messages that are looked at side by side. A look is a read, an acknowledgement
	// and, with a permit, a commit: at 25 ms for one that has none, a worker goes through 5,000 a second. The
	// reads fit on the connections that carry heartbeats.
	claimsAtOnce = 128
	// maxCallbackURL is how long a URL signed through IAM is sure to work.
	maxCallbackURL = 12 * time.Hour
	// unavailablePause is when an attempt is made that could not be prepared.
	unavailablePause = 5 * time.Second
)

// callbackState is the state of the queue of the callbacks.
type callbackState struct {
	CallbackConfig
	policy  webhook.Policy
	queue   *waitQueue
	closing atomic.Bool // the worker takes nothing new
}

func newCallbackState(cfg *CallbackConfig) *callbackState {
	if cfg == nil {
		return nil
	}
	return &callbackState{
		CallbackConfig: *cfg, policy: webhook.Policy{Rand: cfg.Rand},
		queue: newWaitQueue(webhook.NewLimiter(webhook.Concurrency{Total: permitsPerSlot * cfg.Slots})),
	}
}

// claimed is an attempt that this worker is to make.
type claimed struct {
	callback *jobs.Callback
	lease    jobs.Lease
	permit   *webhook.Permit
}

// claimSlots is how many messages the queue of the callbacks takes at a time.
func (c *callbackState) claimSlots() int {
	return max(c.Slots, min(permitsPerSlot*c.Slots, claimsAtOnce))
}

// handleCallback claims a delivery for which there is a permit. Without one, it waits in the queue, and
// claimed when a permit is left; should the worker die, its wakeAt has it notified. What waits there is
// notified again and again, and not read for that.
func (p *Pool) handleCallback(ctx context.Context, m jobs.Message) (func(context.Context), error) {
	if waits, first, permit := p.callbacks.queue.acquireQueued(m.CallbackID); permit != nil {
		return func(ctx context.Context) { p.calling(func() { p.claimAndDeliver(ctx, first, permit) }) }, nil
	} else if waits {
		return nil, jobs.ErrNotDue
	}
	c, err := p.claimCallback(ctx, m, nil)
	if c == nil {
		return nil, err
	}
	return func(ctx context.Context) { p.calling(func() { p.deliverAndRelease(ctx, c) }) }, err
}

// calling does something about a callback beside what is under way. After a panic the callback's lease, or
// its wakeAt, has it made again.
func (p *Pool) calling(fn func()) {
	p.work.Go(func() { p.Panics.Run(panics.Callback, fn) })
}

// beginCallback begins, under work, a callback of which this worker knows that it is due, if it has a permit
// for it: all messages that are waiting would go first. Else it notifies, as another worker may have a
// permit.
func (p *Pool) beginCallback(ctx, work context.Context, origin, org string, m jobs.Message) {
	if p.callbacks != nil && !p.callbacks.closing.Load() && !p.isPaused(jobs.QueueCallbacks) {
		if first, permit := p.callbacks.queue.tryAcquire(origin, org, m); permit != nil {
			p.calling(func() { p.claimAndDeliver(work, first, permit) })
			return
		}
	}
	p.notify(ctx, jobs.QueueCallbacks, m)
}

// claimCallback takes a permit, unless it is called with one, and gives nil without. With a permit but
// without a claim, which is an error, the callback is nil and the permit still to be released.
func (p *Pool) claimCallback(ctx context.Context, m jobs.Message, permit *webhook.Permit) (*claimed, error) {
	c := &claimed{permit: permit}
	var cb *jobs.Callback
	err := panics.Do(func() (err error) { // else its permit would be lost
		cb, err = p.Store.UpdateCallback(ctx, m.CallbackID, p.actor, func(tx *jobs.CallbackTx) error { return p.claimIn(tx, m, c) })
		return err
	})
	if c.permit == nil {
		return nil, err
	}
	if err == nil && cb.State == jobs.CallbackPending {
		c.callback = cb
	}
	return c, err
}

// claimIn takes a permit for c, if it has none, and claims it.
func (p *Pool) claimIn(tx *jobs.CallbackTx, m jobs.Message, c *claimed) error {
	if err := tx.Due(); errors.Is(err, jobs.ErrInvalid) {
		return tx.Invalidate()
	} else if err != nil {
		return err
	}
	if c.permit == nil { // a second round has its permit already
		if c.permit = p.callbacks.queue.acquire(tx.Callback.Origin, tx.Callback.OrgID, m); c.permit == nil {
			return jobs.ErrNotDue
		}
	}
	var err error
	c.lease, err = tx.Claim(p.ID)
	return err
}

// deliverAndRelease makes a claimed attempt, releases its permit and begins those that waited for one.
func (p *Pool) deliverAndRelease(ctx context.Context, c *claimed) {
	defer p.beginQueued(ctx)
	quick := false
	defer func() { c.permit.Release(quick) }()
	if c.callback == nil {
		return
	}
	crowd, breakOff := context.WithCancel(context.WithoutCancel(ctx))
	defer breakOff()
	begun, ended := time.Now(), p.demoteSlow(ctx, c.permit, breakOff)
	defer ended()
	p.deliver(ctx, crowd, c.callback, c.lease)
	quick = time.Since(begun) < quickWithin
}

// demoteSlow has an attempt give its permit to others when it takes longer than quickWithin, or breaks it off
// where it is in a crowd. The function is to be called when it has ended.
func (p *Pool) demoteSlow(ctx context.Context, permit *webhook.Permit, breakOff func()) (ended func()) {
	done := make(chan struct{})
	t := time.AfterFunc(quickWithin, func() {
		defer close(done)
		p.Panics.Run(panics.Callback, func() {
			freed, crowd := permit.Demote()
			switch {
			case freed:
				p.beginQueued(ctx)
			case crowd:
				breakOff()
			}
		})
	})
	return func() {
		if !t.Stop() {
			<-done
		}
	}
}

// beginQueued begins those that waited and for whom there is a permit now.
func (p *Pool) beginQueued(ctx context.Context) {
	for !p.callbacks.closing.Load() && !p.isPaused(jobs.QueueCallbacks) { // else what waits is notified by its wakeAt
		m, permit := p.callbacks.queue.next()
		if permit == nil {
			return
		}
		p.calling(func() { p.claimAndDeliver(ctx, m, permit) })
	}
}

// claimAndDeliver claims a delivery that has its permit, and makes it.
func (p *Pool) claimAndDeliver(ctx context.Context, m jobs.Message, permit *webhook.Permit) {
	claim, cancel := context.WithTimeout(ctx, claimWithin)
	c, err := p.claimCallback(claim, m, permit)
	cancel()
	if !p.Panics.Tell(panics.Callback, err, zap.String("job_id", m.JobID), zap.String("callback_id", m.CallbackID)) && err != nil && !errors.Is(err, jobs.ErrNotDue) {
		p.Log.Debug("parked callback cannot be claimed; the rescuer notifies it", zap.String("job_id", m.JobID), zap.Error(err))
	}
	p.deliverAndRelease(ctx, c)
}

// deliver makes the attempt that was claimed, until crowd ends, and records how it ended. When nothing can be
// recorded the lease runs out, and it is made again: at least once.
func (p *Pool) deliver(ctx, crowd context.Context, cb *jobs.Callback, lease jobs.Lease) {
	known, err := p.Store.Receivers(ctx, cb.OrgID, cb.Origin, cb.URL)
	if err == nil && !cb.Forced && (known[0].Suspended || known[1].Suspended) {
		p.withdraw(ctx, cb, lease, jobs.CallbackSuspended, "nothing is sent to this receiver until it is resumed")
		return
	}
	var a webhook.Attempt
	var told []zap.Field
	if err == nil {
		err = panics.Do(func() error {
			d, trace, err := p.prepare(ctx, cb)
			if err == nil {
				a, told = p.send(ctx, crowd, cb, trace, d)
			}
			return err
		})
		p.Panics.Tell(panics.Callback, err, zap.String("job_id", cb.JobID), zap.String("request_id", cb.RequestID), zap.String("callback_id", cb.ID))
	}
	if err != nil {
		a = webhook.Attempt{StartedAt: p.Now(), Class: webhook.ClassInternalError, Err: err}
	}
	if errors.Is(a.Err, errDeleted) {
		p.withdraw(ctx, cb, lease, jobs.CallbackDropped, "the export was deleted")
		return
	}
	p.record(ctx, cb, lease, a, known, told)
}

// send makes an attempt, and says by what its line leads to its trace.
func (p *Pool) send(ctx, crowd context.Context, cb *jobs.Callback, trace string, d webhook.Delivery) (webhook.Attempt, []zap.Field) {
	ctx, span := p.traceCallback(ctx, cb, trace)
	defer span.End()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(crowd, cancel)()
	return p.callbacks.Sender.Send(ctx, d), p.traceFields(ctx, trace)
}

// withdraw ends a delivery without an attempt.
func (p *Pool) withdraw(ctx context.Context, cb *jobs.Callback, lease jobs.Lease, state jobs.CallbackState, why string) {
	_, err := p.Store.UpdateCallback(ctx, cb.ID, p.actor, func(tx *jobs.CallbackTx) error { return tx.Withdraw(lease, state, why) })
	p.Log.Info("callback withdrawn", zap.String("job_id", cb.JobID), zap.String("request_id", cb.RequestID), zap.Int("attempt", cb.Attempt), zap.String("callback_id", cb.ID),
		zap.String("origin", cb.Origin), zap.String("state", string(state)), zap.Error(err))
}

// record writes down how an attempt ended, and what that says of the receiver.
func (p *Pool) record(ctx context.Context, cb *jobs.Callback, lease jobs.Lease, a webhook.Attempt, known []jobs.Receiver, told []zap.Field) {
	ctx, cancel := detached(ctx)
	defer cancel()
	verdict, result := p.judge(cb, a)
	done, err := p.Store.UpdateCallback(ctx, cb.ID, p.actor, func(tx *jobs.CallbackTx) error { return tx.Record(lease, result) })
	fields := append([]zap.Field{
		zap.String("job_id", cb.JobID), zap.String("request_id", cb.RequestID), zap.Int("attempt", cb.Attempt), zap.String("org_id", cb.OrgID), zap.String("callback_id", cb.ID),
		zap.String("origin", cb.Origin), zap.String("class", result.Attempt.Class), zap.Int("status", a.Status), zap.Duration("took", a.Duration),
		zap.String("state", string(result.State)), zap.Time("next_at", result.Attempt.NextAt),
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
	d := p.callbacks.policy.Decide(cb.Schedule, a, now)
	r := jobs.CallbackResult{
		Attempt: jobs.CallbackAttempt{At: a.StartedAt.UTC(), Millis: a.Duration.Milliseconds(), Class: string(a.Class), Status: a.Status, Response: a.Response, NextAt: d.NextAt},
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
		r.State, r.Attempt.Class, r.Attempt.NextAt = jobs.CallbackBlocked, jobs.AttemptKeyRevoked, time.Time{}
	case errors.Is(a.Err, jobs.ErrUnavailable) && a.Class == webhook.ClassInternalError && cb.Interruptions < p.policy.MaxInterruptions:
		r.State, r.Unspent, r.Attempt.NextAt = jobs.CallbackPending, true, now.Add(unavailablePause)
	}
	return d.Verdict, r
}
