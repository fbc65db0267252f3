package pubsubserver

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/grpc"
)

// pulling is a StreamingPull call on an engine, without a network.
type pulling struct {
	grpc.ServerStream
	t        *testing.T
	ctx      context.Context
	requests chan *pubsubpb.StreamingPullRequest
	messages chan *pubsubpb.ReceivedMessage
	ended    chan error
}

// Context implements grpc.ServerStream.
func (p *pulling) Context() context.Context { return p.ctx }

// Recv implements pubsubpb.Subscriber_StreamingPullServer.
func (p *pulling) Recv() (*pubsubpb.StreamingPullRequest, error) {
	req, ok := <-p.requests
	if !ok {
		return nil, io.EOF
	}
	return req, served.Check(req, serverName) // as on a connection
}

// Send implements pubsubpb.Subscriber_StreamingPullServer.
func (p *pulling) Send(resp *pubsubpb.StreamingPullResponse) error {
	for _, m := range resp.GetReceivedMessages() {
		select {
		case p.messages <- m:
		default:
			return errors.New("more messages than the test waits for")
		}
	}
	return nil
}

// ask sends a request, unless the stream has ended.
func (p *pulling) ask(req *pubsubpb.StreamingPullRequest) {
	p.t.Helper()
	select {
	case p.requests <- req:
	case err := <-p.ended:
		p.t.Fatalf("StreamingPull() = %v", err)
	}
}

// stream begins a StreamingPull of a subscription with a lease; end it.
func (e *engine) stream(name string, seconds int32) *pulling {
	p := &pulling{
		t: e.t, ctx: e.t.Context(), requests: make(chan *pubsubpb.StreamingPullRequest),
		messages: make(chan *pubsubpb.ReceivedMessage, 100), ended: make(chan error, 1),
	}
	go func() { p.ended <- e.sub.StreamingPull(p) }()
	p.ask(&pubsubpb.StreamingPullRequest{Subscription: name, StreamAckDeadlineSeconds: seconds})
	return p
}

func (p *pulling) end() {
	p.t.Helper()
	close(p.requests)
	if err := <-p.ended; err != nil {
		p.t.Errorf("StreamingPull() = %v", err)
	}
}

// after returns the next message, which must come after d of the bubble's time.
func (p *pulling) after(d time.Duration) *pubsubpb.ReceivedMessage {
	p.t.Helper()
	begin := time.Now()
	select {
	case m := <-p.messages:
		if took := time.Since(begin); took != d {
			p.t.Errorf("a message after %s, want it after %s", took, d)
		}
		return m
	case <-time.After(time.Hour):
		p.t.Fatalf("no message within an hour, want one after %s", d)
		return nil
	}
}

// TestStreamSubscription: a stream has what is published to its subscription alone.
func TestStreamSubscription(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, e *engine) {
		e.subscribe(&pubsubpb.Subscription{Name: deadSub, Topic: deadTopic})
		one, other := e.stream(testSub, 10), e.stream(deadSub, 10)
		e.publish("a")
		one.after(0)
		one.end()
		other.end()
		if n := len(other.messages); n != 0 {
			t.Errorf("a stream of another subscription has %d messages", n)
		}
	})
}

// TestStreamAckDeadline: messages come again when the stream's own deadline is over, the one in force when
// they were sent.
func TestStreamAckDeadline(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, e *engine) {
		p := e.stream(testSub, 33)
		e.publish("a")
		p.after(0)
		p.after(33 * time.Second)
		p.ask(&pubsubpb.StreamingPullRequest{StreamAckDeadlineSeconds: 44})
		p.after(33 * time.Second)
		p.after(44 * time.Second)
		p.end()
	})
}

// TestStreamRequests: a stream's request ends and extends leases, one by one, and acknowledges for good.
func TestStreamRequests(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, e *engine) {
		p := e.stream(testSub, 10)
		e.publish("a")
		a := p.after(0)
		p.ask(&pubsubpb.StreamingPullRequest{ModifyDeadlineAckIds: []string{a.GetAckId()}, ModifyDeadlineSeconds: []int32{0}})
		a = p.after(0)
		e.publish("b")
		b := p.after(0)
		p.ask(&pubsubpb.StreamingPullRequest{ModifyDeadlineAckIds: []string{a.GetAckId(), b.GetAckId()}, ModifyDeadlineSeconds: []int32{50, 20}})
		if b = p.after(20 * time.Second); string(b.GetMessage().GetData()) != "b" {
			t.Errorf("%q came first, whose lease was extended by more", b.GetMessage().GetData())
		}
		p.ask(&pubsubpb.StreamingPullRequest{AckIds: []string{b.GetAckId()}})
		if a = p.after(30 * time.Second); string(a.GetMessage().GetData()) != "a" {
			t.Errorf("%q came again, which was acknowledged", a.GetMessage().GetData())
		}
		p.ask(&pubsubpb.StreamingPullRequest{AckIds: []string{a.GetAckId()}})
		e.pass(time.Hour)
		p.end()
		if n := len(p.messages); n != 0 {
			t.Errorf("%d messages after all were acknowledged", n)
		}
	})
}
