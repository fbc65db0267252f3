package pubsubserver

import (
	"context"
	"errors"
	"io"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
)

// pullWait bounds a unary Pull that finds nothing; it then answers empty, as the real service may.
const pullWait = 20 * time.Second

// maxPull bounds the messages of one unary Pull, as the real service does.
const maxPull = 1000

func (u *subscriber) Pull(ctx context.Context, req *pubsubpb.PullRequest) (*pubsubpb.PullResponse, error) {
	b, err := u.s.attached(req.GetSubscription())
	if err != nil {
		return nil, err
	}
	if req.GetMaxMessages() <= 0 {
		return nil, invalid("max_messages must be positive")
	}
	lease := ackDeadline(b.subscription())
	p := newPuller(int64(min(req.GetMaxMessages(), maxPull)), 0, lease)
	turned, err := b.attach(p)
	if err != nil {
		return nil, err
	}
	defer b.detach(p)
	wait := pullWait
	//lint:ignore SA1019 deprecated in the API, still sent by clients
	if req.GetReturnImmediately() {
		wait = 0
	}
	timeout := time.NewTimer(wait)
	defer timeout.Stop()
	for {
		if got := b.collect(p); len(got) > 0 {
			return &pubsubpb.PullResponse{ReceivedMessages: got}, nil
		}
		select {
		case <-p.ready:
		case <-timeout.C:
			return &pubsubpb.PullResponse{}, nil
		case <-ctx.Done():
			return nil, status.FromContextError(ctx.Err()).Err()
		case <-b.gone:
			return nil, b.closeReason()
		case <-turned:
			return nil, errPushed
		}
	}
}

func (u *subscriber) Acknowledge(_ context.Context, req *pubsubpb.AcknowledgeRequest) (*emptypb.Empty, error) {
	b, err := u.s.attached(req.GetSubscription())
	if err != nil {
		return nil, err
	}
	if err := checkAckSize(req); err != nil {
		return nil, err
	}
	if len(req.GetAckIds()) == 0 {
		return nil, invalid("no ack ids are given")
	}
	ids, err := parseAckIDs(req.GetAckIds())
	if err != nil {
		return nil, err
	}
	if err := b.acknowledge(ids); err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, nil
}

func (u *subscriber) ModifyAckDeadline(_ context.Context, req *pubsubpb.ModifyAckDeadlineRequest) (*emptypb.Empty, error) {
	b, err := u.s.attached(req.GetSubscription())
	if err != nil {
		return nil, err
	}
	if err := checkAckSize(req); err != nil {
		return nil, err
	}
	ids, err := parseAckIDs(req.GetAckIds())
	if err != nil {
		return nil, err
	}
	d, err := leaseDuration(req.GetAckDeadlineSeconds())
	if err != nil {
		return nil, err
	}
	b.modifyDeadline(ids, d)
	return &emptypb.Empty{}, nil
}

func leaseDuration(seconds int32) (time.Duration, error) {
	d := time.Duration(seconds) * time.Second
	if d < 0 || d > maxAckDeadline {
		return 0, invalid("an ack deadline is 0 to 600 s, not %d", seconds)
	}
	return d, nil
}

// pullStream is one StreamingPull call.
type pullStream struct {
	stream pubsubpb.Subscriber_StreamingPullServer
	b      *backlog
	p      *puller
	pings  chan struct{} // holds a token when the client waits for a sign of life
}

// StreamingPull sends messages as the client's flow control allows. One goroutine reads acks, deadlines and
// pings, the other sends, so a client that does not read can never keep its own acknowledgements from being
// heard.
func (u *subscriber) StreamingPull(stream pubsubpb.Subscriber_StreamingPullServer) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	b, err := u.s.attached(first.GetSubscription())
	if err != nil {
		return err
	}
	lease, err := streamLease(first.GetStreamAckDeadlineSeconds())
	if err != nil {
		return err
	}
	p := newPuller(first.GetMaxOutstandingMessages(), first.GetMaxOutstandingBytes(), lease)
	p.stream = true
	ps := &pullStream{stream: stream, b: b, p: p, pings: make(chan struct{}, 1)}
	if err := ps.apply(first); err != nil {
		return err
	}
	turned, err := b.attach(p)
	if err != nil {
		return err
	}
	defer b.detach(p)
	received := make(chan error, 1)
	// It ends with the call, because gRPC fails Recv once the handler has returned, but maybe a little later:
	// Close waits for it.
	u.s.workers.Go(func() { received <- ps.receive() })
	return ps.send(received, turned)
}

func (ps *pullStream) send(received <-chan error, turned <-chan struct{}) error {
	for {
		resp := &pubsubpb.StreamingPullResponse{}
		select {
		case <-ps.p.ready:
			resp.ReceivedMessages = ps.b.collect(ps.p)
			if len(resp.ReceivedMessages) == 0 {
				continue
			}
		case <-ps.pings:
		case err := <-received:
			return err
		case <-ps.b.gone:
			return ps.b.closeReason()
		case <-turned:
			return errPushed
		}
		if err := ps.stream.Send(resp); err != nil {
			return err
		}
	}
}

// receive returns nil when the client has closed its side: it wants no more messages.
func (ps *pullStream) receive() error {
	for {
		req, err := ps.stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := checkAckSize(req); err != nil {
			return err
		}
		if req.GetSubscription() != "" || req.GetMaxOutstandingMessages() != 0 || req.GetMaxOutstandingBytes() != 0 {
			return invalid("subscription and flow control can only be set on the first request of a stream")
		}
		if req.GetStreamAckDeadlineSeconds() != 0 {
			lease, err := streamLease(req.GetStreamAckDeadlineSeconds())
			if err != nil {
				return err
			}
			ps.b.setLease(ps.p, lease)
		}
		if err := ps.apply(req); err != nil {
			return err
		}
		// The client takes a stream for dead if a request goes unanswered for 15 s. One token is enough for
		// any number.
		select {
		case ps.pings <- struct{}{}:
		default:
		}
	}
}

// apply does the acks and deadline changes of a request.
func (ps *pullStream) apply(req *pubsubpb.StreamingPullRequest) error {
	if len(req.GetModifyDeadlineAckIds()) != len(req.GetModifyDeadlineSeconds()) {
		return invalid("modify_deadline_ack_ids and modify_deadline_seconds differ in length")
	}
	modify, err := parseAckIDs(req.GetModifyDeadlineAckIds())
	if err != nil {
		return err
	}
	acks, err := parseAckIDs(req.GetAckIds())
	if err != nil {
		return err
	}
	for i, id := range modify {
		d, err := leaseDuration(req.GetModifyDeadlineSeconds()[i])
		if err != nil {
			return err
		}
		ps.b.modifyDeadline([]ackID{id}, d)
	}
	if len(acks) == 0 {
		return nil
	}
	return ps.b.acknowledge(acks)
}

func streamLease(seconds int32) (time.Duration, error) {
	d := time.Duration(seconds) * time.Second
	if d < minAckDeadline || d > maxAckDeadline {
		return 0, invalid("stream_ack_deadline_seconds is 10 to 600, not %d", seconds)
	}
	return d, nil
}
