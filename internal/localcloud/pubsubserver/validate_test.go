package pubsubserver

import (
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
)

func TestCompleteSubscription(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*pubsubpb.Subscription)
		want   codes.Code
	}{
		"plain":                {func(*pubsubpb.Subscription) {}, codes.OK},
		"deadline 10":          {func(s *pubsubpb.Subscription) { s.AckDeadlineSeconds = 10 }, codes.OK},
		"deadline 9":           {func(s *pubsubpb.Subscription) { s.AckDeadlineSeconds = 9 }, codes.InvalidArgument},
		"deadline 601":         {func(s *pubsubpb.Subscription) { s.AckDeadlineSeconds = 601 }, codes.InvalidArgument},
		"retention short":      {func(s *pubsubpb.Subscription) { s.MessageRetentionDuration = durationpb.New(time.Minute) }, codes.InvalidArgument},
		"retention long":       {func(s *pubsubpb.Subscription) { s.MessageRetentionDuration = durationpb.New(32 * 24 * time.Hour) }, codes.InvalidArgument},
		"back-off upside down": {func(s *pubsubpb.Subscription) { s.RetryPolicy = retry(20*time.Second, 10*time.Second) }, codes.InvalidArgument},
		"back-off too long":    {func(s *pubsubpb.Subscription) { s.RetryPolicy = retry(time.Second, time.Hour) }, codes.InvalidArgument},
		"dead letters after 4": {func(s *pubsubpb.Subscription) { s.DeadLetterPolicy = deadAfter(4) }, codes.InvalidArgument},
		"dead letters 101":     {func(s *pubsubpb.Subscription) { s.DeadLetterPolicy = deadAfter(101) }, codes.InvalidArgument},
		"short name":           {func(s *pubsubpb.Subscription) { s.Name = "projects/p/subscriptions/ab" }, codes.InvalidArgument},
		"name of a topic":      {func(s *pubsubpb.Subscription) { s.Name = testTopic }, codes.InvalidArgument},
		"filter":               {func(s *pubsubpb.Subscription) { s.Filter = "attributes.a" }, codes.InvalidArgument},
		"ordering":             {func(s *pubsubpb.Subscription) { s.EnableMessageOrdering = true }, codes.OK},
		"expiry of its own": {func(s *pubsubpb.Subscription) {
			s.ExpirationPolicy = &pubsubpb.ExpirationPolicy{Ttl: durationpb.New(24 * time.Hour)}
		}, codes.Unimplemented},
		"no expiry":    {func(s *pubsubpb.Subscription) { s.ExpirationPolicy = &pubsubpb.ExpirationPolicy{} }, codes.OK},
		"exactly once": {func(s *pubsubpb.Subscription) { s.EnableExactlyOnceDelivery = true }, codes.Unimplemented},
		"push": {func(s *pubsubpb.Subscription) {
			s.PushConfig = &pubsubpb.PushConfig{PushEndpoint: "https://example.com/"}
		}, codes.Unimplemented},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sub := &pubsubpb.Subscription{Name: testSub, Topic: testTopic}
			c.change(sub)
			if got := status.Code(completeSubscription(sub)); got != c.want {
				t.Errorf("completeSubscription(%v) = %v, want %v", sub, got, c.want)
			}
		})
	}
}

func retry(low, high time.Duration) *pubsubpb.RetryPolicy {
	return &pubsubpb.RetryPolicy{MinimumBackoff: durationpb.New(low), MaximumBackoff: durationpb.New(high)}
}

func deadAfter(n int32) *pubsubpb.DeadLetterPolicy {
	return &pubsubpb.DeadLetterPolicy{DeadLetterTopic: deadTopic, MaxDeliveryAttempts: n}
}

func TestSubscriptionDefaults(t *testing.T) {
	t.Parallel()
	sub := &pubsubpb.Subscription{Name: testSub, Topic: testTopic, RetryPolicy: &pubsubpb.RetryPolicy{}, DeadLetterPolicy: deadAfter(0)}
	if err := completeSubscription(sub); err != nil {
		t.Fatalf("completeSubscription() = %v", err)
	}
	if got := sub.GetAckDeadlineSeconds(); got != 10 {
		t.Errorf("ack deadline = %d s, want 10", got)
	}
	if got := retentionOf(sub); got != 7*24*time.Hour {
		t.Errorf("retention = %s, want seven days", got)
	}
	if p := sub.GetRetryPolicy(); p.GetMinimumBackoff().AsDuration() != 10*time.Second || p.GetMaximumBackoff().AsDuration() != 600*time.Second {
		t.Errorf("retry policy = %v, want 10s to 600s", p)
	}
	if got := sub.GetDeadLetterPolicy().GetMaxDeliveryAttempts(); got != 5 {
		t.Errorf("delivery attempts = %d, want 5", got)
	}
}

func TestCheckPublish(t *testing.T) {
	t.Parallel()
	many := make(map[string]string, 101)
	for i := range 101 {
		many[strings.Repeat("k", i+1)] = "v"
	}
	for name, m := range map[string]*pubsubpb.PubsubMessage{
		"empty":           {},
		"101 attributes":  {Attributes: many},
		"long key":        {Attributes: map[string]string{strings.Repeat("k", 257): "v"}},
		"long value":      {Attributes: map[string]string{"k": strings.Repeat("v", 1025)}},
		"no key":          {Attributes: map[string]string{"": "v"}},
		"more than 10 MB": {Data: make([]byte, 10_000_000)},
	} {
		req := &pubsubpb.PublishRequest{Topic: testTopic, Messages: []*pubsubpb.PubsubMessage{m}}
		if got := status.Code(checkPublish(req)); got != codes.InvalidArgument {
			t.Errorf("checkPublish(%s) = %v, want InvalidArgument", name, got)
		}
	}
	if got := status.Code(checkPublish(&pubsubpb.PublishRequest{Topic: testTopic})); got != codes.InvalidArgument {
		t.Errorf("checkPublish(no messages) = %v, want InvalidArgument", got)
	}
	ok := &pubsubpb.PublishRequest{Topic: testTopic, Messages: []*pubsubpb.PubsubMessage{{Attributes: map[string]string{"k": "v"}}}}
	if err := checkPublish(ok); err != nil {
		t.Errorf("checkPublish(attributes only) = %v, want nil", err)
	}
}

func FuzzParseAckIDs(f *testing.F) {
	f.Add(ackID{1, 2, 3}.String())
	f.Add("..")
	f.Add("zz.+1.-1")
	f.Fuzz(func(t *testing.T, id string) {
		ids, err := parseAckIDs([]string{id})
		if err != nil {
			return
		}
		again, err := parseAckIDs([]string{ids[0].String()})
		if err != nil || again[0] != ids[0] {
			t.Errorf("parseAckIDs(%q) = %v, which is not itself again: %v, %v", id, ids, again, err)
		}
	})
}

// TestCheckName: what is wrong with a name is said.
func TestCheckName(t *testing.T) {
	t.Parallel()
	for name, ok := range map[string]bool{
		"projects/p/topics/abc": true, "projects/p/topics/t": false, "projects/p/topics/1abc": false, "projects/p/topics/google": false, "projects/p/topics/a b": false, "projects/p/subscriptions/abc": false,
	} {
		err := checkName(topicName, name)
		if (err == nil) != ok || err != nil && (!strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "3 to 255 characters, of letters, digits and -._~+%, ")) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
