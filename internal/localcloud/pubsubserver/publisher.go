package pubsubserver

import (
	"context"
	"maps"
	"slices"
	"strconv"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// deletedTopic is what a subscription names when its topic is gone, as in the real service.
const deletedTopic = "_deleted-topic_"

type publisher struct {
	pubsubpb.UnimplementedPublisherServer
	s *Server
}

func (p *publisher) CreateTopic(_ context.Context, req *pubsubpb.Topic) (*pubsubpb.Topic, error) {
	if err := checkTopic(req); err != nil {
		return nil, err
	}
	s := p.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errClosing
	}
	if s.topics[req.GetName()] != nil {
		return nil, status.Errorf(codes.AlreadyExists, "topic exists: %s", req.GetName())
	}
	t := proto.CloneOf(req)
	if err := s.store.putTopic(t); err != nil {
		return nil, status.Errorf(codes.Internal, "create topic: %v", err)
	}
	s.topics[t.GetName()] = &topic{config: t, subs: map[string]*backlog{}}
	return t, nil
}

func (p *publisher) GetTopic(_ context.Context, req *pubsubpb.GetTopicRequest) (*pubsubpb.Topic, error) {
	p.s.mu.RLock()
	defer p.s.mu.RUnlock()
	t := p.s.topics[req.GetTopic()]
	if t == nil {
		return nil, notFound(req.GetTopic())
	}
	return t.config, nil
}

func (p *publisher) ListTopics(_ context.Context, req *pubsubpb.ListTopicsRequest) (*pubsubpb.ListTopicsResponse, error) {
	if err := checkName(projectName, req.GetProject()); err != nil {
		return nil, err
	}
	p.s.mu.RLock()
	defer p.s.mu.RUnlock()
	names, next, err := page(maps.Keys(p.s.topics), req.GetProject()+"/topics/", req.GetPageSize(), req.GetPageToken())
	if err != nil {
		return nil, err
	}
	resp := &pubsubpb.ListTopicsResponse{NextPageToken: next}
	for _, name := range names {
		resp.Topics = append(resp.Topics, p.s.topics[name].config)
	}
	return resp, nil
}

func (p *publisher) ListTopicSubscriptions(_ context.Context, req *pubsubpb.ListTopicSubscriptionsRequest) (*pubsubpb.ListTopicSubscriptionsResponse, error) {
	p.s.mu.RLock()
	defer p.s.mu.RUnlock()
	t := p.s.topics[req.GetTopic()]
	if t == nil {
		return nil, notFound(req.GetTopic())
	}
	names, next, err := page(maps.Keys(t.subs), "", req.GetPageSize(), req.GetPageToken())
	if err != nil {
		return nil, err
	}
	return &pubsubpb.ListTopicSubscriptionsResponse{Subscriptions: names, NextPageToken: next}, nil
}

// UpdateTopic changes the labels; nothing else of a topic is served.
func (p *publisher) UpdateTopic(_ context.Context, req *pubsubpb.UpdateTopicRequest) (*pubsubpb.Topic, error) {
	in, paths := req.GetTopic(), req.GetUpdateMask().GetPaths()
	if in == nil || len(paths) == 0 {
		return nil, invalid("an update needs a topic and a mask")
	}
	s := p.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errClosing
	}
	t := s.topics[in.GetName()]
	if t == nil {
		return nil, notFound(in.GetName())
	}
	changed := proto.CloneOf(t.config)
	for _, path := range paths {
		switch path {
		case "labels":
			changed.Labels = in.GetLabels()
		case "message_storage_policy", "kms_key_name", "schema_settings", "message_retention_duration", "ingestion_data_source_settings", "message_transforms", "tags":
			return nil, unsupported(path)
		default:
			return nil, invalid("the field %q cannot be updated", path)
		}
	}
	if err := s.store.putTopic(changed); err != nil {
		return nil, status.Errorf(codes.Internal, "update topic: %v", err)
	}
	t.config = changed
	return changed, nil
}

// DetachSubscription ends a subscription for good: what it holds is dropped, pulls are refused, and it can
// only be looked at and deleted. https://cloud.google.com/pubsub/docs/detach-subscriptions
func (p *publisher) DetachSubscription(_ context.Context, req *pubsubpb.DetachSubscriptionRequest) (*pubsubpb.DetachSubscriptionResponse, error) {
	s := p.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errClosing
	}
	b := s.subs[req.GetSubscription()]
	if b == nil {
		return nil, notFound(req.GetSubscription())
	}
	sub := proto.CloneOf(b.subscription())
	sub.Detached = true
	if err := s.store.detachSubscription(b.uid, sub); err != nil {
		return nil, status.Errorf(codes.Internal, "detach subscription: %v", err)
	}
	if t := s.topics[sub.GetTopic()]; t != nil {
		delete(t.subs, sub.GetName())
	}
	b.close(errDetached)
	s.subs[sub.GetName()] = s.newBacklog(b.uid, sub)
	s.subs[sub.GetName()].close(errDetached)
	return &pubsubpb.DetachSubscriptionResponse{}, nil
}

var errDetached = status.Error(codes.FailedPrecondition, "Subscription is detached.")

// DeleteTopic leaves the topic's subscriptions with what they hold, under the topic name "_deleted-topic_".
func (p *publisher) DeleteTopic(_ context.Context, req *pubsubpb.DeleteTopicRequest) (*emptypb.Empty, error) {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	if err := p.s.deleteTopic(req.GetTopic()); err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, nil
}

// deleteTopic needs s.mu.
func (s *Server) deleteTopic(name string) error {
	if s.closed {
		return errClosing
	}
	t := s.topics[name]
	if t == nil {
		return notFound(name)
	}
	for _, b := range t.subs {
		sub := proto.CloneOf(b.subscription())
		sub.Topic = deletedTopic
		if err := s.store.putSubscription(b.uid, sub); err != nil {
			return status.Errorf(codes.Internal, "detach subscription: %v", err)
		}
		b.update(sub)
	}
	for _, snap := range s.snaps {
		if snap.config.GetTopic() == name {
			config := proto.CloneOf(snap.config)
			config.Topic = deletedTopic
			c := s.store.newChange()
			c.putSnapshot(&snapshot{snap.uid, config})
			if err := c.commit(); err != nil {
				return status.Errorf(codes.Internal, "detach snapshot: %v", err)
			}
			snap.config = config
		}
	}
	if err := s.store.deleteTopic(name); err != nil {
		return status.Errorf(codes.Internal, "delete topic: %v", err)
	}
	delete(s.topics, name)
	return nil
}

// Publish answers when the messages are on disk in every subscription of the topic. Without a subscription
// they are dropped.
func (p *publisher) Publish(_ context.Context, req *pubsubpb.PublishRequest) (*pubsubpb.PublishResponse, error) {
	if err := checkPublish(req); err != nil {
		return nil, err
	}
	p.s.publishing.RLock()
	defer p.s.publishing.RUnlock()
	snaps := p.s.snapshotsFor(req.GetTopic())
	subs, err := p.s.subscriptionsOf(req.GetTopic())
	if err != nil {
		return nil, err
	}
	resp := &pubsubpb.PublishResponse{MessageIds: make([]string, len(req.GetMessages()))}
	for i, m := range req.GetMessages() {
		p.s.stamp(m)
		resp.MessageIds[i] = m.GetMessageId()
	}
	if err := p.s.deliver(subs, snaps, req.GetMessages(), p.s.store.newChange()); err != nil {
		return nil, err
	}
	return resp, nil
}

func (s *Server) subscriptionsOf(topic string) ([]*backlog, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return nil, errClosing
	}
	t := s.topics[topic]
	if t == nil {
		return nil, notFound(topic)
	}
	return slices.Collect(maps.Values(t.subs)), nil
}

// stamp gives a message its id and publish time.
func (s *Server) stamp(m *pubsubpb.PubsubMessage) {
	m.MessageId = strconv.FormatUint(s.seq.Add(1), 10)
	m.PublishTime = timestamppb.Now()
}

// number is that of a message that was stamped.
func number(m *pubsubpb.PubsubMessage) uint64 {
	seq, err := strconv.ParseUint(m.GetMessageId(), 10, 64)
	if err != nil {
		panic("message without a number: " + m.GetMessageId())
	}
	return seq
}

// deliver writes the messages to all subscriptions whose filter lets them pass, together with what is in c
// already, or to none. It uses up c.
func (s *Server) deliver(subs []*backlog, snaps []*snapshot, msgs []*pubsubpb.PubsubMessage, c *change) error {
	entries := make([][]*entry, len(subs))
	for i, b := range subs {
		var size int64
		for _, m := range msgs {
			if !b.filter.match(m.GetAttributes()) {
				continue // as if acknowledged: https://cloud.google.com/pubsub/docs/subscription-message-filter
			}
			entries[i] = append(entries[i], newEntry(number(m), m))
			size += entries[i][len(entries[i])-1].size
		}
		n := len(entries[i])
		if err := b.reserve(n, size); err != nil {
			_ = c.batch.Close()
			return err
		}
		defer b.unreserve(n, size)
		for _, e := range entries[i] {
			c.put(b.uid, e)
		}
	}
	for _, snap := range snaps {
		for _, m := range msgs {
			c.set(snapshotPrefix, snap.uid, number(m), 0, m)
		}
	}
	if err := c.commit(); err != nil {
		return status.Errorf(codes.Internal, "write messages: %v", err)
	}
	for i, b := range subs {
		b.enqueue(entries[i]...)
	}
	return nil
}
