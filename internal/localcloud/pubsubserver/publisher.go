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

// DeleteTopic leaves the topic's subscriptions with what they hold, under the topic name "_deleted-topic_".
func (p *publisher) DeleteTopic(_ context.Context, req *pubsubpb.DeleteTopicRequest) (*emptypb.Empty, error) {
	s := p.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errClosing
	}
	t := s.topics[req.GetTopic()]
	if t == nil {
		return nil, notFound(req.GetTopic())
	}
	for _, b := range t.subs {
		sub := proto.CloneOf(b.subscription())
		sub.Topic = deletedTopic
		if err := s.store.putSubscription(b.uid, sub); err != nil {
			return nil, status.Errorf(codes.Internal, "detach subscription: %v", err)
		}
		b.update(sub)
	}
	if err := s.store.deleteTopic(req.GetTopic()); err != nil {
		return nil, status.Errorf(codes.Internal, "delete topic: %v", err)
	}
	delete(s.topics, req.GetTopic())
	return &emptypb.Empty{}, nil
}

// Publish answers when the messages are on disk in every subscription of the topic. Without a subscription they are dropped.
func (p *publisher) Publish(_ context.Context, req *pubsubpb.PublishRequest) (*pubsubpb.PublishResponse, error) {
	if err := checkPublish(req); err != nil {
		return nil, err
	}
	subs, err := p.s.subscriptionsOf(req.GetTopic())
	if err != nil {
		return nil, err
	}
	resp := &pubsubpb.PublishResponse{MessageIds: make([]string, len(req.GetMessages()))}
	for i, m := range req.GetMessages() {
		p.s.stamp(m)
		resp.MessageIds[i] = m.GetMessageId()
	}
	if err := p.s.deliver(subs, req.GetMessages(), p.s.store.newChange()); err != nil {
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

// deliver writes the messages to all subscriptions, together with what is in c already, or to none. It uses up c.
func (s *Server) deliver(subs []*backlog, msgs []*pubsubpb.PubsubMessage, c *change) error {
	var size int64
	for _, m := range msgs {
		size += int64(proto.Size(m))
	}
	for i, b := range subs {
		if err := b.reserve(len(msgs), size); err != nil {
			for _, done := range subs[:i] {
				done.unreserve(len(msgs), size)
			}
			_ = c.batch.Close()
			return err
		}
		defer b.unreserve(len(msgs), size)
	}
	entries := make([][]*entry, len(subs))
	for i, b := range subs {
		for _, m := range msgs {
			seq, err := strconv.ParseUint(m.GetMessageId(), 10, 64)
			if err != nil {
				panic("message without a number: " + m.GetMessageId())
			}
			e := newEntry(seq, m)
			entries[i] = append(entries[i], e)
			c.put(b.uid, e)
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
