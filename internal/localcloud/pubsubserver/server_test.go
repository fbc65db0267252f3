package pubsubserver

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

const (
	testTopic = "projects/p/topics/jobs"
	testSub   = "projects/p/subscriptions/jobs"
	// leaseFor is longer than any machine takes to acknowledge: nothing comes again for that.
	leaseFor = 10 * time.Minute
)

// running is a server on loopback with the official client connected to it.
type running struct {
	*Server
	client *pubsub.Client
	addr   string
	stop   func() // ends the server only; safe to call twice
}

func start(t testing.TB, o Options) *running {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	return startOn(t, o, "127.0.0.1:0")
}

func startOn(t testing.TB, o Options, addr string) *running {
	t.Helper()
	s, err := Open(o)
	if err != nil {
		t.Fatalf("Open() = %v", err)
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatalf("listen: %v", err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	r := &running{Server: s, addr: l.Addr().String()}
	r.stop = sync.OnceFunc(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close() = %v", err)
		}
		if err := <-served; err != nil {
			t.Errorf("Serve() = %v", err)
		}
	})
	t.Cleanup(r.stop)
	r.client = connect(t, r.addr)
	return r
}

func connect(t testing.TB, addr string) *pubsub.Client {
	t.Helper()
	c, err := pubsub.NewClient(t.Context(), "p",
		option.WithEndpoint(addr), option.WithoutAuthentication(), option.WithTelemetryDisabled(),
		option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())))
	if err != nil {
		t.Fatalf("pubsub.NewClient() = %v", err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// dial opens a connection without the official client.
func dial(t testing.TB, addr string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatalf("grpc.NewClient() = %v", err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// create makes the test topic and a subscription on it, with changes.
func (r *running) create(t testing.TB, change func(*pubsubpb.Subscription)) {
	t.Helper()
	if _, err := r.client.TopicAdminClient.CreateTopic(t.Context(), &pubsubpb.Topic{Name: testTopic}); err != nil {
		t.Fatalf("CreateTopic() = %v", err)
	}
	sub := &pubsubpb.Subscription{Name: testSub, Topic: testTopic}
	if change != nil {
		change(sub)
	}
	if _, err := r.client.SubscriptionAdminClient.CreateSubscription(t.Context(), sub); err != nil {
		t.Fatalf("CreateSubscription() = %v", err)
	}
}

// publish sends n messages "0", "1", ... one after the other.
func (r *running) publish(t *testing.T, n int) {
	t.Helper()
	p := r.publisher()
	defer p.Stop()
	for i := range n {
		if _, err := p.Publish(t.Context(), &pubsub.Message{Data: fmt.Append(nil, i)}).Get(t.Context()); err != nil {
			t.Fatalf("Publish() = %v", err)
		}
	}
}

func (r *running) publisher() *pubsub.Publisher {
	p := r.client.Publisher(testTopic)
	p.PublishSettings.DelayThreshold = time.Millisecond
	return p
}

// receive collects n messages with the official subscriber and acknowledges them.
func (r *running) receive(t *testing.T, n int) []*pubsub.Message {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // of a loaded machine
	defer cancel()
	var mu sync.Mutex
	var got []*pubsub.Message
	sub := r.client.Subscriber(testSub)
	sub.ReceiveSettings.MinDurationPerAckExtension = leaseFor
	err := sub.Receive(ctx, func(_ context.Context, m *pubsub.Message) {
		mu.Lock()
		defer mu.Unlock()
		if len(got) == n {
			m.Nack()
			return
		}
		m.Ack()
		if got = append(got, m); len(got) == n {
			cancel()
		}
	})
	if err != nil {
		t.Fatalf("Receive() = %v", err)
	}
	if len(got) != n {
		t.Fatalf("received %d messages, want %d", len(got), n)
	}
	return got
}

func TestPublishAndReceive(t *testing.T) {
	t.Parallel()
	r := start(t, Options{})
	r.create(t, nil)
	r.publish(t, 10)
	seen := map[string]bool{}
	for _, m := range r.receive(t, 10) {
		if m.ID == "" || m.PublishTime.IsZero() || m.DeliveryAttempt != nil {
			t.Errorf("message = %+v, want an id, a publish time and no delivery attempt", m)
		}
		seen[string(m.Data)] = true
	}
	if len(seen) != 10 {
		t.Errorf("received %d different messages, want 10", len(seen))
	}
}

func TestMessagesSurviveRestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := start(t, Options{Dir: dir})
	r.create(t, nil)
	r.publish(t, 50)
	r.receive(t, 20)
	r.stop()
	again := startOn(t, Options{Dir: dir}, r.addr)
	again.publish(t, 10)
	ids := map[string]bool{}
	for _, m := range again.receive(t, 40) {
		ids[m.ID] = true
	}
	if len(ids) != 40 {
		t.Errorf("%d different messages after the restart, want 40", len(ids))
	}
}

func TestReceiveGoesOnAfterRestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := start(t, Options{Dir: dir})
	r.create(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	got := make(chan string, 10)
	ended := make(chan error, 1)
	go func() {
		ended <- r.client.Subscriber(testSub).Receive(ctx, func(_ context.Context, m *pubsub.Message) {
			m.Ack()
			got <- string(m.Data)
		})
	}()
	r.publish(t, 1)
	next(t, got, "message before the restart")
	r.stop()
	again := startOn(t, Options{Dir: dir}, r.addr)
	again.publish(t, 1)
	next(t, got, "message after the restart")
	cancel()
	if err := next(t, ended, "end of Receive"); err != nil {
		t.Errorf("Receive() = %v, want nil: the outage is no error", err)
	}
}

func TestCloseEndsStreamsWithUnavailable(t *testing.T) {
	t.Parallel()
	r := start(t, Options{})
	r.create(t, nil)
	stream := r.rawStream(t, &pubsubpb.StreamingPullRequest{})
	in := collectFrom(stream)
	if err := stream.Send(&pubsubpb.StreamingPullRequest{}); err != nil {
		t.Fatalf("Send(ping) = %v", err)
	}
	next(t, in.pongs, "answer to the ping")
	r.stop()
	if got := status.Convert(next(t, in.err, "end of stream")); got.Code() != codes.Unavailable || got.Message() != status.Convert(errClosing).Message() {
		t.Errorf("stream ended with %v, want %v: it was cut", got, errClosing)
	}
}

func TestFullBacklogRefusesAndKeeps(t *testing.T) {
	t.Parallel()
	r := start(t, Options{Limits: Limits{Messages: 10}})
	r.create(t, nil)
	r.publish(t, 10)
	req := &pubsubpb.PublishRequest{Topic: testTopic, Messages: []*pubsubpb.PubsubMessage{{Data: []byte("one too many")}}}
	if _, err := (&publisher{s: r.Server}).Publish(t.Context(), req); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("Publish() to a full backlog = %v, want ResourceExhausted", err)
	}
	r.receive(t, 10)
	until(t, "acks have made room", func() bool {
		_, err := (&publisher{s: r.Server}).Publish(t.Context(), req)
		return err == nil
	})
}

func TestTopicWithoutSubscriptionDrops(t *testing.T) {
	t.Parallel()
	r := start(t, Options{Limits: Limits{Messages: 1}})
	if _, err := r.client.TopicAdminClient.CreateTopic(t.Context(), &pubsubpb.Topic{Name: testTopic}); err != nil {
		t.Fatalf("CreateTopic() = %v", err)
	}
	r.publish(t, 5)
	if _, err := r.client.SubscriptionAdminClient.CreateSubscription(t.Context(), &pubsubpb.Subscription{Name: testSub, Topic: testTopic}); err != nil {
		t.Fatalf("CreateSubscription() = %v", err)
	}
	r.publish(t, 1)
	r.receive(t, 1)
}

func TestMessageSizes(t *testing.T) {
	t.Parallel()
	r := start(t, Options{})
	r.create(t, nil)
	p := r.publisher()
	defer p.Stop()
	if _, err := p.Publish(t.Context(), &pubsub.Message{Data: make([]byte, 9<<20)}).Get(t.Context()); err != nil {
		t.Fatalf("Publish(9 MiB) = %v", err)
	}
	if got := r.receive(t, 1); len(got[0].Data) != 9<<20 {
		t.Errorf("received %d bytes, want 9 MiB", len(got[0].Data))
	}
	_, err := r.client.TopicAdminClient.Publish(t.Context(), &pubsubpb.PublishRequest{
		Topic: testTopic, Messages: []*pubsubpb.PubsubMessage{{Data: make([]byte, 10_000_000)}},
	})
	if got := status.Code(err); got != codes.InvalidArgument {
		t.Errorf("Publish(over 10 MB) = %v, want InvalidArgument", got)
	}
}

func TestDeleteTopicKeepsSubscription(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := start(t, Options{Dir: dir})
	r.create(t, nil)
	r.publish(t, 1)
	if err := r.client.TopicAdminClient.DeleteTopic(t.Context(), &pubsubpb.DeleteTopicRequest{Topic: testTopic}); err != nil {
		t.Fatalf("DeleteTopic() = %v", err)
	}
	r.stop()
	again := startOn(t, Options{Dir: dir}, "127.0.0.1:0")
	sub, err := again.client.SubscriptionAdminClient.GetSubscription(t.Context(), &pubsubpb.GetSubscriptionRequest{Subscription: testSub})
	if err != nil || sub.GetTopic() != "_deleted-topic_" {
		t.Errorf("GetSubscription() = %v, %v; want the topic _deleted-topic_", sub, err)
	}
	again.receive(t, 1)
}

func TestInterceptorsAndPanics(t *testing.T) {
	t.Parallel()
	r := start(t, Options{UnaryInterceptors: []grpc.UnaryServerInterceptor{
		func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			if _, ok := req.(*pubsubpb.GetTopicRequest); ok {
				panic("on purpose")
			}
			return next(ctx, req)
		},
	}})
	r.create(t, nil)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err := r.client.TopicAdminClient.GetTopic(ctx, &pubsubpb.GetTopicRequest{Topic: testTopic})
	if got := status.Code(err); got != codes.Internal {
		t.Errorf("GetTopic() with a panic = %v, want Internal", got)
	}
	r.publish(t, 1)
	r.receive(t, 1)
}
