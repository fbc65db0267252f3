package worker_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"exportd/internal/jobstore"
	"exportd/jobs"
	"exportd/worker"
)

// switchStore is a store of which workers need no more than the switches, in memory so that it goes with
// virtual time. Claims are noted, and there is nothing to claim.
type switchStore struct {
	*jobstore.Store // for the methods that nobody calls here
	mu              sync.Mutex
	now             jobs.Switches
	watch           func(ctx context.Context, fn func(jobs.Switches)) error
	changed         chan struct{}
	claims          []string
}

func newSwitchStore() *switchStore { return &switchStore{changed: make(chan struct{})} }

func (s *switchStore) pause(paused bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now.Paused = map[jobs.Queue]jobs.Pause{jobs.QueueExports: {Paused: paused}}
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *switchStore) Switches(context.Context) (jobs.Switches, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now, nil
}

func (s *switchStore) state() (jobs.Switches, chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now, s.changed
}

// listens is a stream that works.
func (s *switchStore) listens(ctx context.Context, fn func(jobs.Switches)) error {
	for {
		now, changed := s.state()
		fn(now)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-changed:
		}
	}
}

// dumb is a stream that dies without a sign.
func (s *switchStore) dumb(ctx context.Context, fn func(jobs.Switches)) error {
	now, _ := s.state()
	fn(now)
	<-ctx.Done()
	return context.Cause(ctx)
}

func (s *switchStore) WatchSwitches(ctx context.Context, fn func(jobs.Switches)) error {
	return s.watch(ctx, fn)
}

func (s *switchStore) Update(_ context.Context, id, _ string, _ func(*jobs.Tx) error) (*jobs.Job, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.claims = append(s.claims, id)
	return nil, jobs.ErrNotDue
}

func (s *switchStore) claimed() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.claims)
}

func (*switchStore) Policy() jobs.Policy                                         { return jobs.Policy{} }
func (*switchStore) ShowAlive(context.Context, jobs.Worker, time.Duration) error { return nil }
func (*switchStore) ShowGone(context.Context, string) error                      { return nil }
func (*switchStore) HoldPartition(context.Context, int, string) (bool, error)    { return false, nil }
func (*switchStore) LeavePartition(context.Context, int, string) error           { return nil }
func (*switchStore) Partitions(context.Context, int) (jobs.Division, []jobs.Partition, error) {
	return jobs.Division{}, nil, errors.New("somebody else rescues")
}

// bells is a queue in memory. As Google's, it holds a Pull open for a minute.
type bells struct {
	mu    sync.Mutex
	lanes map[jobs.Queue][]jobs.PulledMessage
	came  chan struct{}
}

func newBells() *bells {
	return &bells{lanes: map[jobs.Queue][]jobs.PulledMessage{}, came: make(chan struct{})}
}

func (q *bells) add(lane jobs.Queue, d jobs.PulledMessage) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.lanes[lane] = append(q.lanes[lane], d)
	close(q.came)
	q.came = make(chan struct{})
}

func (q *bells) Publish(_ context.Context, lane jobs.Queue, m jobs.Message) error {
	q.add(lane, jobs.PulledMessage{Data: m.Encode()})
	return nil
}

func (q *bells) take(lane jobs.Queue, limit int) ([]jobs.PulledMessage, chan struct{}) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := min(limit, len(q.lanes[lane]))
	got := q.lanes[lane][:n:n]
	q.lanes[lane] = q.lanes[lane][n:]
	return got, q.came
}

func (q *bells) Pull(ctx context.Context, lane jobs.Queue, limit int) ([]jobs.PulledMessage, error) {
	end := time.NewTimer(time.Minute)
	defer end.Stop()
	for {
		got, came := q.take(lane, limit)
		if len(got) > 0 {
			return got, nil
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-end.C:
			return nil, nil
		case <-came:
		}
	}
}

func (*bells) Ack(context.Context, jobs.Queue, jobs.PulledMessage) error { return nil }
func (q *bells) Nack(_ context.Context, lane jobs.Queue, d jobs.PulledMessage, _ time.Duration) error {
	q.add(lane, d)
	return nil
}
func (*bells) Bury(context.Context, jobs.Queue, jobs.PulledMessage, string) error { return nil }

// TestPauseHolds: what is submitted after a pause is not taken, however long a Pull was open before it, and
// is taken at once after the queue was resumed.
func TestPauseHolds(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name         string
		watch        func(*switchStore) func(context.Context, func(jobs.Switches)) error
		holds, again time.Duration // a pause, and a resume, are in force after that
	}{
		{"told", func(s *switchStore) func(context.Context, func(jobs.Switches)) error { return s.listens }, time.Millisecond, time.Millisecond},
		{"no stream", func(*switchStore) func(context.Context, func(jobs.Switches)) error {
			return func(context.Context, func(jobs.Switches)) error { return jobs.ErrUnavailable }
		}, 2 * time.Second, 2 * time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				store, queue := newSwitchStore(), newBells()
				store.watch = tc.watch(store)
				stop := startPool(t, store, queue)
				notify := func() string {
					id := jobs.NewID()
					_ = queue.Publish(t.Context(), jobs.QueueExports, jobs.Message{JobID: id}) // in memory
					return id
				}
				first := notify()
				pass(5 * time.Second)
				if got := store.claimed(); !slices.Equal(got, []string{first}) {
					t.Fatalf("before the pause, %v was taken, want %s", got, first)
				}
				store.pause(true)
				pass(tc.holds)
				var late []string
				for _, d := range []time.Duration{2500 * time.Millisecond, 2500 * time.Millisecond, 3 * time.Second, 50 * time.Second} {
					pass(d)
					late = append(late, notify())
				}
				pass(2 * time.Minute)
				if got := store.claimed(); len(got) != 1 {
					t.Fatalf("%d jobs were taken while the queue was paused", len(got)-1)
				}
				store.pause(false)
				pass(tc.again)
				got := store.claimed()[1:]
				slices.Sort(got)
				slices.Sort(late)
				if !slices.Equal(got, late) {
					t.Errorf("after the resume %v was taken, want %v", got, late)
				}
				stop()
			})
		})
	}
}

// TestPauseHoldsOnDeadStream: a stream that died without a sign is found out before a claim.
func TestPauseHoldsOnDeadStream(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store, queue := newSwitchStore(), newBells()
		store.watch = store.dumb
		stop := startPool(t, store, queue)
		pass(time.Second)
		store.pause(true)
		pass(31 * time.Second)
		_ = queue.Publish(t.Context(), jobs.QueueExports, jobs.Message{JobID: jobs.NewID()}) // in memory
		pass(time.Minute)
		if got := store.claimed(); len(got) != 0 {
			t.Errorf("%v was taken while the queue was paused", got)
		}
		store.pause(false)
		pass(31 * time.Second)
		if got := store.claimed(); len(got) != 1 {
			t.Errorf("after the resume %d jobs were taken, want the one that waits", len(got))
		}
		stop()
	})
}

// TestPausedFromTheStart: a worker that starts while a queue is paused takes nothing before it knows.
func TestPausedFromTheStart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store, queue := newSwitchStore(), newBells()
		store.pause(true)
		store.watch = func(ctx context.Context, fn func(jobs.Switches)) error {
			pass(3 * time.Second)
			return store.listens(ctx, fn)
		}
		_ = queue.Publish(t.Context(), jobs.QueueExports, jobs.Message{JobID: jobs.NewID()}) // in memory
		stop := startPool(t, store, queue)
		pass(time.Minute)
		if got := store.claimed(); len(got) != 0 {
			t.Errorf("%v was taken while the queue was paused", got)
		}
		stop()
	})
}

func startPool(t *testing.T, store *switchStore, queue *bells) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() {
		pool := worker.New(worker.Config{ID: "w", Store: store, Queue: queue, Exporter: oneFile{}, Log: zap.NewNop(), JobSlots: 4, PartSlots: 4})
		if err := pool.Run(ctx); err != nil {
			t.Errorf("Run() = %v", err)
		}
	})
	return func() { cancel(); done.Wait() }
}

// pass lets virtual time go on.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}
