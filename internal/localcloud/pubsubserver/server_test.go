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
	"google.golang.org/grpc/credentials/insecure"
)

const (
	testTopic = "projects/p/topics/jobs"
	testSub   = "projects/p/subscriptions/jobs"
)

// running is a server on loopback with the official client connected to it.
type running struct {
	*Server
	client *pubsub.Client
	addr   string
	stop   func() // ends the server only; safe to call twice
}

func start(t *testing.T, o Options) *running {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	return startOn(t, o, "127.0.0.1:0")
}

func startOn(t *testing.T, o Options, addr string) *running {
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

func connect(t *testing.T, addr string) *pubsub.Client {
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

// create makes the test topic and a subscription on it, with changes.
func (r *running) create(t *testing.T, change func(*pubsubpb.Subscription)) {
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
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var mu sync.Mutex
	var got []*pubsub.Message
	err := r.client.Subscriber(testSub).Receive(ctx, func(_ context.Context, m *pubsub.Message) {
		m.Ack()
		mu.Lock()
		defer mu.Unlock()
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
