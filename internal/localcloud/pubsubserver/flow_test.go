package pubsubserver

import (
	"bytes"
	"cmp"
	"context"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// rawStream opens a StreamingPull without the official client's own flow control.
func (r *running) rawStream(t *testing.T, first *pubsubpb.StreamingPullRequest) pubsubpb.Subscriber_StreamingPullClient {
	t.Helper()
	stream, err := pubsubpb.NewSubscriberClient(dial(t, r.addr)).StreamingPull(t.Context())
	if err != nil {
		t.Fatalf("StreamingPull() = %v", err)
	}
	first.Subscription = testSub
	first.StreamAckDeadlineSeconds = cmp.Or(first.StreamAckDeadlineSeconds, 60)
	if err := stream.Send(first); err != nil {
		t.Fatalf("Send() = %v", err)
	}
	return stream
}

// inbox collects what a stream receives.
type inbox struct {
	messages chan *pubsubpb.ReceivedMessage
	pongs    chan struct{}
	err      chan error
}

func collectFrom(stream pubsubpb.Subscriber_StreamingPullClient) *inbox {
	in := &inbox{make(chan *pubsubpb.ReceivedMessage, 10_000), make(chan struct{}, 100), make(chan error, 1)}
	go func() {
		for {
			resp, err := stream.Recv()
			if err != nil {
				in.err <- err
				return
			}
			if len(resp.GetReceivedMessages()) == 0 {
				in.pongs <- struct{}{}
			}
			for _, m := range resp.GetReceivedMessages() {
				in.messages <- m
			}
		}
	}()
	return in
}

func next[T any](t *testing.T, from <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(time.Minute): // of a loaded machine
		t.Fatalf("no %s within a minute", what)
		panic("unreachable")
	}
}

func TestFlowControlIsExact(t *testing.T) {
	t.Parallel()
	r := start(t, Options{})
	r.create(t, nil)
	stuck := collectFrom(r.rawStream(t, &pubsubpb.StreamingPullRequest{MaxOutstandingMessages: 1}))
	r.publish(t, 1)
	next(t, stuck.messages, "message for the slow stream")
	quick := r.rawStream(t, &pubsubpb.StreamingPullRequest{MaxOutstandingMessages: 3})
	other := collectFrom(quick)
	r.publish(t, 100)
	seen := map[string]bool{}
	for range 100 {
		m := next(t, other.messages, "message for the idle stream")
		if extra := len(other.messages); extra > 2 {
			t.Fatalf("%d messages outstanding, want at most 3", extra+1)
		}
		seen[m.GetMessage().GetMessageId()] = true
		if err := quick.Send(&pubsubpb.StreamingPullRequest{AckIds: []string{m.GetAckId()}}); err != nil {
			t.Fatalf("Send(ack) = %v", err)
		}
	}
	if len(seen) != 100 {
		t.Errorf("the idle stream got %d different messages, want 100", len(seen))
	}
	if n := len(stuck.messages); n != 0 {
		t.Errorf("the stream with one message outstanding got %d more", n)
	}
}

func TestFlowControlByBytes(t *testing.T) {
	t.Parallel()
	r := start(t, Options{})
	r.create(t, nil)
	p := r.publisher()
	defer p.Stop()
	for range 5 {
		if _, err := p.Publish(t.Context(), &pubsub.Message{Data: bytes.Repeat([]byte("x"), 1000)}).Get(t.Context()); err != nil {
			t.Fatalf("Publish() = %v", err)
		}
	}
	stream := r.rawStream(t, &pubsubpb.StreamingPullRequest{MaxOutstandingBytes: 1500})
	in := collectFrom(stream)
	first := next(t, in.messages, "first message")
	next(t, in.messages, "second message, which reaches the limit")
	// The answer to a ping comes after anything the server would have sent before it.
	if err := stream.Send(&pubsubpb.StreamingPullRequest{}); err != nil {
		t.Fatalf("Send(ping) = %v", err)
	}
	next(t, in.pongs, "answer to the ping")
	if n := len(in.messages); n != 0 {
		t.Fatalf("%d messages beyond the byte limit", n)
	}
	if err := stream.Send(&pubsubpb.StreamingPullRequest{AckIds: []string{first.GetAckId()}}); err != nil {
		t.Fatalf("Send(ack) = %v", err)
	}
	next(t, in.messages, "message after an ack")
}

func TestStreamsShareFairly(t *testing.T) {
	t.Parallel()
	r := start(t, Options{})
	r.create(t, nil)
	a := collectFrom(r.rawStream(t, &pubsubpb.StreamingPullRequest{}))
	b := collectFrom(r.rawStream(t, &pubsubpb.StreamingPullRequest{}))
	c := collectFrom(r.rawStream(t, &pubsubpb.StreamingPullRequest{}))
	r.publish(t, 1) // the streams are attached when each has had a message
	for want := 1; len(a.messages) == 0 || len(b.messages) == 0 || len(c.messages) == 0; want++ {
		r.publish(t, 1)
		if want > 1000 {
			t.Fatal("a stream gets nothing")
		}
	}
	for _, in := range []*inbox{a, b, c} {
		for len(in.messages) > 0 {
			<-in.messages
		}
	}
	r.publish(t, 300)
	for name, in := range map[string]*inbox{"a": a, "b": b, "c": c} {
		for i := range 98 { // what was on its way while the channels were emptied may shift the turns a little
			if next(t, in.messages, "message "+strconv.Itoa(i)+" of stream "+name) == nil {
				t.Fatal("nil message")
			}
		}
	}
}

func TestEndedStreamGivesBackWhatWasNotConfirmed(t *testing.T) {
	t.Parallel()
	r := start(t, Options{})
	r.create(t, nil)
	r.publish(t, 20)
	stream := r.rawStream(t, &pubsubpb.StreamingPullRequest{MaxOutstandingMessages: 20, StreamAckDeadlineSeconds: 600})
	in := collectFrom(stream)
	confirm := &pubsubpb.StreamingPullRequest{}
	for i := range 20 {
		if m := next(t, in.messages, "message"); i < 5 {
			confirm.ModifyDeadlineAckIds = append(confirm.ModifyDeadlineAckIds, m.GetAckId())
			confirm.ModifyDeadlineSeconds = append(confirm.ModifyDeadlineSeconds, 600)
		}
	}
	if err := stream.Send(confirm); err != nil {
		t.Fatalf("Send(modack) = %v", err)
	}
	next(t, in.pongs, "answer to the request")
	if err := stream.CloseSend(); err != nil {
		t.Fatalf("CloseSend() = %v", err)
	}
	r.receive(t, 15) // those that were not confirmed, of a lease of 10 minutes
}

func TestStreamErrors(t *testing.T) {
	t.Parallel()
	r := start(t, Options{})
	r.create(t, nil)
	for name, req := range map[string]*pubsubpb.StreamingPullRequest{
		"flow control later":  {MaxOutstandingMessages: 1},
		"subscription later":  {Subscription: testSub},
		"bad ack id":          {AckIds: []string{"nonsense"}},
		"lists differ":        {ModifyDeadlineAckIds: []string{"1.1.1"}},
		"bad deadline":        {ModifyDeadlineAckIds: []string{"1.1.1"}, ModifyDeadlineSeconds: []int32{601}},
		"bad stream deadline": {StreamAckDeadlineSeconds: 9},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			stream := r.rawStream(t, &pubsubpb.StreamingPullRequest{})
			if err := stream.Send(req); err != nil {
				t.Fatalf("Send() = %v", err)
			}
			if got := status.Code(next(t, collectFrom(stream).err, "error")); got != codes.InvalidArgument {
				t.Errorf("stream ended with %v, want InvalidArgument", got)
			}
		})
	}
}

func TestDeletedSubscriptionEndsStreams(t *testing.T) {
	t.Parallel()
	r := start(t, Options{})
	r.create(t, nil)
	stream := r.rawStream(t, &pubsubpb.StreamingPullRequest{})
	in := collectFrom(stream)
	if err := stream.Send(&pubsubpb.StreamingPullRequest{}); err != nil {
		t.Fatalf("Send(ping) = %v", err)
	}
	next(t, in.pongs, "answer to the ping")
	if err := r.client.SubscriptionAdminClient.DeleteSubscription(t.Context(), &pubsubpb.DeleteSubscriptionRequest{Subscription: testSub}); err != nil {
		t.Fatalf("DeleteSubscription() = %v", err)
	}
	if got := status.Code(next(t, in.err, "end of stream")); got != codes.NotFound {
		t.Errorf("stream ended with %v, want NotFound", got)
	}
}

// The official client with a handler slower than the messages come: nothing may hang (a known fake did),
// nothing may run twice.
func TestSlowHandlersDoNotBlockPublishers(t *testing.T) {
	t.Parallel()
	// The client sends its acks every 100 ms, so it takes 10 messages a second for each slot.
	const total, slots = 1000, 100
	r := start(t, Options{})
	r.create(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	var inHand, most, handled atomic.Int64
	release := make(chan struct{})
	sub := r.client.Subscriber(testSub)
	sub.ReceiveSettings.MaxOutstandingMessages, sub.ReceiveSettings.MinDurationPerAckExtension = slots, leaseFor
	var done sync.WaitGroup
	done.Go(func() {
		err := sub.Receive(ctx, func(_ context.Context, m *pubsub.Message) {
			now := inHand.Add(1)
			for old := most.Load(); now > old && !most.CompareAndSwap(old, now); old = most.Load() {
			}
			<-release
			inHand.Add(-1)
			handled.Add(1)
			m.Ack()
		})
		if err != nil {
			t.Errorf("Receive() = %v", err)
		}
	})
	p := r.publisher()
	var results []*pubsub.PublishResult
	for range total {
		results = append(results, p.Publish(t.Context(), &pubsub.Message{Data: bytes.Repeat([]byte("x"), 1000)}))
	}
	for _, res := range results {
		if _, err := res.Get(t.Context()); err != nil {
			t.Fatalf("Publish() = %v", err)
		}
	}
	p.Stop()
	close(release)
	until(t, "all messages are handled", func() bool { return handled.Load() >= total })
	cancel()
	done.Wait()
	if got := handled.Load(); got != total {
		t.Errorf("handled %d messages, want %d once each", got, total)
	}
	if got := most.Load(); got > slots {
		t.Errorf("%d handlers at a time, want at most %d", got, slots)
	}
}

// until polls a condition that no event announces.
func until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("waited 30s until %s", what)
		}
	}
}
