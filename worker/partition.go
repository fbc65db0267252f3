package worker

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"exportd/jobs"
)

const (
	// spareAfter is for how long a partition is left to workers that hold none before one that holds some
	// takes it too.
	spareAfter = 8 * time.Second
	// overlap is for how long a rescuer goes on with the shards that it has just lost to a new partition,
	// until somebody has taken that. Two on one shard do no harm.
	overlap = 5 * time.Second
	// growAfter is how long a new division is given to take effect before the next, and shrinkAfter how long
	// there must have been little to do before partitions are put together.
	growAfter, shrinkAfter = 5 * time.Second, time.Minute
	// countEvery is how often the workers are counted.
	countEvery = 5 * time.Minute
	// refusedPause is until the next look after a partition could not be taken, at least.
	refusedPause = 2 * time.Second
	// maxAskPause bounds the pause between two looks for a free partition, but for half of it. Most workers
	// may have gone at once, and those that are left think that there are as many as before. A thousand
	// workers read 34 documents a second for it, and 280 while there are 16 partitions.
	maxAskPause = time.Minute
)

// partitions is what a worker knows of the division of the shards and which of them are its own.
type partitions struct {
	mu       sync.Mutex
	division jobs.Division
	before   jobs.Division // until overlap after changed
	changed  time.Time
	held     map[int]time.Time // until when
	free     map[int]time.Time // since when a partition was seen to be nobody's
	nextAsk  time.Time
	changes  chan struct{} // the division has changed

	tidyFull atomic.Bool // the last round of jobs that have ended left some
	divided  time.Time   // when this worker last changed the division
	countAt  time.Time   // when the workers are to be counted
	quietFor time.Time   // since when there was little to do
	wrong    bool        // the clock is wrong, and that was said
}

func newPartitions() *partitions {
	one := jobs.Division{Partitions: 1, Workers: 1}
	return &partitions{division: one, before: one, held: map[int]time.Time{}, free: map[int]time.Time{}, changes: make(chan struct{}, 1)}
}

// learn takes up a division as it is now.
func (k *partitions) learn(d jobs.Division, now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if d == k.division {
		return
	}
	if d.Partitions != k.division.Partitions {
		k.before, k.changed = k.division, now
	}
	moved := !d.ChangedAt.Equal(k.division.ChangedAt)
	k.division = d
	if !moved {
		return
	}
	// Somebody gave a partition up, or there are more: whoever holds none looks soon. Of a thousand workers a
	// few are enough.
	if rand.Float64() < 32*float64(d.Partitions)/float64(d.Workers) {
		if soon := now.Add(rand.N(time.Second)); soon.Before(k.nextAsk) {
			k.nextAsk = soon
		}
	}
	select {
	case k.changes <- struct{}{}:
	default:
	}
}

// shards lists the shards that are this worker's at now.
func (k *partitions) shards(now time.Time) []int {
	k.mu.Lock()
	defer k.mu.Unlock()
	mine := map[int]bool{}
	for index, until := range k.held {
		if now.After(until) {
			continue
		}
		if index < k.division.Partitions {
			for _, s := range k.division.Shards(index) {
				mine[s] = true
			}
		}
		if k.before.Partitions < k.division.Partitions && now.Sub(k.changed) < overlap && index < k.before.Partitions {
			for _, s := range k.before.Shards(index) {
				mine[s] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(mine))
}

// divides reports whether this worker decides on the division: it holds the first partition.
func (k *partitions) divides(now time.Time) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return now.Before(k.held[0])
}

// mine lists what is held and when the next of it is to be renewed.
func (k *partitions) mine() map[int]time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	return maps.Clone(k.held)
}

func (k *partitions) set(index int, until time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if until.IsZero() {
		delete(k.held, index)
		return
	}
	k.held[index] = until
	delete(k.free, index)
}

// hold renews the partitions that this worker holds, gives those up that are no more, and looks for one when
// its time has come.
func (p *Pool) hold(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	k, now := p.shares, p.Now()
	for index, until := range k.mine() {
		switch {
		case index >= k.count():
			k.set(index, time.Time{})
			_ = p.Store.LeavePartition(ctx, index, p.ID) // else it lapses
		case now.Add(jobs.RoleTTL / 2).After(until), until.After(now.Add(jobs.RoleTTL)): // or the clock stepped back
			// A renewal that fails is tried again each second until the lease has run out.
			if ok, err := p.holdOne(ctx, index); err == nil && ok {
				k.set(index, now.Add(jobs.RoleTTL))
			} else if err == nil || now.After(until) || errors.Is(err, jobs.ErrClock) {
				k.set(index, time.Time{})
				k.askAgain(now) // nobody else may be there, and the pause may be long
			}
		}
	}
	if k.askDue(now) {
		p.lookForPartition(ctx, now)
	}
}

// holdOne takes or renews a partition. Whoever's clock is wrong rescues nothing, and says so once: it would
// take live work from others, or leave dead work lying.
func (p *Pool) holdOne(ctx context.Context, index int) (bool, error) {
	ok, err := p.Store.HoldPartition(ctx, index, p.ID)
	wrong := errors.Is(err, jobs.ErrClock)
	switch {
	case wrong && !p.shares.wrong:
		p.Log.Error("rescues nothing until the clock of this machine is set right", zap.String("worker", p.ID), zap.Error(err))
		p.shares.wrong = true
	case err == nil && p.shares.wrong:
		p.Log.Info("the clock is right again", zap.String("worker", p.ID))
		p.shares.wrong = false
	}
	return ok, err
}

func (k *partitions) count() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.division.Partitions
}

func (k *partitions) askDue(now time.Time) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return !now.Before(k.nextAsk) && (len(k.held) < k.division.Partitions)
}

// lookForPartition takes a partition that nobody has: one if this worker has none, others when nobody else
// came for them.
func (p *Pool) lookForPartition(ctx context.Context, now time.Time) {
	k := p.shares
	d, held, err := p.Store.Partitions(ctx, k.count())
	if err != nil {
		k.askAgain(now.Add(time.Second + rand.N(time.Second))) // as at each round before
		return
	}
	k.learn(d, now)
	if d.Partitions > len(held) { // more than this worker knew of
		if d, held, err = p.Store.Partitions(ctx, d.Partitions); err != nil {
			k.askAgain(now.Add(time.Second))
			return
		}
	}
	// The more workers there are, the less often each looks: all together about once a second.
	pause := time.Duration((0.5 + rand.Float64()) * float64(min(time.Duration(d.Workers)*time.Second, maxAskPause)))
	next := now.Add(maxAskPause) // the earliest that one can be free
	free := false
	for _, i := range rand.Perm(len(held)) {
		if i >= d.Partitions {
			continue
		}
		if held[i].Owner != "" && !held[i].Earlier {
			next = earlier(next, held[i].Until.Add(p.policy.Skew+rand.N(time.Second)))
			continue
		}
		if !k.mayTake(i, now) {
			next, free = earlier(next, now.Add(spareAfter)), true
			continue
		}
		ok, err := p.holdOne(ctx, i)
		switch {
		case err != nil: // nobody may have it
			next, free = earlier(next, now.Add(max(refusedPause, min(pause, jobs.RoleTTL)))), true
		case !ok:
			next = earlier(next, now.Add(refusedPause))
		default:
			k.set(i, now.Add(jobs.RoleTTL))
			p.Log.Info("rescues", zap.String("worker", p.ID), zap.Int("partition", i), zap.Int("of", d.Partitions))
		}
	}
	if !free {
		next = later(next, now.Add(pause))
	}
	k.askAgain(next)
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// mayTake reports whether a partition that is nobody's may be taken by this worker yet.
func (k *partitions) mayTake(index int, now time.Time) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	since, seen := k.free[index]
	if !seen {
		k.free[index] = now
		since = now
	}
	return len(k.held) == 0 || now.Sub(since) >= spareAfter
}

func (k *partitions) askAgain(at time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.nextAsk = at
}

// divide has the holder of the first partition decide whether the shards are shared out among more workers or
// fewer. full says that the last round left something undone.
func (p *Pool) divide(ctx context.Context, full bool, duties int) {
	k, now := p.shares, p.Now()
	if !k.divides(now) {
		return
	}
	workers := 0
	if now.After(k.countAt) {
		k.countAt = now.Add(countEvery)
		if alive, err := p.Store.Alive(ctx); err == nil {
			workers = len(alive)
		}
	}
	if full || duties > dueBatch/4 || k.quietFor.IsZero() {
		k.quietFor = now
	}
	n := k.count()
	want := n
	switch {
	case full && now.Sub(k.divided) > growAfter:
		want = min(2*n, jobs.MaxPartitions)
		if want > n {
			if alive, err := p.Store.Alive(ctx); err == nil {
				workers = len(alive)
			}
			for want > max(workers, 1) && want > n {
				want /= 2
			}
		}
	case n > 1 && now.Sub(k.quietFor) > shrinkAfter:
		want, k.quietFor = n/2, now
	}
	known := k.workers()
	if want == n && (workers == 0 || workers <= known*5/4 && workers >= known*3/4) {
		return
	}
	k.divided = now
	err := p.Store.Divide(ctx, func(d *jobs.Division) {
		d.Partitions = want
		if workers > 0 {
			d.Workers = workers
		}
	})
	if err != nil {
		p.Log.Debug("cannot divide the shards anew", zap.Error(err))
		return
	}
	if want != n {
		p.Log.Info("shards are divided anew", zap.Int("partitions", want), zap.Int("before", n))
	}
	k.learnNow(want, max(workers, known), now)
}

func (k *partitions) workers() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return max(k.division.Workers, 1)
}

// learnNow takes up what this worker has just decided.
func (k *partitions) learnNow(n, workers int, now time.Time) {
	k.mu.Lock()
	d := k.division
	k.mu.Unlock()
	d.Partitions, d.Workers = n, workers
	k.learn(d, now)
}

// leave gives up all that is held, so that others take it at once.
func (p *Pool) leave(ctx context.Context) {
	ctx, cancel := detached(ctx)
	defer cancel()
	for index := range p.shares.mine() {
		_ = p.Store.LeavePartition(ctx, index, p.ID) // else it lapses
		p.shares.set(index, time.Time{})
	}
}
