package jobqueue_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"exportd/internal/localcloud/localcloudtest"
	"exportd/jobs"
)

// A topic that was deleted and made again leaves its subscription bound to nothing: messages are accepted and
// nobody ever hears them. Whatever a subscription lacks is found by PingSubscriptions and mended by Mend,
// which says what it did and then has nothing more to do.
func TestMend(t *testing.T) {
	t.Parallel()
	const prefix = "projects/" + localcloudtest.Project
	topic, sub := prefix+"/topics/exportd-parts", prefix+"/subscriptions/exportd-parts"
	update := func(change *pubsubpb.Subscription, field string) func(*testing.T, *localcloudtest.Cloud) {
		return func(t *testing.T, c *localcloudtest.Cloud) {
			t.Helper()
			change.Name = sub
			_, err := c.PubSub.SubscriptionAdminClient.UpdateSubscription(t.Context(), &pubsubpb.UpdateSubscriptionRequest{
				Subscription: change, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{field}},
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, tc := range map[string]struct {
		damage func(*testing.T, *localcloudtest.Cloud)
		fault  string // of PingSubscriptions
		change string // of Mend
	}{
		"topic deleted and made again": {func(t *testing.T, c *localcloudtest.Cloud) {
			if err := c.PubSub.TopicAdminClient.DeleteTopic(t.Context(), &pubsubpb.DeleteTopicRequest{Topic: topic}); err != nil {
				t.Fatal(err)
			}
			if _, err := c.PubSub.TopicAdminClient.CreateTopic(t.Context(), &pubsubpb.Topic{Name: topic}); err != nil {
				t.Fatal(err)
			}
		}, "is bound to a topic that was deleted", "anew: it was bound to a topic that was deleted"},
		"subscription deleted": {func(t *testing.T, c *localcloudtest.Cloud) {
			if err := c.PubSub.SubscriptionAdminClient.DeleteSubscription(t.Context(), &pubsubpb.DeleteSubscriptionRequest{Subscription: sub}); err != nil {
				t.Fatal(err)
			}
		}, "is missing", "made subscription"},
		"bound to another topic": {func(t *testing.T, c *localcloudtest.Cloud) {
			if err := c.PubSub.SubscriptionAdminClient.DeleteSubscription(t.Context(), &pubsubpb.DeleteSubscriptionRequest{Subscription: sub}); err != nil {
				t.Fatal(err)
			}
			_, err := c.PubSub.SubscriptionAdminClient.CreateSubscription(t.Context(), &pubsubpb.Subscription{
				Name: sub, Topic: prefix + "/topics/exportd-dead", AckDeadlineSeconds: 20, ExpirationPolicy: &pubsubpb.ExpirationPolicy{},
			})
			if err != nil {
				t.Fatal(err)
			}
		}, "is bound to " + prefix + "/topics/exportd-dead", "anew"},
		"ack deadline": {update(&pubsubpb.Subscription{AckDeadlineSeconds: 600}, "ack_deadline_seconds"), "ack deadline of 600 s", "changed subscription"},
		"retention":    {update(&pubsubpb.Subscription{MessageRetentionDuration: durationpb.New(time.Hour)}, "message_retention_duration"), "keeps messages for 1h", "it kept messages for 1h"},
		"expiration":   {update(&pubsubpb.Subscription{}, "expiration_policy"), "is deleted when nobody pulls", "it was deleted when"},
		"dead letters": {update(&pubsubpb.Subscription{DeadLetterPolicy: &pubsubpb.DeadLetterPolicy{DeadLetterTopic: prefix + "/topics/exportd-dead"}}, "dead_letter_policy"), "after 5 deliveries", "it gave messages"},
		"retries":      {update(&pubsubpb.Subscription{RetryPolicy: &pubsubpb.RetryPolicy{}}, "retry_policy"), "delays messages", "it delayed messages"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cloud := localcloudtest.Start(t)
			q := open(t, cloud)
			if err := q.Ensure(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := q.PingSubscriptions(t.Context()); err != nil {
				t.Fatalf("PingSubscriptions of a new set-up = %v", err)
			}
			tc.damage(t, cloud)
			if err := q.PingSubscriptions(t.Context()); !errors.Is(err, jobs.ErrUnavailable) || !strings.Contains(err.Error(), sub+" "+tc.fault) && !strings.Contains(err.Error(), tc.fault) {
				t.Errorf("PingSubscriptions = %v, want %q", err, tc.fault)
			}
			changed, err := q.Mend(t.Context())
			if err != nil || len(changed) != 1 || !strings.Contains(changed[0], sub) || !strings.Contains(changed[0], tc.change) {
				t.Errorf("Mend = %q, %v, want %q", changed, err, tc.change)
			}
			if changed, err := q.Mend(t.Context()); err != nil || len(changed) != 0 {
				t.Errorf("Mend again = %q, %v", changed, err)
			}
			if err := q.PingSubscriptions(t.Context()); err != nil {
				t.Errorf("PingSubscriptions of what was mended = %v", err)
			}
			want := jobs.Message{JobID: jobs.NewID()}
			if err := q.Publish(t.Context(), jobs.QueueParts, want); err != nil {
				t.Fatal(err)
			}
			if got, err := q.Pull(t.Context(), jobs.QueueParts, 1); err != nil || len(got) != 1 {
				t.Errorf("Pull = %d messages, %v, want the one that was notified", len(got), err)
			}
		})
	}
}

// TestCheckTopic: whoever may publish, and no more, can find out whether it can.
func TestCheckTopic(t *testing.T) {
	t.Parallel()
	cloud := localcloudtest.Start(t)
	q := open(t, cloud)
	if err := q.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	cloud.Faults().ResetCounters()
	if err := q.Ping(t.Context()); err != nil {
		t.Errorf("Ping = %v", err)
	}
	for call := range cloud.Faults().Counters().Methods {
		if !strings.HasSuffix(call, "/TestIamPermissions") {
			t.Errorf("Ping called %s, which pubsub.publisher may not", call)
		}
	}
	name := "projects/" + localcloudtest.Project + "/topics/exportd-callbacks"
	if err := cloud.PubSub.TopicAdminClient.DeleteTopic(t.Context(), &pubsubpb.DeleteTopicRequest{Topic: name}); err != nil {
		t.Fatal(err)
	}
	if err := q.Ping(t.Context()); !errors.Is(err, jobs.ErrUnavailable) || !strings.Contains(err.Error(), name) {
		t.Errorf("Ping without a topic = %v", err)
	}
}
