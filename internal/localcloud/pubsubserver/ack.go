package pubsubserver

import (
	"container/heap"
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
func (b *backlog) acknowledge(ids []ackID) error {
	c := b.store.newChange()
	b.mu.Lock()
	for _, id := range ids {
		e := b.all[id.seq]
		if id.uid != b.uid || e == nil || e.held || (!e.leased && e.index < 0) {
			continue // gone, or on its way to the dead-letter topic
		}
		b.take(e)
		b.settle(c, e)
	}
	b.dispatch(time.Now())
	b.mu.Unlock()
	if err := c.commit(); err != nil {
		return status.Errorf(codes.Internal, "acknowledge: %v", err)
	}
	return nil
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
