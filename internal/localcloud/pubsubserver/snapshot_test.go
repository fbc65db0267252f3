package pubsubserver

import (
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"github.com/cockroachdb/pebble/v2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

const testSnapshot = "projects/p/snapshots/before"

func (e *engine) seek(req *pubsubpb.SeekRequest) {
	e.t.Helper()
	if req.GetSubscription() == "" {
		req.Subscription = testSub
	}
	if _, err := e.sub.Seek(e.t.Context(), req); err != nil {
		e.t.Fatalf("Seek(%v) = %v", req, err)
	}
}

func (e *engine) seekTime(at time.Time) {
	e.t.Helper()
	e.seek(&pubsubpb.SeekRequest{Target: &pubsubpb.SeekRequest_Time{Time: timestamppb.New(at)}})
}

func (e *engine) snapshot(name string) *pubsubpb.Snapshot {
	e.t.Helper()
	s, err := e.sub.CreateSnapshot(e.t.Context(), &pubsubpb.CreateSnapshotRequest{Name: name, Subscription: testSub})
	if err != nil {
		e.t.Fatalf("CreateSnapshot() = %v", err)
	}
	return s
}

// With retain_acked_messages what was acknowledged comes again, until it outlives the retention.
func TestSeekBack(t *testing.T) {
	retain := func(s *pubsubpb.Subscription) { s.RetainAckedMessages = true }
	inBubble(t, retain, func(t *testing.T, e *engine) {
		e.publish("a")
		e.pass(time.Second)
		middle := time.Now()
		e.publish("b", "c")
		got := e.pull(testSub, 10)
		e.ack(got[0], got[1]) // a and b; c is with the client
		e.seekTime(middle)
		if got := bodies(e.pull(testSub, 10)); got != "b" {
			t.Errorf("from the middle: %q, want b: c has its lease", got)
		}
		e.seekTime(time.Now().Add(time.Hour)) // all is acknowledged, and kept
		e.seekTime(middle.Add(-time.Hour))
		if got := bodies(e.pull(testSub, 10)); got != "a b c" {
			t.Errorf("from the beginning: %q, want a b c", got)
		}
		e.seekTime(time.Now().Add(time.Hour))
		e.pass(defaultRetention + time.Minute)
		e.seekTime(middle.Add(-time.Hour))
		if got := bodies(e.pull(testSub, 10)); got != "" {
			t.Errorf("after the retention: %q", got)
		}
		e.publish("d")
		e.ack(e.pull(testSub, 10)...)
		_, err := e.sub.UpdateSubscription(t.Context(), &pubsubpb.UpdateSubscriptionRequest{Subscription: &pubsubpb.Subscription{Name: testSub}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"retain_acked_messages"}}})
		if err != nil {
			t.Fatal(err)
		}
		e.seekTime(middle)
		if got := bodies(e.pull(testSub, 10)); got != "" {
			t.Errorf("without retention of acknowledged messages: %q", got)
		}
	})
}

// What a subscription keeps for seeking back goes while it works.
func TestRetainedIsTidied(t *testing.T) {
	inBubble(t, func(s *pubsubpb.Subscription) { s.RetainAckedMessages = true }, func(t *testing.T, e *engine) {
		kept := func() (n int) {
			b, err := e.s.view(testSub)
			if err != nil {
				t.Fatal(err)
			}
			if err := e.s.store.messages(retainedPrefix, b.uid, func(*entry) { n++ }); err != nil {
				t.Fatal(err)
			}
			return n
		}
		e.publish("old")
		e.ack(e.pull(testSub, 1)...)
		e.pass(defaultRetention + time.Hour)
		for range tidyEvery - 1 {
			e.publish("new")
			e.ack(e.pull(testSub, 1)...)
		}
		if n := kept(); n != tidyEvery-1 {
			t.Errorf("%d messages are kept, want the %d new ones", n, tidyEvery-1)
		}
	})
}

func TestSnapshots(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, e *engine) {
		e.subscribe(&pubsubpb.Subscription{Name: "projects/p/subscriptions/later", Topic: testTopic})
		e.publish("acknowledged", "waiting")
		e.ack(e.pull(testSub, 1)...)
		s := e.snapshot(testSnapshot)
		if s.GetTopic() != testTopic || time.Until(s.GetExpireTime().AsTime()) > snapshotLife {
			t.Errorf("snapshot %v", s)
		}
		e.publish("since")
		e.ack(e.pull(testSub, 10)...)
		e.seek(&pubsubpb.SeekRequest{Target: &pubsubpb.SeekRequest_Snapshot{Snapshot: testSnapshot}})
		if got := bodies(e.pull(testSub, 10)); got != "waiting since" {
			t.Errorf("after the seek: %q, want what was waiting, and what came since", got)
		}
		// Another subscription of the topic loses what the snapshot does not hold.
		e.seek(&pubsubpb.SeekRequest{Subscription: "projects/p/subscriptions/later", Target: &pubsubpb.SeekRequest_Snapshot{Snapshot: testSnapshot}})
		if got := bodies(e.pull("projects/p/subscriptions/later", 10)); got != "waiting since" {
			t.Errorf("another subscription: %q", got)
		}
		e.snapshot("") // a name is given to it
		list, err := e.sub.ListSnapshots(t.Context(), &pubsubpb.ListSnapshotsRequest{Project: "projects/p"})
		names, errOf := e.pub.ListTopicSnapshots(t.Context(), &pubsubpb.ListTopicSnapshotsRequest{Topic: testTopic})
		if err != nil || errOf != nil || len(list.GetSnapshots()) != 2 || len(names.GetSnapshots()) != 2 {
			t.Errorf("lists %v, %v, %v, %v", list, err, names, errOf)
		}
		if _, err := e.sub.DeleteSnapshot(t.Context(), &pubsubpb.DeleteSnapshotRequest{Snapshot: testSnapshot}); err != nil {
			t.Error(err)
		}
		for want, name := range map[codes.Code]string{codes.NotFound: testSnapshot, codes.InvalidArgument: "projects/p/snapshots/1"} {
			_, err := e.sub.GetSnapshot(t.Context(), &pubsubpb.GetSnapshotRequest{Snapshot: name})
			if want == codes.InvalidArgument {
				_, err = e.sub.CreateSnapshot(t.Context(), &pubsubpb.CreateSnapshotRequest{Name: name, Subscription: testSub})
			}
			if status.Code(err) != want {
				t.Errorf("%s: %v, want %v", name, err, want)
			}
		}
	})
}

func TestSnapshotsExpire(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, e *engine) {
		e.publish("a")
		uid := e.s.snaps[e.snapshot(testSnapshot).GetName()].uid
		e.pass(snapshotLife - 30*time.Minute)
		if _, err := e.sub.CreateSnapshot(t.Context(), &pubsubpb.CreateSnapshotRequest{Name: testSnapshot + "2", Subscription: testSub}); status.Code(err) != codes.FailedPrecondition {
			t.Errorf("a snapshot of a message that is nearly 7 days old: %v", err)
		}
		e.pass(time.Hour)
		if _, err := e.sub.Seek(t.Context(), &pubsubpb.SeekRequest{Subscription: testSub, Target: &pubsubpb.SeekRequest_Snapshot{Snapshot: testSnapshot}}); status.Code(err) != codes.NotFound {
			t.Errorf("seek to what has expired: %v", err)
		}
		e.publish("b") // which drops it
		n := 0
		if err := e.s.store.messages(snapshotPrefix, uid, func(*entry) { n++ }); err != nil || n != 0 || len(e.s.snaps) != 0 {
			t.Errorf("%d messages and %d snapshots are left, %v", n, len(e.s.snaps), err)
		}
	})
}

// A snapshot, what has come since, and what is kept survive a restart.
func TestSeekAfterRestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	e := openEngine(t, dir)
	e.topic(testTopic)
	e.subscribe(&pubsubpb.Subscription{Name: testSub, Topic: testTopic, RetainAckedMessages: true})
	begin := time.Now().Add(-time.Minute)
	e.publish("a", "b")
	e.snapshot(testSnapshot)
	e.publish("c")
	e.ack(e.pull(testSub, 10)...)
	if err := e.s.Close(); err != nil {
		t.Fatal(err)
	}
	e = openEngine(t, dir)
	defer func() {
		if err := e.s.Close(); err != nil {
			t.Error(err)
		}
	}()
	e.seek(&pubsubpb.SeekRequest{Target: &pubsubpb.SeekRequest_Snapshot{Snapshot: testSnapshot}})
	got := e.pull(testSub, 10)
	if bodies(got) != "a b c" {
		t.Errorf("to the snapshot: %q", bodies(got))
	}
	e.ack(got...)
	e.seekTime(begin)
	if got := bodies(e.pull(testSub, 10)); got != "a b c" {
		t.Errorf("back in time: %q", got)
	}
}

// TestFailedAcknowledge: what could not be taken off the disk is acknowledged by the same id again, or comes
// again when its lease ends.
func TestFailedAcknowledge(t *testing.T) {
	ordered := func(s *pubsubpb.Subscription) {
		s.RetainAckedMessages, s.EnableMessageOrdering, s.AckDeadlineSeconds = true, true, 30
	}
	inBubble(t, ordered, func(t *testing.T, e *engine) {
		b, err := e.s.view(testSub)
		if err != nil {
			t.Fatal(err)
		}
		// A damaged record among those that are kept: a look through them fails, and with it the write.
		damaged := keyOf(retainedPrefix, b.uid, 1)
		fails := func() {
			t.Helper()
			if err := e.s.store.db.Set(damaged, nil, pebble.NoSync); err != nil {
				t.Fatal(err)
			}
			b.tidied = tidyEvery - 1
		}
		ack := func(m *pubsubpb.ReceivedMessage) error {
			_, err := e.sub.Acknowledge(t.Context(), &pubsubpb.AcknowledgeRequest{Subscription: testSub, AckIds: []string{m.GetAckId()}})
			return err
		}
		for _, body := range []string{"first", "second"} {
			m := &pubsubpb.PubsubMessage{Data: []byte(body), OrderingKey: "k"}
			if _, err := e.pub.Publish(t.Context(), &pubsubpb.PublishRequest{Topic: testTopic, Messages: []*pubsubpb.PubsubMessage{m}}); err != nil {
				t.Fatal(err)
			}
		}
		begin := time.Now()
		first := e.pullOne(time.Second)
		fails()
		if err := ack(first); status.Code(err) != codes.Internal {
			t.Fatalf("Acknowledge() = %v, want Internal", err)
		}
		first = e.pullOne(time.Minute)
		if body, after := string(first.GetMessage().GetData()), time.Since(begin); body != "first" || after < 30*time.Second {
			t.Errorf("%s came after %s, want the first when its lease has ended", body, after)
		}
		fails()
		if err := ack(first); status.Code(err) != codes.Internal {
			t.Fatalf("Acknowledge() = %v, want Internal", err)
		}
		if err := e.s.store.db.Delete(damaged, pebble.NoSync); err != nil {
			t.Fatal(err)
		}
		if err := ack(first); err != nil {
			t.Fatal(err)
		}
		second := e.pullOne(time.Minute)
		if body := string(second.GetMessage().GetData()); body != "second" {
			t.Errorf("%s came after the first was acknowledged", body)
		}
		if err := ack(second); err != nil {
			t.Fatal(err)
		}
		if got := bodies(e.pull(testSub, 10)); got != "" || len(b.all) != 0 || b.bytes != 0 {
			t.Errorf("%q is left, %d messages of %d bytes are counted", got, len(b.all), b.bytes)
		}
	})
}
