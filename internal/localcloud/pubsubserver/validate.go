package pubsubserver

import (
	"regexp"
	"strings"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
)

// Limits of the real service: https://cloud.google.com/pubsub/quotas#resource_limits and the comments in
// pubsub.proto.
const (
	maxPublishBytes    = 10_000_000
	maxPublishMessages = 1000
	maxAttributes      = 100
	maxAttributeKey    = 256
	maxAttributeValue  = 1024
	maxOrderingKey     = 1024
	maxFilter          = 256
	// maxAckBytes bounds Acknowledge, ModifyAckDeadline and each request of a StreamingPull.
	maxAckBytes = 512 << 10

	minAckDeadline     = 10 * time.Second
	maxAckDeadline     = 600 * time.Second
	minRetention       = 10 * time.Minute
	maxRetention       = 31 * 24 * time.Hour
	defaultRetention   = 7 * 24 * time.Hour
	defaultExpiration  = 31 * 24 * time.Hour
	defaultMinBackoff  = 10 * time.Second
	maxBackoff         = 600 * time.Second
	minDeadLetterTries = 5
	maxDeadLetterTries = 100
)

var (
	projectName      = regexp.MustCompile(`^projects/[^/]+$`)
	topicName        = regexp.MustCompile(`^projects/[^/]+/topics/[A-Za-z][A-Za-z0-9._~+%-]{2,254}$`)
	snapshotName     = regexp.MustCompile(`^projects/[^/]+/snapshots/[A-Za-z][A-Za-z0-9._~+%-]{2,254}$`)
	subscriptionName = regexp.MustCompile(`^projects/[^/]+/subscriptions/[A-Za-z][A-Za-z0-9._~+%-]{2,254}$`)
)

func invalid(format string, args ...any) error {
	return status.Errorf(codes.InvalidArgument, format, args...)
}

func invalidName(name string) error {
	return invalid("Invalid resource name given (name=%s). An id has 3 to 255 characters, of letters, digits and -._~+%%, begins with a letter, and not with goog: https://cloud.google.com/pubsub/docs/pubsub-basics#resource_names", name)
}

func unsupported(what string) error {
	return status.Errorf(codes.Unimplemented, "%s: not supported by %s", what, serverName)
}

func checkName(kind *regexp.Regexp, name string) error {
	// Ids that begin with goog are Google's own:
	// https://cloud.google.com/pubsub/docs/pubsub-basics#resource_names
	id := name[strings.LastIndexByte(name, '/')+1:]
	if !kind.MatchString(name) || kind != projectName && strings.HasPrefix(id, "goog") {
		return invalidName(name)
	}
	return nil
}

// checkAckSize refuses what acknowledges, or extends, too much at once.
func checkAckSize(req proto.Message) error {
	if n := proto.Size(req); n > maxAckBytes {
		return invalid("request of %d bytes is over the limit of %d: send fewer ack ids", n, maxAckBytes)
	}
	return nil
}

func checkTopic(t *pubsubpb.Topic) error {
	if err := checkName(topicName, t.GetName()); err != nil {
		return err
	}
	return served.Check(t, serverName)
}

func checkPublish(req *pubsubpb.PublishRequest) error {
	if err := checkName(topicName, req.GetTopic()); err != nil {
		return err
	}
	msgs := req.GetMessages()
	if len(msgs) == 0 || len(msgs) > maxPublishMessages {
		return invalid("a publish request holds 1 to %d messages, not %d", maxPublishMessages, len(msgs))
	}
	if size := proto.Size(req); size > maxPublishBytes {
		return invalid("publish request of %d bytes is over the limit of %d", size, maxPublishBytes)
	}
	for _, m := range msgs {
		if err := checkMessage(m); err != nil {
			return err
		}
	}
	return nil
}

func checkMessage(m *pubsubpb.PubsubMessage) error {
	if len(m.GetData()) == 0 && len(m.GetAttributes()) == 0 {
		return invalid("a message needs data or at least one attribute")
	}
	if len(m.GetOrderingKey()) > maxOrderingKey {
		return invalid("an ordering key has at most %d bytes, not %d", maxOrderingKey, len(m.GetOrderingKey()))
	}
	if len(m.GetAttributes()) > maxAttributes {
		return invalid("a message holds at most %d attributes, not %d", maxAttributes, len(m.GetAttributes()))
	}
	for k, v := range m.GetAttributes() {
		if k == "" || len(k) > maxAttributeKey || len(v) > maxAttributeValue {
			return invalid("attribute keys have 1 to %d bytes and values at most %d", maxAttributeKey, maxAttributeValue)
		}
	}
	return nil
}

// completeSubscription checks a subscription as a caller wrote it and fills in the service's defaults.
func completeSubscription(sub *pubsubpb.Subscription) error {
	if err := checkName(subscriptionName, sub.GetName()); err != nil {
		return err
	}
	if err := served.Check(sub, serverName); err != nil {
		return err
	}
	if sub.GetAckDeadlineSeconds() == 0 {
		sub.AckDeadlineSeconds = int32(minAckDeadline / time.Second)
	}
	if d := ackDeadline(sub); d < minAckDeadline || d > maxAckDeadline {
		return invalid("ack_deadline_seconds is 10 to 600, not %d", sub.GetAckDeadlineSeconds())
	}
	if sub.GetMessageRetentionDuration() == nil {
		sub.MessageRetentionDuration = durationpb.New(defaultRetention)
	}
	if d := sub.GetMessageRetentionDuration().AsDuration(); d < minRetention || d > maxRetention {
		return invalid("message_retention_duration is 10 minutes to 31 days, not %s", d)
	}
	// Shown as the service shows it; no subscription expires here. A policy without a TTL is "never".
	if sub.GetExpirationPolicy() == nil {
		sub.ExpirationPolicy = &pubsubpb.ExpirationPolicy{Ttl: durationpb.New(defaultExpiration)}
	}
	if ttl := sub.GetExpirationPolicy().GetTtl(); ttl != nil && ttl.AsDuration() != defaultExpiration {
		return unsupported("expiration_policy with a ttl of its own (no subscription expires here; leave it out, or give an empty policy for never)")
	}
	if _, err := parseFilter(sub.GetFilter()); err != nil {
		return err
	}
	if err := checkPushConfig(sub.GetPushConfig()); err != nil {
		return err
	}
	if err := completeRetryPolicy(sub.GetRetryPolicy()); err != nil {
		return err
	}
	return completeDeadLetterPolicy(sub.GetDeadLetterPolicy())
}

func completeRetryPolicy(p *pubsubpb.RetryPolicy) error {
	if p == nil {
		return nil
	}
	if p.GetMinimumBackoff() == nil {
		p.MinimumBackoff = durationpb.New(defaultMinBackoff)
	}
	if p.GetMaximumBackoff() == nil {
		p.MaximumBackoff = durationpb.New(maxBackoff)
	}
	low, high := p.GetMinimumBackoff().AsDuration(), p.GetMaximumBackoff().AsDuration()
	if low < 0 || high > maxBackoff || low > high {
		return invalid("retry_policy needs 0 <= minimum_backoff <= maximum_backoff <= 600s, not %s and %s", low, high)
	}
	return nil
}

func completeDeadLetterPolicy(p *pubsubpb.DeadLetterPolicy) error {
	if p == nil {
		return nil
	}
	if err := checkName(topicName, p.GetDeadLetterTopic()); err != nil {
		return err
	}
	if p.GetMaxDeliveryAttempts() == 0 {
		p.MaxDeliveryAttempts = minDeadLetterTries
	}
	if n := p.GetMaxDeliveryAttempts(); n < minDeadLetterTries || n > maxDeadLetterTries {
		return invalid("max_delivery_attempts is %d to %d, not %d", minDeadLetterTries, maxDeadLetterTries, n)
	}
	return nil
}
