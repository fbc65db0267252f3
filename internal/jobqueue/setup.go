package jobqueue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"cloud.google.com/go/iam/apiv1/iampb"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"exportd/internal/panics"
	"exportd/jobs"
)

// AllQueues are all topics, and each has a subscription of the same name: what workers take from, and the
// messages that no code could handle.
var AllQueues = append([]jobs.Queue{jobs.QueueDead}, jobs.Queues...)

const (
	// ackDeadline: claims take milliseconds; a worker that dies before its claim costs this long.
	ackDeadline = 20 * time.Second
	// retention of messages is Pub/Sub's default.
	retention = 7 * 24 * time.Hour

	// deletedTopic is what a subscription names when its topic has been deleted. It stays so when there is a
	// topic of the old name again, and no message ever reaches it.
	deletedTopic = "_deleted-topic_"
)

// want is the subscription of a queue as it should be.
func (q *Queue) want(queue jobs.Queue) *pubsubpb.Subscription {
	return &pubsubpb.Subscription{
		Name: q.subscription(queue), Topic: q.topic(queue),
		AckDeadlineSeconds:       int32(ackDeadline / time.Second),
		MessageRetentionDuration: durationpb.New(retention),
		// By default a subscription that nobody pulled for 31 days is deleted.
		ExpirationPolicy: &pubsubpb.ExpirationPolicy{},
	}
}

// deviation is what is wrong with a subscription.
type deviation struct {
	text string
	// field of the update that mends it, "" where only a new subscription does.
	field string
}

// deviations compares a subscription with what it should be.
func (q *Queue) deviations(queue jobs.Queue, have *pubsubpb.Subscription) (out []deviation) {
	add := func(bad bool, field, format string, args ...any) {
		if bad {
			out = append(out, deviation{fmt.Sprintf(format, args...), field})
		}
	}
	want := q.want(queue)
	add(have.GetTopic() == deletedTopic, "", "is bound to a topic that was deleted, and no message reaches it")
	add(have.GetTopic() != deletedTopic && have.GetTopic() != want.GetTopic(), "", "is bound to %s", have.GetTopic())
	add(have.GetDetached(), "", "is detached from its topic")
	add(have.GetFilter() != "", "", "lets only messages through that match %q", have.GetFilter())
	add(have.GetEnableMessageOrdering(), "", "orders messages")
	add(have.GetBigqueryConfig() != nil || have.GetCloudStorageConfig() != nil, "", "writes messages elsewhere")
	add(have.GetPushConfig().GetPushEndpoint() != "", "push_config", "pushes messages to %s", have.GetPushConfig().GetPushEndpoint())
	add(have.GetAckDeadlineSeconds() != want.GetAckDeadlineSeconds(), "ack_deadline_seconds", "has an ack deadline of %d s, not %d", have.GetAckDeadlineSeconds(), want.GetAckDeadlineSeconds())
	add(have.GetMessageRetentionDuration().AsDuration() != retention, "message_retention_duration", "keeps messages for %s, not %s", have.GetMessageRetentionDuration().AsDuration(), retention)
	// A policy without a TTL is "never"; none at all is the default of 31 days.
	add(have.GetExpirationPolicy() == nil || have.GetExpirationPolicy().GetTtl().AsDuration() != 0, "expiration_policy", "is deleted when nobody pulls for %s", have.GetExpirationPolicy().GetTtl().AsDuration())
	add(have.GetDeadLetterPolicy() != nil, "dead_letter_policy", "gives messages to %s after %d deliveries", have.GetDeadLetterPolicy().GetDeadLetterTopic(), have.GetDeadLetterPolicy().GetMaxDeliveryAttempts())
	add(have.GetRetryPolicy() != nil, "retry_policy", "delays messages that were handed back")
	add(have.GetEnableExactlyOnceDelivery(), "enable_exactly_once_delivery", "delivers exactly once, which is slow and not needed")
	return out
}

func texts(ds []deviation) string {
	out := make([]string, len(ds))
	for i, d := range ds {
		out[i] = d.text
	}
	return strings.Join(out, "; ")
}

// Ensure is Mend for those who need no report.
func (q *Queue) Ensure(ctx context.Context) error {
	_, err := q.Mend(ctx)
	return err
}

// Mend makes the topics and subscriptions that are missing, and mends those that are not as they should be.
// It returns what it changed, and may be called again at any time: what a subscription loses that has to be
// made anew are messages, which the rescuer publishes again.
func (q *Queue) Mend(ctx context.Context) (changed []string, err error) {
	for _, queue := range AllQueues {
		_, err := q.client.TopicAdminClient.CreateTopic(ctx, &pubsubpb.Topic{Name: q.topic(queue)})
		switch status.Code(err) {
		case codes.OK:
			changed = append(changed, "made topic "+q.topic(queue))
		case codes.AlreadyExists:
		default:
			return changed, fmt.Errorf("create topic %s: %w", q.topic(queue), classify(err))
		}
		done, err := q.mendSubscription(ctx, queue)
		changed = append(changed, done...)
		if err != nil {
			return changed, err
		}
	}
	return changed, nil
}

func (q *Queue) mendSubscription(ctx context.Context, queue jobs.Queue) (changed []string, err error) {
	name, admin := q.subscription(queue), q.client.SubscriptionAdminClient
	_, err = admin.CreateSubscription(ctx, q.want(queue))
	if err == nil {
		return []string{"made subscription " + name}, nil
	}
	if status.Code(err) != codes.AlreadyExists {
		return nil, fmt.Errorf("create subscription %s: %w", name, classify(err))
	}
	have, err := admin.GetSubscription(ctx, &pubsubpb.GetSubscriptionRequest{Subscription: name})
	if err != nil {
		return nil, fmt.Errorf("get subscription %s: %w", name, classify(err))
	}
	wrong := q.deviations(queue, have)
	if len(wrong) == 0 {
		return nil, nil
	}
	if slices.ContainsFunc(wrong, func(d deviation) bool { return d.field == "" }) {
		if err := admin.DeleteSubscription(ctx, &pubsubpb.DeleteSubscriptionRequest{Subscription: name}); err != nil && status.Code(err) != codes.NotFound {
			return nil, fmt.Errorf("delete subscription %s, which %s: %w", name, texts(wrong), classify(err))
		}
		if _, err := admin.CreateSubscription(ctx, q.want(queue)); err != nil && status.Code(err) != codes.AlreadyExists { // another setup was faster
			return nil, fmt.Errorf("create subscription %s: %w", name, classify(err))
		}
		return []string{"made subscription " + name + " anew: it " + past(wrong)}, nil
	}
	mask := &fieldmaskpb.FieldMask{}
	for _, d := range wrong {
		mask.Paths = append(mask.Paths, d.field)
	}
	if _, err := admin.UpdateSubscription(ctx, &pubsubpb.UpdateSubscriptionRequest{Subscription: q.want(queue), UpdateMask: mask}); err != nil {
		return nil, fmt.Errorf("update subscription %s, which %s: %w", name, texts(wrong), classify(err))
	}
	return []string{"changed subscription " + name + ": it " + past(wrong)}, nil
}

// past turns what a subscription does into what it did, for the report of a change.
func past(ds []deviation) string {
	text := texts(ds)
	for _, word := range [][2]string{{"is ", "was "}, {"has ", "had "}, {"keeps ", "kept "}, {"lets ", "let "}, {"gives ", "gave "}, {"pushes ", "pushed "}, {"writes ", "wrote "}, {"delays ", "delayed "}, {"orders ", "ordered "}, {"delivers ", "delivered "}} {
		if rest, ok := strings.CutPrefix(text, word[0]); ok {
			text = word[1] + rest
		}
		text = strings.ReplaceAll(text, "; "+word[0], "; "+word[1])
	}
	return text
}

// CheckTopic finds out whether messages of a queue can be published: the topic is there and may be published
// to. The question itself needs no permission, so that it can be put by whoever may publish and no more.
func (q *Queue) CheckTopic(ctx context.Context, queue jobs.Queue) error {
	const publish = "pubsub.topics.publish"
	res, err := q.client.TopicAdminClient.TestIamPermissions(ctx, &iampb.TestIamPermissionsRequest{Resource: q.topic(queue), Permissions: []string{publish}})
	if status.Code(err) == codes.Unimplemented && q.cfg.Emulator != "" { // Google's emulator has no permissions
		_, err = q.client.TopicAdminClient.GetTopic(ctx, &pubsubpb.GetTopicRequest{Topic: q.topic(queue)})
		res = &iampb.TestIamPermissionsResponse{Permissions: []string{publish}}
	}
	switch {
	case err != nil:
		return fmt.Errorf("ask about topic %s: %w", q.topic(queue), classify(err))
	case !slices.Contains(res.GetPermissions(), publish):
		return jobs.Unavailable("topic %s is missing, or %s is not granted on it", q.topic(queue), publish)
	}
	return nil
}

// InspectTopic finds out whether a topic is there, for whoever may not publish. It needs pubsub.topics.get.
func (q *Queue) InspectTopic(ctx context.Context, queue jobs.Queue) error {
	_, err := q.client.TopicAdminClient.GetTopic(ctx, &pubsubpb.GetTopicRequest{Topic: q.topic(queue)})
	switch {
	case status.Code(err) == codes.NotFound:
		return jobs.Unavailable("topic %s is missing", q.topic(queue))
	case err != nil:
		return fmt.Errorf("get topic %s: %w", q.topic(queue), classify(err))
	}
	return nil
}

// CheckSubscription finds out whether the messages of a queue reach workers: the subscription is there, bound
// to its topic, and has its settings. It needs pubsub.subscriptions.get.
func (q *Queue) CheckSubscription(ctx context.Context, queue jobs.Queue) error {
	name := q.subscription(queue)
	have, err := q.client.SubscriptionAdminClient.GetSubscription(ctx, &pubsubpb.GetSubscriptionRequest{Subscription: name})
	switch {
	case status.Code(err) == codes.NotFound:
		return jobs.Unavailable("subscription %s is missing", name)
	case err != nil:
		return fmt.Errorf("get subscription %s: %w", name, classify(err))
	}
	if wrong := q.deviations(queue, have); len(wrong) > 0 {
		return jobs.Unavailable("subscription %s %s", name, texts(wrong))
	}
	return nil
}

// Ping is CheckTopic of all queues, for whoever publishes.
func (q *Queue) Ping(ctx context.Context) error { return all(ctx, AllQueues, q.CheckTopic) }

// PingSubscriptions is CheckSubscription of the queues that workers take from.
func (q *Queue) PingSubscriptions(ctx context.Context) error {
	return all(ctx, jobs.Queues, q.CheckSubscription)
}

// all makes a check of each queue side by side.
func all(ctx context.Context, queues []jobs.Queue, check func(context.Context, jobs.Queue) error) error {
	errs := make([]error, len(queues))
	var g errgroup.Group
	for i, queue := range queues {
		g.Go(func() error { errs[i] = panics.Do(func() error { return check(ctx, queue) }); return nil })
	}
	_ = g.Wait()
	return errors.Join(errs...)
}
