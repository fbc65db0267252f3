package pubsubserver

import (
	"container/heap"
	"strconv"
	"strings"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"
)

// Attributes that Google adds to a dead letter:
// https://cloud.google.com/pubsub/docs/dead-letter-topics#track_delivery_attempts
const (
	attrDeliveryCount  = "CloudPubSubDeadLetterSourceDeliveryCount"
	attrSubscription   = "CloudPubSubDeadLetterSourceSubscription"
	attrSubProject     = "CloudPubSubDeadLetterSourceSubscriptionProject"
	attrTopicPublished = "CloudPubSubDeadLetterSourceTopicPublishTime"
)

// forwardRetry is the pause before a dead letter is tried again when its topic is missing or a backlog there
// is full.
const forwardRetry = 10 * time.Second

// forwardDoomed moves messages that are out of attempts to the dead-letter topic, one at a time, until none
// is left. At most one runs per subscription. A message that cannot be moved stays in the subscription and is
// not delivered meanwhile.
func (b *backlog) forwardDoomed() {
	warned := false
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.doomed) > 0 && b.closed == nil {
		e := b.doomed[0]
		b.doomed = b.doomed[1:]
		sub := b.sub
		b.mu.Unlock()
		err := b.forward(b, e, sub)
		b.mu.Lock()
		if err == nil {
			b.forget(e)
			continue
		}
		if !warned {
			warned = true
			b.log.Warn("forward dead letter", zap.String("subscription", sub.GetName()), zap.Error(err))
		}
		e.at = time.Now().Add(forwardRetry)
		heap.Push(&b.waiting, e)
	}
	b.forwarding = false
	b.dispatch(time.Now())
}

// forwardDeadLetter publishes the message to the dead-letter topic and removes it from b in one write:
// exactly once.
func (s *Server) forwardDeadLetter(b *backlog, e *entry, sub *pubsubpb.Subscription) error {
	topic := sub.GetDeadLetterPolicy().GetDeadLetterTopic()
	s.publishing.RLock()
	defer s.publishing.RUnlock()
	snaps := s.snapshotsFor(topic)
	to, err := s.subscriptionsOf(topic)
	if err != nil {
		return err
	}
	m := proto.CloneOf(e.msg)
	if m.Attributes == nil {
		m.Attributes = map[string]string{}
	}
	project, id, _ := strings.Cut(strings.TrimPrefix(sub.GetName(), "projects/"), "/subscriptions/")
	m.Attributes[attrDeliveryCount] = strconv.Itoa(e.attempts)
	m.Attributes[attrSubscription] = id
	m.Attributes[attrSubProject] = project
	m.Attributes[attrTopicPublished] = e.published.UTC().Format(time.RFC3339Nano)
	s.stamp(m)
	c := s.store.newChange()
	c.remove(b.uid, e.seq)
	return s.deliver(to, snaps, []*pubsubpb.PubsubMessage{m}, c)
}
