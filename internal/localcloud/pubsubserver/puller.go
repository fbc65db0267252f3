package pubsubserver

import (
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
)

// An inbox holds what is leased to a puller and not yet sent: enough to fill a response, little enough that a
// client which stops reading does not lock up the backlog.
const (
	inboxMessages = 500
	inboxBytes    = 1 << 20
)

// puller is a StreamingPull stream or one unary Pull call. Its fields belong to the backlog's lock, except
// ready.
type puller struct {
	stream      bool
	maxMessages int64 // outstanding at most; 0 or less: no limit
	maxBytes    int64
	leaseFor    time.Duration
	ready       chan struct{} // holds a token when the inbox has something

	messages int64 // outstanding: leased to this puller
	bytes    int64
	inbox    []delivery
	inboxB   int64
	stuck    bool // the client does not read; cleared when the inbox is emptied
}

// delivery is an entry as it was when it was leased: by the time it is sent the lease may be over.
type delivery struct {
	entry *entry
	gen   uint64
}

func (d delivery) current() bool { return d.entry.leased && d.entry.gen == d.gen }

func newPuller(maxMessages, maxBytes int64, leaseFor time.Duration) *puller {
	return &puller{maxMessages: maxMessages, maxBytes: maxBytes, leaseFor: leaseFor, ready: make(chan struct{}, 1)}
}

// hasRoom follows pubsub.proto: sending stops when the outstanding count or bytes have reached the limit, so
// the last message may exceed the byte limit and one larger than the limit is not stuck for ever.
func (p *puller) hasRoom() bool {
	return !p.stuck && (p.maxMessages <= 0 || p.messages < p.maxMessages) &&
		(p.maxBytes <= 0 || p.bytes < p.maxBytes) &&
		len(p.inbox) < inboxMessages && p.inboxB < inboxBytes
}

func (p *puller) add(e *entry) {
	p.messages++
	p.bytes += e.size
	p.inbox = append(p.inbox, delivery{e, e.gen})
	p.inboxB += e.size
	select {
	case p.ready <- struct{}{}:
	default:
	}
}

func (p *puller) release(e *entry) {
	p.messages--
	p.bytes -= e.size
}

func (p *puller) drain() []delivery {
	out := p.inbox
	p.inbox, p.inboxB, p.stuck = nil, 0, false
	return out
}

// collect empties a puller's inbox into messages to send, leaving out those whose lease is over already.
func (b *backlog) collect(p *puller) []*pubsubpb.ReceivedMessage {
	b.mu.Lock()
	defer b.mu.Unlock()
	batch := p.drain()
	out := make([]*pubsubpb.ReceivedMessage, 0, len(batch))
	for _, d := range batch {
		if d.current() {
			d.entry.sent = true
			out = append(out, b.received(d.entry))
		}
	}
	b.dispatch(time.Now())
	return out
}

func (b *backlog) received(e *entry) *pubsubpb.ReceivedMessage {
	m := &pubsubpb.ReceivedMessage{AckId: ackID{b.uid, e.seq, e.gen}.String(), Message: e.msg}
	if b.sub.GetDeadLetterPolicy() != nil {
		m.DeliveryAttempt = int32(e.attempts) // as in the real service, only with a dead-letter policy
	}
	return m
}

// setLease changes the lease of messages delivered to p from now on.
func (b *backlog) setLease(p *puller, lease time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p.leaseFor = lease
}
