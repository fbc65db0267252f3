package pubsubserver

import (
	"context"
	"strings"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
)

// Reset deletes the topics and subscriptions of a project, "" for all projects, and says how many. Streams on
// them end with NOT_FOUND, as after any deletion.
func (s *Server) Reset(ctx context.Context, project string) (topics, subscriptions int, err error) {
	s.mu.RLock()
	var names, subs []string
	for name := range s.topics {
		names = append(names, name)
	}
	for name := range s.subs {
		subs = append(subs, name)
	}
	s.mu.RUnlock()
	mine := func(name string) bool { return project == "" || strings.HasPrefix(name, "projects/"+project+"/") }
	for _, name := range subs {
		if !mine(name) {
			continue
		}
		if _, err := (&subscriber{s: s}).DeleteSubscription(ctx, &pubsubpb.DeleteSubscriptionRequest{Subscription: name}); err != nil {
			return topics, subscriptions, err
		}
		subscriptions++
	}
	for _, name := range names {
		if !mine(name) {
			continue
		}
		if _, err := (&publisher{s: s}).DeleteTopic(ctx, &pubsubpb.DeleteTopicRequest{Topic: name}); err != nil {
			return topics, subscriptions, err
		}
		topics++
	}
	return topics, subscriptions, nil
}
