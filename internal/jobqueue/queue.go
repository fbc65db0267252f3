// Package jobqueue sends and takes messages over Pub/Sub.
//
// A topic and a pull subscription per queue, named exportd-exports, exportd-parts and so on, and a topic for
// messages that no code could handle. Workers pull, not stream: a unary Pull asks for exactly as many
// messages as there are free slots, so a busy worker never sits on messages that an idle one could answer. A
// message is acknowledged as soon as its claim is committed; redelivery, ordering and dead-letter policies of
// Pub/Sub are not relied upon.
package jobqueue

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"cloud.google.com/go/pubsub/v2"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"exportd/internal/connection"
	"exportd/internal/tracing"
	"exportd/jobs"
)

// Config says which Pub/Sub and under what names.
type Config struct {
	ProjectID string
	// Emulator is the host:port of a Pub/Sub server without TLS and authentication; "" is Google's, with
	// application default credentials.
	Emulator string
	// Prefix begins the names of topics and subscriptions; "exportd-" if empty.
	Prefix string
	// Guard watches over the connections; a new one if nil.
	Guard *connection.Guard
	// PullFor bounds one Pull that finds nothing, and ProbeFor the question that then tells whether anybody
	// is there. 60 s and 5 s if 0.
	PullFor, ProbeFor time.Duration
}

// publishTimeout bounds one publish. The client would retry for a minute; the rescuer notifies what could not
// be published, so a request need not wait for that.
const publishTimeout = 5 * time.Second

const (
	pullTimeout  = 60 * time.Second
	probeTimeout = 5 * time.Second
)

// Queue publishes and pulls messages. Safe for concurrent use.
type Queue struct {
	cfg        Config
	client     *pubsub.Client
	publishers map[jobs.Queue]*pubsub.Publisher
}

// Open connects. It does not fail when Pub/Sub is unreachable; Ping tells.
func Open(ctx context.Context, cfg Config) (*Queue, error) {
	if cfg.Prefix == "" {
		cfg.Prefix = "exportd-"
	}
	if cfg.Guard == nil {
		cfg.Guard = &connection.Guard{}
	}
	cfg.PullFor, cfg.ProbeFor = cmp.Or(cfg.PullFor, pullTimeout), cmp.Or(cfg.ProbeFor, probeTimeout)
	opts := cfg.Guard.ClientOptions()
	// One connection each for topics and subscriptions: what a Pull learns holds for the next. A worker has a
	// Pull for each queue, and short calls beside.
	opts = append(opts, option.WithGRPCConnectionPool(1), option.WithGRPCDialOption(grpc.WithChainUnaryInterceptor(wholeAnswers)))
	if cfg.Emulator != "" {
		opts = append(opts, connection.EmulatorOptions(cfg.Emulator)...)
	}
	client, err := pubsub.NewClient(ctx, cfg.ProjectID, opts...)
	if err != nil {
		return nil, fmt.Errorf("open Pub/Sub project %s: %w", cfg.ProjectID, err)
	}
	q := &Queue{cfg: cfg, client: client, publishers: map[jobs.Queue]*pubsub.Publisher{}}
	for _, queue := range AllQueues {
		p := client.Publisher(q.topic(queue))
		// Messages are rare: waiting 10 ms, the default, to fill a batch only makes them late.
		p.PublishSettings.DelayThreshold = time.Millisecond
		p.PublishSettings.Timeout = publishTimeout
		q.publishers[queue] = p
	}
	return q, nil
}

// Close flushes what is being published and ends the connection.
func (q *Queue) Close() error {
	for _, p := range q.publishers {
		p.Stop()
	}
	return q.client.Close()
}

func (q *Queue) topic(queue jobs.Queue) string {
	return "projects/" + q.cfg.ProjectID + "/topics/" + q.cfg.Prefix + string(queue)
}

func (q *Queue) subscription(queue jobs.Queue) string {
	return "projects/" + q.cfg.ProjectID + "/subscriptions/" + q.cfg.Prefix + string(queue)
}

// Publish sends a message. An error means that it may not have been sent; the document's wakeAt covers that.
func (q *Queue) Publish(ctx context.Context, queue jobs.Queue, m jobs.Message) error {
	return q.publish(ctx, queue, &pubsub.Message{Data: m.Encode(), Attributes: traced(ctx)})
}

// traced are the attributes by which whoever is notified finds the trace of who notified; none without one.
func traced(ctx context.Context) map[string]string {
	if t := tracing.Traceparent(ctx); t != "" {
		return map[string]string{tracing.Header: t}
	}
	return nil
}

func (q *Queue) publish(ctx context.Context, queue jobs.Queue, m *pubsub.Message) error {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	if _, err := q.publishers[queue].Publish(ctx, m).Get(ctx); err != nil {
		return fmt.Errorf("publish to %s: %w", q.topic(queue), classify(err))
	}
	return nil
}

// Pull waits for messages of a queue and gives at most limit. It gives none and no error when none came for a
// while, but an error when nobody answers either that there are none.
func (q *Queue) Pull(ctx context.Context, queue jobs.Queue, limit int) ([]jobs.PulledMessage, error) {
	pull, cancel := context.WithTimeout(connection.LongPoll(ctx), q.cfg.PullFor)
	defer cancel()
	res, err := q.client.SubscriptionAdminClient.Pull(pull, &pubsubpb.PullRequest{Subscription: q.subscription(queue), MaxMessages: int32(limit)})
	if err != nil {
		if ctx.Err() == nil && (errors.Is(err, context.DeadlineExceeded) || status.Code(err) == codes.DeadlineExceeded) {
			return nil, q.answers(ctx, queue)
		}
		return nil, fmt.Errorf("pull from %s: %w", q.subscription(queue), classify(err))
	}
	out := make([]jobs.PulledMessage, len(res.GetReceivedMessages()))
	for i, m := range res.GetReceivedMessages() {
		out[i] = jobs.PulledMessage{Data: m.GetMessage().GetData(), Receipt: m.GetAckId(), Trace: m.GetMessage().GetAttributes()[tracing.Header]}
		if at := m.GetMessage().GetPublishTime(); at.IsValid() {
			out[i].Published = at.AsTime()
		}
	}
	if len(out) > limit {
		// A server that doubles messages on the way may send more than was asked for, and the caller has room
		// for no more: the surplus goes back.
		for _, d := range out[limit:] {
			_ = q.Nack(ctx, queue, d, 0) // else it comes back when its deadline lapses
		}
		out = out[:limit]
	}
	return out, nil
}

// answers asks what costs nothing, to tell a Pull that found nothing from one that nobody heard. Any answer
// will do: to acknowledge nothing is refused.
func (q *Queue) answers(ctx context.Context, queue jobs.Queue) error {
	ctx, cancel := context.WithTimeout(ctx, q.cfg.ProbeFor)
	defer cancel()
	err := q.client.SubscriptionAdminClient.Acknowledge(ctx, &pubsubpb.AcknowledgeRequest{Subscription: q.subscription(queue)})
	switch status.Code(err) {
	case codes.DeadlineExceeded, codes.Unavailable, codes.Canceled:
	default:
		if !errors.Is(err, context.DeadlineExceeded) {
			return nil
		}
	}
	return fmt.Errorf("pull from %s: no answer for %s: %w", q.subscription(queue), q.cfg.PullFor, classify(err))
}

// Ack takes a message off the queue. An error means that it may come again, which claims bear.
func (q *Queue) Ack(ctx context.Context, queue jobs.Queue, d jobs.PulledMessage) error {
	return classify(q.client.SubscriptionAdminClient.Acknowledge(ctx, &pubsubpb.AcknowledgeRequest{
		Subscription: q.subscription(queue), AckIds: []string{d.Receipt},
	}))
}

// Nack gives a message back, to be delivered again after a pause.
func (q *Queue) Nack(ctx context.Context, queue jobs.Queue, d jobs.PulledMessage, after time.Duration) error {
	return classify(q.client.SubscriptionAdminClient.ModifyAckDeadline(ctx, &pubsubpb.ModifyAckDeadlineRequest{
		Subscription: q.subscription(queue), AckIds: []string{d.Receipt}, AckDeadlineSeconds: int32(after / time.Second),
	}))
}

// Bury publishes a message that no code can handle to the dead-letter topic, with where it came from and why,
// and takes it off its queue.
func (q *Queue) Bury(ctx context.Context, queue jobs.Queue, d jobs.PulledMessage, reason string) error {
	err := q.publish(ctx, jobs.QueueDead, &pubsub.Message{Data: d.Data, Attributes: map[string]string{"lane": string(queue), "reason": reason}})
	if err != nil {
		return err
	}
	return q.Ack(ctx, queue, d)
}

func classify(err error) error {
	if errors.Is(err, context.DeadlineExceeded) { // of the context, not of an answer
		return fmt.Errorf("%w: %w", jobs.ErrUnavailable, err)
	}
	switch status.Code(err) {
	case codes.NotFound:
		return fmt.Errorf("%w (run exportd setup?): %w", jobs.ErrUnavailable, err)
	case codes.Unavailable, codes.DeadlineExceeded, codes.ResourceExhausted, codes.Internal, codes.Aborted, codes.DataLoss:
		return fmt.Errorf("%w: %w", jobs.ErrUnavailable, err)
	}
	return err
}
