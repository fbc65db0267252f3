package pubsubserver

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"github.com/cockroachdb/pebble/v2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Tests in this file call the server's methods directly, in a bubble where days pass at once.

const (
	deadTopic = "projects/p/topics/dead"
	deadSub   = "projects/p/subscriptions/dead"
)

// engine is a server without a network.
type engine struct {
	t   *testing.T
	s   *Server
	pub *publisher
	sub *subscriber
}

// inBubble runs f on a server with the test topic and a subscription to it.
func inBubble(t *testing.T, change func(*pubsubpb.Subscription), f func(*testing.T, *engine)) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		e := openEngine(t, dir)
		e.topic(testTopic)
		e.topic(deadTopic)
		sub := &pubsubpb.Subscription{Name: testSub, Topic: testTopic}
		if change != nil {
			change(sub)
		}
		e.subscribe(sub)
		f(t, e)
		if err := e.s.Close(); err != nil {
			t.Errorf("Close() = %v", err)
		}
	})
}

func openEngine(t *testing.T, dir string) *engine {
	t.Helper()
	// Days of a bubble's time are a million ticks of the engine's own scheduler.
	s, err := Open(Options{Dir: dir, scheduler: pebble.NewConcurrencyLimitSchedulerWithNoPeriodicGrantingForTest()})
	if err != nil {
		t.Fatalf("Open() = %v", err)
	}
	return &engine{t: t, s: s, pub: &publisher{s: s}, sub: &subscriber{s: s}}
}

func (e *engine) topic(name string) {
	e.t.Helper()
	if _, err := e.pub.CreateTopic(e.t.Context(), &pubsubpb.Topic{Name: name}); err != nil {
		e.t.Fatalf("CreateTopic() = %v", err)
	}
}

func (e *engine) subscribe(sub *pubsubpb.Subscription) {
	e.t.Helper()
	if _, err := e.sub.CreateSubscription(e.t.Context(), sub); err != nil {
		e.t.Fatalf("CreateSubscription() = %v", err)
	}
}

func (e *engine) publish(bodies ...string) {
	e.t.Helper()
	for _, body := range bodies {
		m := &pubsubpb.PubsubMessage{Data: []byte(body)}
		if _, err := e.pub.Publish(e.t.Context(), &pubsubpb.PublishRequest{Topic: testTopic, Messages: []*pubsubpb.PubsubMessage{m}}); err != nil {
			e.t.Fatalf("Publish() = %v", err)
		}
	}
}

// pull returns what there is, waiting 20 s of the bubble's time if there is nothing.
func (e *engine) pull(sub string, n int32) []*pubsubpb.ReceivedMessage {
	e.t.Helper()
	resp, err := e.sub.Pull(e.t.Context(), &pubsubpb.PullRequest{Subscription: sub, MaxMessages: n})
	if err != nil {
		e.t.Fatalf("Pull() = %v", err)
	}
	return resp.GetReceivedMessages()
}

// pullOne waits until d have passed.
func (e *engine) pullOne(d time.Duration) *pubsubpb.ReceivedMessage {
	e.t.Helper()
	for begin := time.Now(); time.Since(begin) <= d; {
		if got := e.pull(testSub, 1); len(got) == 1 {
			return got[0]
		}
	}
	e.t.Fatalf("no message within %s", d)
	return nil
}

// pass lets the bubble's time go on.
func (e *engine) pass(d time.Duration) { <-time.After(d) }

func (e *engine) modify(m *pubsubpb.ReceivedMessage, seconds int32) {
	e.t.Helper()
	_, err := e.sub.ModifyAckDeadline(e.t.Context(), &pubsubpb.ModifyAckDeadlineRequest{
		Subscription: testSub, AckIds: []string{m.GetAckId()}, AckDeadlineSeconds: seconds,
	})
	if err != nil {
		e.t.Fatalf("ModifyAckDeadline() = %v", err)
	}
}

func (e *engine) ack(msgs ...*pubsubpb.ReceivedMessage) {
	e.t.Helper()
	req := &pubsubpb.AcknowledgeRequest{Subscription: testSub}
	for _, m := range msgs {
		req.AckIds = append(req.AckIds, m.GetAckId())
	}
	if _, err := e.sub.Acknowledge(e.t.Context(), req); err != nil {
		e.t.Fatalf("Acknowledge() = %v", err)
	}
}

func bodies(msgs []*pubsubpb.ReceivedMessage) string {
	var out []string
	for _, m := range msgs {
		out = append(out, string(m.GetMessage().GetData()))
	}
	return strings.Join(out, " ")
}

func TestDeliversInPublishOrder(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, e *engine) {
		e.publish("a", "b", "c", "d")
		first := e.pull(testSub, 2)
		if got := bodies(first); got != "a b" {
			t.Errorf("first pull = %q, want %q", got, "a b")
		}
		if got := bodies(e.pull(testSub, 10)); got != "c d" {
			t.Errorf("second pull = %q, want %q", got, "c d")
		}
	})
}

func TestLeaseEnds(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, e *engine) {
		e.publish("a")
		begin := time.Now()
		first := e.pullOne(0)
		second := e.pullOne(time.Minute)
		if got := time.Since(begin); got != 10*time.Second {
			t.Errorf("redelivered after %s, want the ack deadline of 10s", got)
		}
		if first.GetAckId() == second.GetAckId() {
			t.Error("both deliveries have the same ack id")
		}
		// A late extension of the first delivery must not touch the second, a late ack counts.
		e.modify(first, 600)
		third := e.pullOne(time.Minute)
		if got := time.Since(begin); got != 20*time.Second {
			t.Errorf("redelivered again after %s, want 20s", got)
		}
		e.ack(first)
		e.ack(third) // twice is no error
		if got := e.pull(testSub, 1); len(got) != 0 {
			t.Errorf("delivered %q after its ack", bodies(got))
		}
	})
}

func TestLeaseIsExtended(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, e *engine) {
		e.publish("a")
		begin := time.Now()
		m := e.pullOne(0)
		for range 5 {
			e.pass(9 * time.Second)
			e.modify(m, 10)
		}
		e.pullOne(time.Minute)
		if got := time.Since(begin); got != 55*time.Second {
			t.Errorf("redelivered after %s, want 55s", got)
		}
	})
}

func TestNackWithoutPolicyIsImmediate(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, e *engine) {
		e.publish("a")
		begin := time.Now()
		for range 5 {
			e.modify(e.pullOne(0), 0)
		}
		if got := time.Since(begin); got != 0 {
			t.Errorf("five nacks took %s, want no delay", got)
		}
	})
}

func TestRetryPolicyBacksOff(t *testing.T) {
	policy := func(sub *pubsubpb.Subscription) {
		sub.RetryPolicy = &pubsubpb.RetryPolicy{MinimumBackoff: durationpb.New(time.Second), MaximumBackoff: durationpb.New(6 * time.Second)}
	}
	inBubble(t, policy, func(t *testing.T, e *engine) {
		e.publish("a")
		m := e.pullOne(0)
		var waits []string
		for range 5 {
			begin := time.Now()
			e.modify(m, 0)
			m = e.pullOne(time.Minute)
			waits = append(waits, time.Since(begin).String())
		}
		if got, want := strings.Join(waits, " "), "1s 2s 4s 6s 6s"; got != want {
			t.Errorf("redelivered after %s, want %s", got, want)
		}
	})
}

func TestDeadLetter(t *testing.T) {
	policy := func(sub *pubsubpb.Subscription) {
		sub.DeadLetterPolicy = &pubsubpb.DeadLetterPolicy{DeadLetterTopic: deadTopic, MaxDeliveryAttempts: 5}
	}
	inBubble(t, policy, func(t *testing.T, e *engine) {
		e.subscribe(&pubsubpb.Subscription{Name: deadSub, Topic: deadTopic})
		e.publish("a")
		var published time.Time
		for i := range 5 {
			m := e.pullOne(0)
			published = m.GetMessage().GetPublishTime().AsTime()
			if got := m.GetDeliveryAttempt(); got != int32(i+1) {
				t.Errorf("delivery attempt = %d, want %d", got, i+1)
			}
			e.modify(m, 0)
		}
		synctest.Wait()
		dead := e.pull(deadSub, 10)
		if len(dead) != 1 {
			t.Fatalf("%d dead letters, want 1", len(dead))
		}
		want := map[string]string{
			"CloudPubSubDeadLetterSourceDeliveryCount":       "5",
			"CloudPubSubDeadLetterSourceSubscription":        "jobs",
			"CloudPubSubDeadLetterSourceSubscriptionProject": "p",
			"CloudPubSubDeadLetterSourceTopicPublishTime":    published.Format(time.RFC3339Nano),
		}
		for k, v := range want {
			if got := dead[0].GetMessage().GetAttributes()[k]; got != v {
				t.Errorf("attribute %s = %q, want %q", k, got, v)
			}
		}
		if _, err := e.sub.Acknowledge(t.Context(), &pubsubpb.AcknowledgeRequest{Subscription: deadSub, AckIds: []string{dead[0].GetAckId()}}); err != nil {
			t.Fatalf("Acknowledge() = %v", err)
		}
		e.pass(time.Hour)
		if got := append(e.pull(testSub, 10), e.pull(deadSub, 10)...); len(got) != 0 {
			t.Errorf("an hour later %q was delivered, want nothing", bodies(got))
		}
	})
}

func TestDeadLetterWaitsForItsTopic(t *testing.T) {
	policy := func(sub *pubsubpb.Subscription) {
		sub.DeadLetterPolicy = &pubsubpb.DeadLetterPolicy{DeadLetterTopic: deadTopic, MaxDeliveryAttempts: 5}
	}
	inBubble(t, policy, func(t *testing.T, e *engine) {
		if _, err := e.pub.DeleteTopic(t.Context(), &pubsubpb.DeleteTopicRequest{Topic: deadTopic}); err != nil {
			t.Fatalf("DeleteTopic() = %v", err)
		}
		e.publish("a")
		for range 5 {
			e.modify(e.pullOne(0), 0)
		}
		if got := e.pull(testSub, 1); len(got) != 0 {
			t.Errorf("delivered %q beyond its attempts", bodies(got))
		}
		e.pass(forwardRetry / 2) // a try between the next two calls would find a topic without subscriptions, and lose the message
		e.topic(deadTopic)
		e.subscribe(&pubsubpb.Subscription{Name: deadSub, Topic: deadTopic})
		e.pass(forwardRetry)
		if got := bodies(e.pull(deadSub, 10)); got != "a" {
			t.Errorf("dead letters = %q, want %q", got, "a")
		}
	})
}

func TestRetention(t *testing.T) {
	// The default is seven days (TestCompleteSubscription); the storage engine's own timers make them slow to
	// pass.
	short := func(sub *pubsubpb.Subscription) { sub.MessageRetentionDuration = durationpb.New(time.Hour) }
	inBubble(t, short, func(t *testing.T, e *engine) {
		e.publish("a")
		e.pass(time.Hour - time.Minute)
		m := e.pullOne(0)
		if got := string(m.GetMessage().GetData()); got != "a" {
			t.Fatalf("message just before its hour is over = %q, want %q", got, "a")
		}
		e.publish("b")
		e.pass(2 * time.Minute)
		if got := bodies(e.pull(testSub, 10)); got != "b" {
			t.Errorf("after the hour %q was delivered, want only %q", got, "b")
		}
	})
}

func TestSeek(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, e *engine) {
		seek := func(at time.Time) error {
			_, err := e.sub.Seek(t.Context(), &pubsubpb.SeekRequest{Subscription: testSub, Target: &pubsubpb.SeekRequest_Time{Time: timestamppb.New(at)}})
			return err
		}
		begin := time.Now()
		e.pass(time.Second)
		e.publish("old")
		e.pass(time.Second)
		middle := time.Now()
		e.pass(time.Second)
		e.publish("new")
		if err := seek(middle); err != nil {
			t.Errorf("Seek(between the messages) = %v", err)
		}
		got := e.pull(testSub, 10)
		if bodies(got) != "new" {
			t.Errorf("after the seek %q was delivered, want %q", bodies(got), "new")
		}
		e.ack(got...)
		// What is acknowledged is not kept, unless the subscription asks for it.
		if err := seek(begin); err != nil {
			t.Errorf("Seek(before an acknowledged message) = %v", err)
		}
		e.publish("x", "y")
		if got := bodies(e.pull(testSub, 10)); got != "x y" {
			t.Errorf("after seeking back %q was delivered, want what was published since", got)
		}
		if err := seek(time.Now().Add(time.Hour)); err != nil {
			t.Errorf("Seek(future) = %v", err)
		}
		if got := e.pull(testSub, 10); len(got) != 0 {
			t.Errorf("after the purge %q was delivered", bodies(got))
		}
	})
}

func TestUpdateSubscription(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, e *engine) {
		update := func(sub *pubsubpb.Subscription, paths ...string) error {
			_, err := e.sub.UpdateSubscription(t.Context(), &pubsubpb.UpdateSubscriptionRequest{
				Subscription: sub, UpdateMask: &fieldmaskpb.FieldMask{Paths: paths},
			})
			return err
		}
		if err := update(&pubsubpb.Subscription{Name: testSub, AckDeadlineSeconds: 30, Labels: map[string]string{"a": "b"}}, "ack_deadline_seconds"); err != nil {
			t.Fatalf("UpdateSubscription() = %v", err)
		}
		got, err := e.sub.GetSubscription(t.Context(), &pubsubpb.GetSubscriptionRequest{Subscription: testSub})
		if err != nil || got.GetAckDeadlineSeconds() != 30 || len(got.GetLabels()) != 0 || got.GetTopic() != testTopic {
			t.Errorf("GetSubscription() = %v, %v; want only the ack deadline changed to 30", got, err)
		}
		e.publish("a")
		begin := time.Now()
		e.pullOne(0)
		e.pullOne(time.Minute)
		if got := time.Since(begin); got != 30*time.Second {
			t.Errorf("redelivered after %s, want 30s", got)
		}
		for name, c := range map[string]struct {
			err  error
			want codes.Code
		}{
			"no mask":     {update(&pubsubpb.Subscription{Name: testSub}), codes.InvalidArgument},
			"topic":       {update(&pubsubpb.Subscription{Name: testSub}, "topic"), codes.InvalidArgument},
			"bad value":   {update(&pubsubpb.Subscription{Name: testSub, AckDeadlineSeconds: 9}, "ack_deadline_seconds"), codes.InvalidArgument},
			"unsupported": {update(&pubsubpb.Subscription{Name: testSub}, "bigquery_config"), codes.Unimplemented},
			"missing":     {update(&pubsubpb.Subscription{Name: testSub + "x"}, "labels"), codes.NotFound},
		} {
			if got := status.Code(c.err); got != c.want {
				t.Errorf("UpdateSubscription(%s) = %v, want %v", name, got, c.want)
			}
		}
	})
}

func TestPullEndsWithItsContext(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, e *engine) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := e.sub.Pull(ctx, &pubsubpb.PullRequest{Subscription: testSub, MaxMessages: 1})
		if got := status.Code(err); got != codes.DeadlineExceeded {
			t.Errorf("Pull() = %v, want DeadlineExceeded", got)
		}
		e.publish("a")
		e.pullOne(0) // nothing was leased to the call that ended
	})
}

func TestClockSetBackKeepsMessages(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, e *engine) {
		b := e.s.subs[testSub]
		m := &pubsubpb.PubsubMessage{MessageId: "1", Data: []byte("a"), PublishTime: timestamppb.New(time.Now().Add(time.Hour))}
		b.enqueue(newEntry(1, m))
		e.pullOne(0)
	})
}

func TestRestartKeepsDeliveryCounts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		e := openEngine(t, dir)
		e.topic(testTopic)
		e.topic(deadTopic)
		e.subscribe(&pubsubpb.Subscription{Name: testSub, Topic: testTopic, DeadLetterPolicy: &pubsubpb.DeadLetterPolicy{DeadLetterTopic: deadTopic}})
		e.publish("a", "b")
		for _, m := range e.pull(testSub, 2) {
			e.modify(m, 0)
		}
		e.pull(testSub, 2)
		if err := e.s.Close(); err != nil {
			t.Fatalf("Close() = %v", err)
		}
		e = openEngine(t, dir)
		got := e.pull(testSub, 2)
		if bodies(got) != "a b" || got[0].GetDeliveryAttempt() != 2 {
			t.Errorf("after a restart %q, attempt %d; want %q again with the count of the last nack, attempt 2",
				bodies(got), got[0].GetDeliveryAttempt(), "a b")
		}
		if err := e.s.Close(); err != nil {
			t.Errorf("Close() = %v", err)
		}
	})
}

func TestListPages(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, e *engine) {
		var want []string
		for i := range 25 {
			name := fmt.Sprintf("projects/list/topics/topic-%02d", i)
			e.topic(name)
			want = append(want, name)
		}
		var got []string
		req := &pubsubpb.ListTopicsRequest{Project: "projects/list", PageSize: 10}
		for {
			resp, err := e.pub.ListTopics(t.Context(), req)
			if err != nil {
				t.Fatalf("ListTopics() = %v", err)
			}
			for _, topic := range resp.GetTopics() {
				got = append(got, topic.GetName())
			}
			if req.PageToken = resp.GetNextPageToken(); req.PageToken == "" {
				break
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("ListTopics() = %v, want %v", got, want)
		}
		subs, err := e.sub.ListSubscriptions(t.Context(), &pubsubpb.ListSubscriptionsRequest{Project: "projects/p"})
		if err != nil || len(subs.GetSubscriptions()) != 1 {
			t.Errorf("ListSubscriptions() = %v, %v; want one", subs, err)
		}
		ofTopic, err := e.pub.ListTopicSubscriptions(t.Context(), &pubsubpb.ListTopicSubscriptionsRequest{Topic: testTopic})
		if err != nil || !slices.Equal(ofTopic.GetSubscriptions(), []string{testSub}) {
			t.Errorf("ListTopicSubscriptions() = %v, %v; want %s", ofTopic, err, testSub)
		}
	})
}

// A stream that does not read gets messages once; when their leases have ended they go to others.
func TestStuckStreamIsPassedOver(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, e *engine) {
		b := e.s.subs[testSub]
		stuck := newPuller(0, 0, minAckDeadline)
		b.attach(stuck)
		e.publish("a", "b", "c")
		e.pass(minAckDeadline)
		synctest.Wait()
		got := e.pull(testSub, 10)
		if bodies(got) != "a b c" {
			t.Errorf("pulled %q while another stream is stuck, want all three", bodies(got))
		}
		if rest := b.collect(stuck); len(rest) != 0 {
			t.Errorf("the stuck stream would send %q, whose leases have ended", bodies(rest))
		}
		e.ack(got...)
		e.publish("d")
		if rest := b.collect(stuck); bodies(rest) != "d" {
			t.Errorf("once it reads again the stream gets %q, want d", bodies(rest))
		}
		b.detach(stuck)
	})
}
