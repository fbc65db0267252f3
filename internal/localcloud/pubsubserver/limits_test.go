package pubsubserver

import (
	"fmt"
	"strings"
	"testing"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// TestLimits: what the official client's calls may hold, at the limit and one beyond.
func TestLimits(t *testing.T) {
	t.Parallel()
	r := start(t, Options{})
	r.create(t, nil)
	ctx := t.Context()
	publish := func(messages ...*pubsubpb.PubsubMessage) error {
		_, err := r.client.TopicAdminClient.Publish(ctx, &pubsubpb.PublishRequest{Topic: testTopic, Messages: messages})
		return err
	}
	attributes := func(n, key, value int) *pubsubpb.PubsubMessage {
		m := &pubsubpb.PubsubMessage{Attributes: map[string]string{}}
		for i := range n {
			m.Attributes[fmt.Sprintf("%0*d", key, i)] = strings.Repeat("v", value)
		}
		return m
	}
	many := make([]*pubsubpb.PubsubMessage, 1001)
	for i := range many {
		many[i] = &pubsubpb.PubsubMessage{Data: []byte("x")}
	}
	acks := func(n int) error {
		ids := make([]string, n)
		for i := range ids {
			ids[i] = strings.Repeat("0", 60) + "1.1.1" // 65 bytes, 67 in a request
		}
		return r.client.SubscriptionAdminClient.Acknowledge(ctx, &pubsubpb.AcknowledgeRequest{Subscription: testSub, AckIds: ids})
	}
	_, googTopic := r.client.TopicAdminClient.CreateTopic(ctx, &pubsubpb.Topic{Name: "projects/p/topics/google-jobs"})
	_, pullNone := r.client.SubscriptionAdminClient.Pull(ctx, &pubsubpb.PullRequest{Subscription: testSub})
	for name, c := range map[string]struct {
		err  error
		want codes.Code
	}{
		"1000 messages":         {publish(many[:1000]...), codes.OK},
		"1001 messages":         {publish(many...), codes.InvalidArgument},
		"no message":            {publish(), codes.InvalidArgument},
		"empty message":         {publish(&pubsubpb.PubsubMessage{}), codes.InvalidArgument},
		"10 MB":                 {publish(&pubsubpb.PubsubMessage{Data: make([]byte, 10_000_000)}), codes.InvalidArgument}, // with what is around it
		"under 10 MB":           {publish(&pubsubpb.PubsubMessage{Data: make([]byte, 9_999_900)}), codes.OK},
		"100 attributes":        {publish(attributes(100, 256, 1024)), codes.OK},
		"101 attributes":        {publish(attributes(101, 10, 10)), codes.InvalidArgument},
		"key of 257":            {publish(attributes(1, 257, 1)), codes.InvalidArgument},
		"value of 1025":         {publish(attributes(1, 10, 1025)), codes.InvalidArgument},
		"ack ids of 512 KiB":    {acks(7_800), codes.OK},
		"more ack ids":          {acks(7_900), codes.InvalidArgument},
		"name that begins goog": {googTopic, codes.InvalidArgument},
		"pull of 0":             {pullNone, codes.InvalidArgument},
	} {
		if got := status.Code(c.err); got != c.want {
			t.Errorf("%s: %v, want %s", name, c.err, c.want)
		}
	}
}
