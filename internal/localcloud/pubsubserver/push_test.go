package pubsubserver

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
)

// pushed is a request that an endpoint got.
type pushed struct {
	header http.Header
	raw    string
	answer chan int // the endpoint answers what comes here

	DeliveryAttempt int32
	Message         struct {
		Attributes   map[string]string
		Data         []byte
		MessageID    string `json:"messageId"`
		OrderingKey  string
		PublishTime  time.Time
		MessageID2   string `json:"message_id"`
		PublishTime2 string `json:"publish_time"`
	}
	Subscription string
}

// endpoint serves HTTP, and hands out each request, which waits for its answer.
func endpoint(t *testing.T) (string, <-chan *pushed) {
	t.Helper()
	got := make(chan *pushed)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, err := io.ReadAll(r.Body)
		p := &pushed{header: r.Header, raw: string(raw), answer: make(chan int)}
		if err != nil || r.Method != http.MethodPost || json.Unmarshal(raw, p) != nil {
			t.Errorf("pushed %s %q, %v", r.Method, raw, err)
			return
		}
		select {
		case got <- p:
		case <-r.Context().Done():
			return
		}
		select {
		case code := <-p.answer:
			w.Header().Set("Location", "/elsewhere")
			if w.WriteHeader(code); code == http.StatusProcessing {
				w.WriteHeader(http.StatusInternalServerError)
			}
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(s.Close)
	return s.URL + "/push?token=x", got
}

// answered takes the next push, answers it, and returns it.
func answered(t *testing.T, from <-chan *pushed, code int) *pushed {
	t.Helper()
	p := next(t, from, "push")
	p.answer <- code
	return p
}

func (r *running) pushTo(t *testing.T, url string) {
	t.Helper()
	err := r.client.SubscriptionAdminClient.ModifyPushConfig(t.Context(), &pubsubpb.ModifyPushConfigRequest{Subscription: testSub, PushConfig: &pubsubpb.PushConfig{PushEndpoint: url}})
	if err != nil {
		t.Fatalf("ModifyPushConfig(%q) = %v", url, err)
	}
}

// TestPush: a message comes as documented, again until it is taken, and then not any more.
func TestPush(t *testing.T) {
	t.Parallel()
	r := start(t, Options{})
	url, got := endpoint(t)
	r.create(t, func(s *pubsubpb.Subscription) {
		s.PushConfig = &pubsubpb.PushConfig{PushEndpoint: url, Attributes: map[string]string{"x-goog-version": "v1"}}
		s.RetryPolicy = &pubsubpb.RetryPolicy{MinimumBackoff: durationpb.New(0), MaximumBackoff: durationpb.New(0)} // at once
	})
	p := r.publisher()
	defer p.Stop()
	id, err := p.Publish(t.Context(), &pubsub.Message{Data: []byte("<ü>"), Attributes: map[string]string{"k": "v"}}).Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	m := answered(t, got, http.StatusServiceUnavailable)
	if m.Subscription != testSub || m.Message.MessageID != id || m.Message.MessageID2 != id || string(m.Message.Data) != "<ü>" ||
		!maps.Equal(m.Message.Attributes, map[string]string{"k": "v"}) || m.Message.PublishTime.IsZero() || !strings.Contains(m.raw, `"publish_time":"`+m.Message.PublishTime2+`"`) ||
		strings.Contains(m.raw, "orderingKey") || strings.Contains(m.raw, "deliveryAttempt") || m.header.Get("Content-Type") != "application/json" {
		t.Errorf("pushed %v %s", m.header, m.raw)
	}
	for _, code := range []int{203, 205, 301, 302, 307, 400, 404, 429, 500} {
		if m := answered(t, got, code); m.Message.MessageID != id {
			t.Errorf("after an answer that takes nothing: %s", m.raw)
		}
	}
	answered(t, got, http.StatusOK)
	// Each is taken by the first answer, so that the next push is of the next message.
	for i, code := range []int{102, 200, 201, 202, 204} {
		r.publish(t, 1)
		if m := answered(t, got, code); string(m.Message.Data) != "0" || m.Message.MessageID == id {
			t.Errorf("%d: %s", i, m.raw)
		} else {
			id = m.Message.MessageID
		}
	}
	r.pushTo(t, "")
	r.publish(t, 1)
	if left := r.receive(t, 1); left[0].ID == id {
		t.Errorf("%s comes again, although it was taken", id)
	}
}

// TestPushRefusals: what would be pushed elsewhere, or otherwise, and pulls of what is pushed.
func TestPushRefusals(t *testing.T) {
	t.Parallel()
	r := start(t, Options{})
	r.create(t, nil)
	for name, c := range map[string]struct {
		config *pubsubpb.PushConfig
		want   codes.Code
	}{
		"another machine": {&pubsubpb.PushConfig{PushEndpoint: "https://example.com/push"}, codes.Unimplemented},
		"a network":       {&pubsubpb.PushConfig{PushEndpoint: "http://10.0.0.1/push"}, codes.Unimplemented},
		"a name before @": {&pubsubpb.PushConfig{PushEndpoint: "http://127.0.0.1@example.com/"}, codes.InvalidArgument},
		"another scheme":  {&pubsubpb.PushConfig{PushEndpoint: "ftp://127.0.0.1/"}, codes.InvalidArgument},
		"no URL":          {&pubsubpb.PushConfig{PushEndpoint: "127.0.0.1:80"}, codes.InvalidArgument},
		"a token":         {&pubsubpb.PushConfig{PushEndpoint: "http://127.0.0.1/", AuthenticationMethod: &pubsubpb.PushConfig_OidcToken_{OidcToken: &pubsubpb.PushConfig_OidcToken{}}}, codes.Unimplemented},
		"no wrapper":      {&pubsubpb.PushConfig{PushEndpoint: "http://127.0.0.1/", Wrapper: &pubsubpb.PushConfig_NoWrapper_{NoWrapper: &pubsubpb.PushConfig_NoWrapper{}}}, codes.Unimplemented},
		"an old version":  {&pubsubpb.PushConfig{PushEndpoint: "http://127.0.0.1/", Attributes: map[string]string{"x-goog-version": "v1beta1"}}, codes.Unimplemented},
		"nothing":         {nil, codes.InvalidArgument},
	} {
		err := r.client.SubscriptionAdminClient.ModifyPushConfig(t.Context(), &pubsubpb.ModifyPushConfigRequest{Subscription: testSub, PushConfig: c.config})
		if status.Code(err) != c.want {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
	stream := collectFrom(r.rawStream(t, &pubsubpb.StreamingPullRequest{}))
	r.publish(t, 1)
	next(t, stream.messages, "message before there is push")
	url, got := endpoint(t)
	r.pushTo(t, url)
	if err := next(t, stream.err, "end of the stream"); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("a stream, when messages are pushed from now on: %v", err)
	}
	answered(t, got, http.StatusOK) // the stream never confirmed it
	if _, err := r.client.SubscriptionAdminClient.Pull(t.Context(), &pubsubpb.PullRequest{Subscription: testSub, MaxMessages: 1}); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("Pull of what is pushed: %v", err)
	}
	if err := next(t, collectFrom(r.rawStream(t, &pubsubpb.StreamingPullRequest{})).err, "refusal"); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("StreamingPull of what is pushed: %v", err)
	}
}

// TestPushKeepsWhatIsNotTaken: a message that an endpoint has, and has not answered for, is pushed again
// after a restart, and can be pulled when there is no push any more; neither waits for the endpoint.
func TestPushKeepsWhatIsNotTaken(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := start(t, Options{Dir: dir})
	url, got := endpoint(t)
	r.create(t, func(s *pubsubpb.Subscription) { s.PushConfig = &pubsubpb.PushConfig{PushEndpoint: url} })
	r.publish(t, 1)
	id := next(t, got, "push").Message.MessageID
	r.stop()
	r = start(t, Options{Dir: dir})
	if again := next(t, got, "push after a restart"); again.Message.MessageID != id {
		t.Errorf("pushed %s, want %s", again.Message.MessageID, id)
	}
	r.pushTo(t, "")
	if left := r.receive(t, 1); left[0].ID != id {
		t.Errorf("pulled %s, want %s", left[0].ID, id)
	}
}

// TestPushIsBounded: as many at a time as the endpoint has shown that it takes, and never more than pushMost.
func TestPushIsBounded(t *testing.T) {
	t.Parallel()
	r := start(t, Options{})
	url, got := endpoint(t)
	r.create(t, func(s *pubsubpb.Subscription) { s.PushConfig = &pubsubpb.PushConfig{PushEndpoint: url} })
	const n = 300
	msgs := make([]*pubsubpb.PubsubMessage, n)
	for i := range msgs {
		msgs[i] = &pubsubpb.PubsubMessage{Data: []byte(strconv.Itoa(i))}
	}
	if _, err := r.client.TopicAdminClient.Publish(t.Context(), &pubsubpb.PublishRequest{Topic: testTopic, Messages: msgs}); err != nil {
		t.Fatal(err)
	}
	b, err := r.view(testSub)
	if err != nil {
		t.Fatal(err)
	}
	outstanding := func() (n, bound int64) {
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.pusher.messages, b.pusher.maxMessages
	}
	first := []*pushed{next(t, got, "push"), next(t, got, "push"), next(t, got, "push")}
	if n, bound := outstanding(); n != pushAtFirst || bound != pushAtFirst {
		t.Errorf("%d are outstanding of %d, want %d", n, bound, pushAtFirst)
	}
	for _, m := range first {
		m.answer <- http.StatusOK
	}
	for range n - len(first) {
		answered(t, got, http.StatusOK)
		if n, bound := outstanding(); n > bound || bound > pushMost {
			t.Fatalf("%d are outstanding of %d", n, bound)
		}
	}
	// What an answer does to the bound it has done before its message is none that is outstanding.
	until(t, "no answer is under way", func() bool { n, _ := outstanding(); return n == 0 })
	r.publish(t, 1)
	answered(t, got, http.StatusInternalServerError)
	answered(t, got, http.StatusOK)
	if _, bound := outstanding(); bound > pushMost/2+1 {
		t.Errorf("%d may be outstanding after one that was not taken, want half of %d", bound, pushMost)
	}
}

// TestPushInOrder: with ordering keys the messages of a key are pushed one after the other, and the next when
// the one before is taken; deliveries are counted for the dead-letter policy.
func TestPushInOrder(t *testing.T) {
	t.Parallel()
	r := start(t, Options{})
	url, got := endpoint(t)
	if _, err := r.client.TopicAdminClient.CreateTopic(t.Context(), &pubsubpb.Topic{Name: "projects/p/topics/dead"}); err != nil {
		t.Fatal(err)
	}
	r.create(t, func(s *pubsubpb.Subscription) {
		s.EnableMessageOrdering = true
		s.PushConfig = &pubsubpb.PushConfig{PushEndpoint: url, Wrapper: &pubsubpb.PushConfig_PubsubWrapper_{PubsubWrapper: &pubsubpb.PushConfig_PubsubWrapper{}}}
		s.DeadLetterPolicy = &pubsubpb.DeadLetterPolicy{DeadLetterTopic: "projects/p/topics/dead", MaxDeliveryAttempts: 5}
	})
	var msgs []*pubsubpb.PubsubMessage
	for i := range 20 {
		for _, key := range []string{"a", "b"} {
			msgs = append(msgs, &pubsubpb.PubsubMessage{Data: fmt.Append(nil, i), OrderingKey: key})
		}
	}
	if _, err := r.client.TopicAdminClient.Publish(t.Context(), &pubsubpb.PublishRequest{Topic: testTopic, Messages: msgs}); err != nil {
		t.Fatal(err)
	}
	taken := map[string]int{}
	var once sync.Once
	for taken["a"]+taken["b"] < len(msgs) {
		m := next(t, got, "push")
		code, key := http.StatusOK, m.Message.OrderingKey
		if want := strconv.Itoa(taken[key]); string(m.Message.Data) != want {
			t.Fatalf("%s of key %s is pushed, want %s", m.Message.Data, key, want)
		}
		want := int32(1)
		if key == "b" && taken[key] == 7 {
			if want = 2; m.DeliveryAttempt == 1 {
				want = 1
				once.Do(func() { code = http.StatusBadGateway })
			}
		}
		if m.DeliveryAttempt != want {
			t.Errorf("delivery attempt %d of %s of key %s, want %d", m.DeliveryAttempt, m.Message.Data, key, want)
		}
		if code == http.StatusOK {
			taken[key]++
		}
		m.answer <- code
	}
}
