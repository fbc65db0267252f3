package fault

import (
	"context"
	"time"

	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/grpc"
)

// lostMessageID is the id answered for a published message that was dropped on purpose.
const lostMessageID = "0"

// Unary returns the interceptor for unary calls.
func (in *Injector) Unary() grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		c := in.begin(shortName(info.FullMethod))
		if c.rule == nil {
			return c.answer(ctx, req, next)
		}
		if c.roll(c.DelayRate) {
			if err := pause(ctx, c.delay()); err != nil {
				return nil, err
			}
		}
		if c.roll(c.ErrorRate) {
			return nil, c.err("call refused")
		}
		resp, err := c.faulty(ctx, req, next)
		if err == nil && c.roll(c.LostRate) {
			return nil, c.err("answer lost")
		}
		return resp, err
	}
}

func (c *call) answer(ctx context.Context, req any, next grpc.UnaryHandler) (any, error) {
	resp, err := next(ctx, req)
	if err == nil {
		c.counter.accepted(req, resp)
	}
	return resp, err
}

// faulty drops and doubles the messages of Publish and Pull, and passes other calls on.
func (c *call) faulty(ctx context.Context, req any, next grpc.UnaryHandler) (any, error) {
	if pub, ok := req.(*pubsubpb.PublishRequest); ok {
		return c.publish(ctx, pub, next)
	}
	resp, err := c.answer(ctx, req, next)
	if pull, ok := resp.(*pubsubpb.PullResponse); ok && err == nil {
		pull.ReceivedMessages = c.muddle(pull.ReceivedMessages)
	}
	return resp, err
}

func (c *call) publish(ctx context.Context, req *pubsubpb.PublishRequest, next grpc.UnaryHandler) (any, error) {
	var sent []*pubsubpb.PubsubMessage
	place := make([]int, len(req.GetMessages())) // where each message is in sent, or -1
	for i, m := range req.GetMessages() {
		place[i] = -1
		drop, double := c.roll(c.DropRate), c.roll(c.DoubleRate)
		if drop {
			continue
		}
		place[i] = len(sent)
		sent = append(sent, m)
		if double {
			sent = append(sent, &pubsubpb.PubsubMessage{Data: m.GetData(), Attributes: m.GetAttributes(), OrderingKey: m.GetOrderingKey()})
		}
	}
	ids := make([]string, len(place))
	var got *pubsubpb.PublishResponse
	if len(sent) > 0 {
		resp, err := c.answer(ctx, &pubsubpb.PublishRequest{Topic: req.GetTopic(), Messages: sent}, next)
		if err != nil {
			return nil, err
		}
		got, _ = resp.(*pubsubpb.PublishResponse)
	}
	for i, at := range place {
		ids[i] = lostMessageID
		if at >= 0 && at < len(got.GetMessageIds()) {
			ids[i] = got.GetMessageIds()[at]
		}
	}
	return &pubsubpb.PublishResponse{MessageIds: ids}, nil
}

// muddle drops and doubles deliveries.
func (c *call) muddle(in []*pubsubpb.ReceivedMessage) []*pubsubpb.ReceivedMessage {
	out := make([]*pubsubpb.ReceivedMessage, 0, len(in))
	for _, m := range in {
		drop, double := c.roll(c.DropRate), c.roll(c.DoubleRate)
		switch {
		case drop:
		case double:
			out = append(out, m, m)
		default:
			out = append(out, m)
		}
	}
	return out
}

// Stream returns the interceptor for streaming calls.
func (in *Injector) Stream() grpc.StreamServerInterceptor {
	return func(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
		c := in.begin(shortName(info.FullMethod))
		s := &stream{ServerStream: ss, call: c}
		if c.rule == nil {
			return next(srv, s)
		}
		if c.roll(c.ErrorRate) {
			return c.err("call refused")
		}
		s.cut = c.roll(c.CutRate)
		err := next(srv, s)
		switch {
		case s.broken:
			return c.err("stream broken")
		case err == nil && c.roll(c.LostRate):
			return c.err("end of stream lost")
		}
		return err
	}
}

// stream passes messages on, slower, fewer or twice. SendMsg is called by one goroutine at a time.
type stream struct {
	grpc.ServerStream
	*call
	sent   int
	cut    bool
	broken bool
	owed   time.Duration // what the rows that were sent since the last wait take at the rate
	next   time.Time     // when the next row may be sent
}

// minSleep is the shortest wait of the rate limit: shorter ones are saved up, because a timer and a packet
// per row would cost more than the row. It is half the round trip that goes with such rates.
const minSleep = 10 * time.Millisecond

func (s *stream) SendMsg(m any) error {
	if w, ok := m.(*firestorepb.WriteResponse); ok {
		s.counter.written.Add(int64(len(w.GetWriteResults()))) // also when the answer is lost
	}
	if s.rule == nil {
		s.counter.answered(m)
		return s.ServerStream.SendMsg(m)
	}
	if s.cut && s.sent >= s.CutAfter {
		s.broken = true
		return s.err("stream broken")
	}
	if s.sent == 0 {
		if err := pause(s.Context(), s.latency()); err != nil {
			return err
		}
	}
	s.sent++
	if s.roll(s.DelayRate) {
		if err := pause(s.Context(), s.delay()); err != nil {
			return err
		}
	}
	if pull, ok := m.(*pubsubpb.StreamingPullResponse); ok && len(pull.GetReceivedMessages()) > 0 {
		if pull.ReceivedMessages = s.muddle(pull.GetReceivedMessages()); len(pull.ReceivedMessages) == 0 {
			return nil
		}
	}
	rows := s.counter.answered(m)
	if err := s.shape(rows); err != nil {
		return err
	}
	return s.ServerStream.SendMsg(m)
}

// shape waits so that rows more documents stay within the rate of the rule. What was not sent in time is not
// made up for.
func (s *stream) shape(rows int) error {
	if s.RowsPerSecond == 0 {
		return nil
	}
	s.owed += time.Duration(float64(rows) / s.RowsPerSecond * float64(time.Second))
	if s.owed < minSleep {
		return nil
	}
	now := time.Now()
	if s.next.Before(now) {
		s.next = now
	}
	s.next, s.owed = s.next.Add(s.owed), 0
	return pause(s.Context(), s.next.Sub(now))
}
