package pubsubserver

import (
	"context"
	"maps"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
)

type subscriber struct {
	pubsubpb.UnimplementedSubscriberServer
	s *Server
}

func (u *subscriber) CreateSubscription(_ context.Context, req *pubsubpb.Subscription) (*pubsubpb.Subscription, error) {
	sub := proto.CloneOf(req)
	if err := completeSubscription(sub); err != nil {
		return nil, err
	}
	if err := checkName(topicName, sub.GetTopic()); err != nil {
		return nil, err
	}
	s := u.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errClosing
	}
	if s.subs[sub.GetName()] != nil {
		return nil, status.Errorf(codes.AlreadyExists, "subscription exists: %s", sub.GetName())
	}
	t := s.topics[sub.GetTopic()]
	if t == nil {
		return nil, notFound(sub.GetTopic())
	}
	if err := s.checkDeadLetterTopic(sub); err != nil {
		return nil, err
	}
	sub.State = pubsubpb.Subscription_ACTIVE
	sub.Detached = false
	b := s.newBacklog(s.seq.Add(1), sub)
	if err := s.store.putSubscription(b.uid, sub); err != nil {
		return nil, status.Errorf(codes.Internal, "create subscription: %v", err)
	}
	s.subs[sub.GetName()] = b
	t.subs[sub.GetName()] = b
	b.update(sub) // to push where that is wanted
	return sub, nil
}

// checkDeadLetterTopic needs s.mu.
func (s *Server) checkDeadLetterTopic(sub *pubsubpb.Subscription) error {
	if p := sub.GetDeadLetterPolicy(); p != nil && s.topics[p.GetDeadLetterTopic()] == nil {
		return notFound(p.GetDeadLetterTopic())
	}
	return nil
}

func (u *subscriber) GetSubscription(_ context.Context, req *pubsubpb.GetSubscriptionRequest) (*pubsubpb.Subscription, error) {
	b, err := u.s.view(req.GetSubscription())
	if err != nil {
		return nil, err
	}
	return b.subscription(), nil
}

func (u *subscriber) ListSubscriptions(_ context.Context, req *pubsubpb.ListSubscriptionsRequest) (*pubsubpb.ListSubscriptionsResponse, error) {
	if err := checkName(projectName, req.GetProject()); err != nil {
		return nil, err
	}
	u.s.mu.RLock()
	defer u.s.mu.RUnlock()
	names, next, err := page(maps.Keys(u.s.subs), req.GetProject()+"/subscriptions/", req.GetPageSize(), req.GetPageToken())
	if err != nil {
		return nil, err
	}
	resp := &pubsubpb.ListSubscriptionsResponse{NextPageToken: next}
	for _, name := range names {
		resp.Subscriptions = append(resp.Subscriptions, u.s.subs[name].subscription())
	}
	return resp, nil
}

// UpdateSubscription changes the fields in the mask; what is delivered already keeps its lease.
func (u *subscriber) UpdateSubscription(_ context.Context, req *pubsubpb.UpdateSubscriptionRequest) (*pubsubpb.Subscription, error) {
	in := req.GetSubscription()
	if in == nil || len(req.GetUpdateMask().GetPaths()) == 0 {
		return nil, invalid("an update needs a subscription and a mask")
	}
	return u.s.changeSubscription(in.GetName(), func(sub *pubsubpb.Subscription) error {
		for _, path := range req.GetUpdateMask().GetPaths() {
			if err := copyField(sub, proto.CloneOf(in), path); err != nil {
				return err
			}
		}
		return nil
	})
}

// ModifyPushConfig sets where messages are pushed; an empty configuration has them pulled.
func (u *subscriber) ModifyPushConfig(_ context.Context, req *pubsubpb.ModifyPushConfigRequest) (*emptypb.Empty, error) {
	if req.GetPushConfig() == nil {
		return nil, invalid("a push configuration is needed; an empty one means pull")
	}
	_, err := u.s.changeSubscription(req.GetSubscription(), func(sub *pubsubpb.Subscription) error {
		sub.PushConfig = proto.CloneOf(req.GetPushConfig())
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, nil
}

// changeSubscription puts in force what change makes of a subscription's settings.
func (s *Server) changeSubscription(name string, change func(*pubsubpb.Subscription) error) (*pubsubpb.Subscription, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errClosing
	}
	b := s.subs[name]
	if b == nil {
		return nil, notFound(name)
	}
	sub := proto.CloneOf(b.subscription())
	if sub.GetDetached() {
		return nil, errDetached
	}
	if err := change(sub); err != nil {
		return nil, err
	}
	if err := completeSubscription(sub); err != nil {
		return nil, err
	}
	if err := s.checkDeadLetterTopic(sub); err != nil {
		return nil, err
	}
	if err := s.store.putSubscription(b.uid, sub); err != nil {
		return nil, status.Errorf(codes.Internal, "update subscription: %v", err)
	}
	b.update(sub)
	if !sub.GetRetainAckedMessages() {
		if err := s.store.dropRetained(b.uid); err != nil {
			return nil, status.Errorf(codes.Internal, "update subscription: %v", err)
		}
	}
	return sub, nil
}

func copyField(to, from *pubsubpb.Subscription, path string) error {
	switch path {
	case "ack_deadline_seconds":
		to.AckDeadlineSeconds = from.AckDeadlineSeconds
	case "message_retention_duration":
		to.MessageRetentionDuration = from.MessageRetentionDuration
	case "retry_policy":
		to.RetryPolicy = from.RetryPolicy
	case "dead_letter_policy":
		to.DeadLetterPolicy = from.DeadLetterPolicy
	case "expiration_policy":
		to.ExpirationPolicy = from.ExpirationPolicy
	case "labels":
		to.Labels = from.Labels
	case "retain_acked_messages":
		to.RetainAckedMessages = from.RetainAckedMessages
	case "push_config":
		to.PushConfig = from.PushConfig
	case "bigquery_config", "bigtable_config", "cloud_storage_config", "enable_exactly_once_delivery", "message_transforms", "tags":
		return unsupported(path)
	default:
		return invalid("the field %q cannot be updated", path)
	}
	return nil
}

// DeleteSubscription drops the subscription with its backlog; streams on it end with NOT_FOUND.
func (u *subscriber) DeleteSubscription(_ context.Context, req *pubsubpb.DeleteSubscriptionRequest) (*emptypb.Empty, error) {
	u.s.mu.Lock()
	defer u.s.mu.Unlock()
	if err := u.s.deleteSubscription(req.GetSubscription()); err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, nil
}

// deleteSubscription needs s.mu.
func (s *Server) deleteSubscription(name string) error {
	if s.closed {
		return errClosing
	}
	b := s.subs[name]
	if b == nil {
		return notFound(name)
	}
	if err := s.store.deleteSubscription(b.uid, name); err != nil {
		return status.Errorf(codes.Internal, "delete subscription: %v", err)
	}
	delete(s.subs, name)
	if t := s.topics[b.subscription().GetTopic()]; t != nil {
		delete(t.subs, name)
	}
	b.close(notFound(name))
	return nil
}

// Seek to a time acknowledges what was published before it, and brings back what was published from then on
// as far as it is kept (retain_acked_messages). Seek to a snapshot brings back what that holds.
func (u *subscriber) Seek(_ context.Context, req *pubsubpb.SeekRequest) (*pubsubpb.SeekResponse, error) {
	b, err := u.s.attached(req.GetSubscription())
	if err != nil {
		return nil, err
	}
	switch to := req.GetTarget().(type) {
	case *pubsubpb.SeekRequest_Time:
		if err := to.Time.CheckValid(); err != nil {
			return nil, invalid("seek: %v", err)
		}
		return &pubsubpb.SeekResponse{}, b.seekBack(to.Time.AsTime())
	case *pubsubpb.SeekRequest_Snapshot:
		// The snapshot must not be dropped meanwhile, nor a message come to one and not to the other.
		u.s.publishing.Lock()
		defer u.s.publishing.Unlock()
		u.s.mu.RLock()
		defer u.s.mu.RUnlock()
		snap, err := u.s.snapshot(to.Snapshot)
		if err != nil {
			return nil, err
		}
		if topic := b.subscription().GetTopic(); topic != snap.config.GetTopic() || topic == deletedTopic {
			return nil, status.Errorf(codes.FailedPrecondition, "the snapshot is of %s, the subscription of %s", snap.config.GetTopic(), topic)
		}
		return &pubsubpb.SeekResponse{}, b.seekTo(snap)
	}
	return nil, invalid("seek needs a time or a snapshot")
}
