package pubsubserver

import (
	"container/heap"
	"errors"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// ackID names one delivery of one message.
type ackID struct{ uid, seq, gen uint64 }

func (a ackID) String() string {
	return strconv.FormatUint(a.uid, 36) + "." + strconv.FormatUint(a.seq, 36) + "." + strconv.FormatUint(a.gen, 36)
}

func parseAckIDs(ids []string) ([]ackID, error) {
	out := make([]ackID, len(ids))
	for i, id := range ids {
		var errs [3]error
		parts := strings.Split(id, ".")
		if len(parts) != 3 {
			return nil, invalid("malformed ack id")
		}
		out[i].uid, errs[0] = strconv.ParseUint(parts[0], 36, 64)
		out[i].seq, errs[1] = strconv.ParseUint(parts[1], 36, 64)
		out[i].gen, errs[2] = strconv.ParseUint(parts[2], 36, 64)
		if errs != [3]error{} {
			return nil, invalid("malformed ack id")
		}
	}
	return out, nil
}

// acknowledge removes messages for good. An id of an earlier delivery counts too: some handler has done the
// work, and delivering it again would only make it run twice. Unknown ids are no error, as in the real
// service.
//
// A message stays in memory, with nobody, until it is off the disk: the next of its key must not be delivered
// before, and if the write fails it comes again when its lease would have ended. Until then the same id
// acknowledges it.
func (b *backlog) acknowledge(ids []ackID) error {
	c := b.store.newChange()
	var acked []*entry
	b.mu.Lock()
	for _, id := range ids {
		e := b.all[id.seq]
		if id.uid != b.uid || e == nil || e.held || (!e.leased && e.index < 0) {
			continue // gone, or on its way off the disk or to the dead-letter topic
		}
		b.withdraw(e)
		b.settle(c, e)
		acked = append(acked, e)
	}
	b.dispatch(time.Now())
	b.mu.Unlock()
	err := c.commit()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range acked {
		if err == nil {
			b.forget(e)
		} else {
			heap.Push(&b.waiting, e)
		}
	}
	b.dispatch(time.Now())
	if err != nil {
		return status.Errorf(codes.Internal, "acknowledge: %v", err)
	}
	return nil
}

// settle has a message acknowledged by a change: off the disk, or kept for seeking back. What is kept and has
// outlived the retention goes now and then.
func (b *backlog) settle(c *change, e *entry) {
	c.remove(b.uid, e.seq)
	if !b.sub.GetRetainAckedMessages() {
		return
	}
	c.set(retainedPrefix, b.uid, e.seq, 0, e.msg)
	if b.tidied++; b.tidied%tidyEvery == 0 {
		b.tidy(c, time.Now())
	}
}

// tidyEvery is after how many acknowledgements what is kept is looked through, at so many of the oldest.
const (
	tidyEvery = 1000
	tidyMost  = 2 * tidyEvery
)

func (b *backlog) tidy(c *change, now time.Time) {
	n := 0
	// Numbers follow the time of publishing: the first that is young ends it. An error shows in the commit.
	c.err = errors.Join(c.err, ignoreEnough(b.store.span(keyOf(retainedPrefix, b.uid, 0), keyOf(retainedPrefix, b.uid+1, 0), func(k, v []byte) error {
		_, e, err := decodeMessage(k, v)
		if n++; err == nil && (n > tidyMost || !b.expired(e, now)) {
			err = errEnough
		}
		if err == nil {
			c.drop(retainedPrefix, b.uid, e.seq)
		}
		return err
	})))
}

var errEnough = errors.New("enough")

func ignoreEnough(err error) error {
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// modifyDeadline moves the end of leases to d from now, or gives the messages back when d is 0. Ids of
// earlier deliveries are ignored: they must not touch the lease of whoever holds the message now.
func (b *backlog) modifyDeadline(ids []ackID, d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	for _, id := range ids {
		e := b.all[id.seq]
		if id.uid != b.uid || e == nil || !e.leased || e.gen != id.gen {
			continue
		}
		if d == 0 {
			b.requeue(e, now)
			continue
		}
		e.confirmed = true
		e.at = now.Add(d)
		heap.Fix(&b.leased, e.index)
	}
	b.dispatch(now)
}
