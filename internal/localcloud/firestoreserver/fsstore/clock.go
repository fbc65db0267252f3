package fsstore

import (
	"fmt"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// leaseAhead is how far into the future the persisted promise "no instant above this one was given out"
// reaches. A restart starts above the promise, so the length is also the most that commit times may run ahead
// of the wall clock.
const leaseAhead = time.Second

// clock gives out commit instants and read instants so that a read at an instant answers the same for ever:
// no commit ever gets an instant at or below one that a reader was told.
type clock struct {
	mu    sync.Mutex
	moved sync.Cond // signalled when an in-flight group was published
	now   func() time.Time
	db    *pebble.DB

	last     int64 // greatest instant given out, to commits or to readers
	lease    int64 // persisted bound of last
	inflight int64 // least instant of the group being applied; 0 when none
	group    int64 // greatest instant of that group
	err      error // set once: no instant may be given out any more
}

func (c *clock) promise(t int64) error {
	if c.err != nil {
		return c.err
	}
	if t <= c.lease {
		return nil
	}
	lease := t + leaseAhead.Microseconds()
	if err := c.db.Set(metaKey("lease"), putInstant(nil, lease), pebble.Sync); err != nil {
		c.err = fmt.Errorf("persist clock lease: %w", err)
		return c.err
	}
	c.lease = lease
	return nil
}

// commit gives out the next commit instant; the first one since publish starts the in-flight group.
func (c *clock) commit() (int64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := max(c.now().UnixMicro(), c.last+1)
	if err := c.promise(t); err != nil {
		return 0, err
	}
	c.last = t
	if c.inflight == 0 {
		c.inflight = t
	}
	c.group = t
	return t, nil
}

// publish ends the in-flight group: its commits are durable and visible.
func (c *clock) publish() {
	c.mu.Lock()
	c.inflight, c.group = 0, 0
	c.mu.Unlock()
	c.moved.Broadcast()
}

// fail stops the clock after the state on disk became unknown.
func (c *clock) fail(err error) {
	c.mu.Lock()
	if c.err == nil {
		c.err = err
	}
	c.inflight, c.group = 0, 0
	c.mu.Unlock()
	c.moved.Broadcast()
}

// strong picks a read instant that covers every acknowledged commit and none that is still being written,
// without waiting.
func (c *clock) strong() (int64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.inflight != 0 {
		return c.inflight - 1, c.err
	}
	t := max(c.now().UnixMicro(), c.last)
	if err := c.promise(t); err != nil {
		return 0, err
	}
	c.last = t
	return t, nil
}

// at makes the instant t readable: later commits get greater instants, and those at or below t that are being
// written are waited for (one disk sync).
func (c *clock) at(t int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t > c.last {
		if t > c.now().UnixMicro() {
			return ErrFuture
		}
		if err := c.promise(t); err != nil {
			return err
		}
		c.last = t
	}
	for c.inflight != 0 && c.inflight <= t && c.err == nil {
		c.moved.Wait()
	}
	return c.err
}
