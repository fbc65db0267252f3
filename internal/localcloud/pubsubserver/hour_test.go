package pubsubserver

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
)

func TestFilterLanguage(t *testing.T) {
	t.Parallel()
	messages := map[string]map[string]string{"none": {}, "a1": {"a": "1"}, "a2": {"a": "2"}, "b": {"b-c": "x\"y"}, "ab": {"a": "12", "b": ""}}
	for text, want := range map[string]string{
		"":                                  "a1 a2 ab b none",
		"attributes:a":                      "a1 a2 ab",
		`attributes.a = "1"`:                "a1",
		`attributes.a="1"`:                  "a1",
		`attributes.a != "1"`:               "a2 ab b none",
		`NOT attributes:a`:                  "b none",
		`-attributes:a`:                     "b none",
		`hasPrefix(attributes.a, "1")`:      "a1 ab",
		`hasPrefix(attributes.b, "")`:       "ab",
		`attributes:a AND NOT attributes:b`: "a1 a2",
		`attributes.a = "1" OR attributes.a = "2"`:              "a1 a2",
		`attributes:a AND (attributes:b OR attributes.a = "2")`: "a2 ab",
		`attributes:"b-c"`:          "b",
		`attributes:b-c`:            "b",
		`attributes."b-c" = "x\"y"`: "b",
	} {
		f, err := parseFilter(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		var got []string
		for name, attributes := range messages {
			if f.match(attributes) {
				got = append(got, name)
			}
		}
		if slices.Sort(got); strings.Join(got, " ") != want {
			t.Errorf("%s: %v, want %s", text, got, want)
		}
	}
	for _, text := range []string{
		"attributes", "attributes.a", `attributes.a = 1`, `attributes.a = "1`, `a = "1"`, "attributes:a attributes:b", "attributes:a AND", "(attributes:a", "attributes:a)",
		"attributes:a AND attributes:b OR attributes:c", `hasPrefix(attributes.a)`, `attributes:a ANDattributes:b`, "attributes:a" + strings.Repeat(" ", maxFilter), strings.Repeat("(", 250), strings.Repeat("NOT ", 60),
	} {
		if _, err := parseFilter(text); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%.40s: %v, want INVALID_ARGUMENT", text, err)
		}
	}
}

func FuzzFilter(f *testing.F) {
	f.Add(`attributes:a AND (NOT hasPrefix(attributes."b", "x") OR -attributes.c != "d")`)
	f.Fuzz(func(t *testing.T, text string) {
		if pass, err := parseFilter(text); err == nil {
			pass.match(map[string]string{"a": "x"})
		}
	})
}

func TestFilteredSubscription(t *testing.T) {
	inBubble(t, func(s *pubsubpb.Subscription) { s.Filter = `attributes.kind = "b"` }, func(t *testing.T, e *engine) {
		e.subscribe(&pubsubpb.Subscription{Name: "projects/p/subscriptions/whole", Topic: testTopic})
		for _, kind := range []string{"a", "b", "a"} {
			if _, err := e.pub.Publish(t.Context(), &pubsubpb.PublishRequest{Topic: testTopic, Messages: []*pubsubpb.PubsubMessage{{Data: []byte(kind), Attributes: map[string]string{"kind": kind}}}}); err != nil {
				t.Fatal(err)
			}
		}
		if got := bodies(e.pull(testSub, 10)); got != "b" {
			t.Errorf("filtered: %q, want b", got)
		}
		if got := bodies(e.pull("projects/p/subscriptions/whole", 10)); got != "a b a" {
			t.Errorf("whole: %q, want a b a", got)
		}
	})
}

// ordered publishes messages like k1, of which the letter is the key.
func (e *engine) ordered(names ...string) {
	e.t.Helper()
	for _, name := range names {
		key := strings.TrimRight(name, "0123456789")
		if _, err := e.pub.Publish(e.t.Context(), &pubsubpb.PublishRequest{Topic: testTopic, Messages: []*pubsubpb.PubsubMessage{{Data: []byte(name), OrderingKey: key}}}); err != nil {
			e.t.Fatal(err)
		}
	}
}

func TestOrderingKeys(t *testing.T) {
	inBubble(t, func(s *pubsubpb.Subscription) {
		s.EnableMessageOrdering = true
		s.DeadLetterPolicy = &pubsubpb.DeadLetterPolicy{DeadLetterTopic: deadTopic, MaxDeliveryAttempts: 5}
	}, func(t *testing.T, e *engine) {
		e.subscribe(&pubsubpb.Subscription{Name: deadSub, Topic: deadTopic})
		e.ordered("a1", "b1", "a2", "a3", "b2", "3")
		first := e.pull(testSub, 10)
		if got := bodies(first); got != "a1 b1 3" {
			t.Fatalf("first: %q, want the first of each key, and the one without", got)
		}
		e.modify(first[0], 0) // a nack: it comes again, and nothing of its key before
		again := e.pull(testSub, 10)
		if got := bodies(again); got != "a1" {
			t.Fatalf("after a nack: %q, want a1", got)
		}
		e.ack(first[1])
		second := e.pull(testSub, 10)
		if got := bodies(second); got != "b2" {
			t.Fatalf("after an acknowledgement: %q, want b2", got)
		}
		// Out of attempts, a1 makes room for a2.
		last := again[0]
		for range 3 {
			e.modify(last, 0)
			last = e.pull(testSub, 10)[0]
		}
		e.modify(last, 0)
		if m := e.pullOne(time.Minute); string(m.GetMessage().GetData()) != "a2" {
			t.Fatalf("after a dead letter: %q, want a2", m.GetMessage().GetData())
		}
		if got := bodies(e.pull(deadSub, 10)); got != "a1" {
			t.Errorf("dead letters: %q, want a1", got)
		}
	})
}

func TestOrderOfExpiredMessages(t *testing.T) {
	inBubble(t, func(s *pubsubpb.Subscription) { s.EnableMessageOrdering = true }, func(t *testing.T, e *engine) {
		e.ordered("a1", "a2", "a3")
		e.pass(defaultRetention + time.Hour)
		e.ordered("a4")
		if got := bodies(e.pull(testSub, 10)); got != "a4" {
			t.Errorf("after the retention: %q, want a4", got)
		}
		if b := e.s.subs[testSub]; len(b.all) != 1 || len(b.keys) != 1 {
			t.Errorf("%d messages and %d keys are left, want one of each", len(b.all), len(b.keys))
		}
	})
}

func TestOrderSurvivesRestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := start(t, Options{Dir: dir})
	r.create(t, func(s *pubsubpb.Subscription) { s.EnableMessageOrdering = true })
	pub := r.publisher()
	pub.EnableMessageOrdering = true
	for n := range 10 {
		if _, err := (&publisher{s: r.Server}).Publish(t.Context(), &pubsubpb.PublishRequest{Topic: testTopic, Messages: []*pubsubpb.PubsubMessage{{Data: fmt.Append(nil, n), OrderingKey: "k"}}}); err != nil {
			t.Fatal(err)
		}
	}
	r.stop()
	r = start(t, Options{Dir: dir})
	for i, m := range r.receive(t, 10) {
		if string(m.Data) != fmt.Sprint(i) {
			t.Fatalf("message %d is %s", i, m.Data)
		}
	}
}

func TestUpdateTopicAndDetach(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, e *engine) {
		topic, err := e.pub.UpdateTopic(t.Context(), &pubsubpb.UpdateTopicRequest{Topic: &pubsubpb.Topic{Name: testTopic, Labels: map[string]string{"a": "b"}}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"labels"}}})
		if err != nil || topic.GetLabels()["a"] != "b" {
			t.Fatalf("UpdateTopic = %v, %v", topic, err)
		}
		for path, want := range map[string]codes.Code{"kms_key_name": codes.Unimplemented, "name": codes.InvalidArgument} {
			if _, err := e.pub.UpdateTopic(t.Context(), &pubsubpb.UpdateTopicRequest{Topic: &pubsubpb.Topic{Name: testTopic}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{path}}}); status.Code(err) != want {
				t.Errorf("UpdateTopic of %s = %v, want %v", path, err, want)
			}
		}
		if _, err := e.pub.UpdateTopic(t.Context(), &pubsubpb.UpdateTopicRequest{Topic: &pubsubpb.Topic{Name: deadTopic + "x"}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"labels"}}}); status.Code(err) != codes.NotFound {
			t.Errorf("UpdateTopic of nothing = %v", err)
		}
		e.publish("1")
		if _, err := e.pub.DetachSubscription(t.Context(), &pubsubpb.DetachSubscriptionRequest{Subscription: testSub}); err != nil {
			t.Fatal(err)
		}
		if _, err := e.sub.Pull(t.Context(), &pubsubpb.PullRequest{Subscription: testSub, MaxMessages: 1}); status.Code(err) != codes.FailedPrecondition {
			t.Errorf("Pull = %v, want FAILED_PRECONDITION", err)
		}
		e.publish("2") // which nobody waits for
		if list, err := e.pub.ListTopicSubscriptions(t.Context(), &pubsubpb.ListTopicSubscriptionsRequest{Topic: testTopic}); err != nil || len(list.GetSubscriptions()) != 0 {
			t.Errorf("subscriptions of the topic: %v, %v", list, err)
		}
		sub, err := e.sub.GetSubscription(t.Context(), &pubsubpb.GetSubscriptionRequest{Subscription: testSub})
		if err != nil || !sub.GetDetached() {
			t.Errorf("GetSubscription = %v, %v", sub, err)
		}
		if _, err := e.sub.DeleteSubscription(t.Context(), &pubsubpb.DeleteSubscriptionRequest{Subscription: testSub}); err != nil {
			t.Error(err)
		}
	})
}
