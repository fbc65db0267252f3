package localcloudtest_test

import (
	"context"
	"io"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"cloud.google.com/go/storage"
	"go.uber.org/goleak"

	"exportd/internal/localcloud/localcloudtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, localcloudtest.LeakOptions()...) }

// Data written through the official clients is there for the same clients after a restart of the cloud.
func TestRestartKeepsEverything(t *testing.T) {
	t.Parallel()
	c := localcloudtest.Start(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()

	doc := c.Firestore.Doc("Workspaces/w1")
	if _, err := doc.Set(ctx, map[string]any{"name": "one"}); err != nil {
		t.Fatalf("Set() = %v", err)
	}
	topic, sub := "projects/"+localcloudtest.Project+"/topics/jobs", "projects/"+localcloudtest.Project+"/subscriptions/jobs"
	if _, err := c.PubSub.TopicAdminClient.CreateTopic(ctx, &pubsubpb.Topic{Name: topic}); err != nil {
		t.Fatalf("CreateTopic() = %v", err)
	}
	if _, err := c.PubSub.SubscriptionAdminClient.CreateSubscription(ctx, &pubsubpb.Subscription{Name: sub, Topic: topic}); err != nil {
		t.Fatalf("CreateSubscription() = %v", err)
	}
	p := c.PubSub.Publisher(topic)
	defer p.Stop()
	if _, err := p.Publish(ctx, &pubsub.Message{Data: []byte("ring")}).Get(ctx); err != nil {
		t.Fatalf("Publish() = %v", err)
	}
	bucket := c.Storage.Bucket("exports")
	if err := bucket.Create(ctx, localcloudtest.Project, nil); err != nil {
		t.Fatalf("Bucket.Create() = %v", err)
	}
	w := bucket.Object("a/b.csv").If(storage.Conditions{DoesNotExist: true}).NewWriter(ctx)
	if _, err := io.WriteString(w, "x,y\n"); err != nil {
		t.Fatalf("Write() = %v", err)
	}
	if err := w.Close(); err != nil {
		t.Fatalf("Writer.Close() = %v", err)
	}

	c.Restart(t)

	snap, err := doc.Get(ctx)
	if err != nil || snap.Data()["name"] != "one" {
		t.Errorf("document after the restart = %v, %v; want name one", snap, err)
	}
	got := make(chan string, 1)
	rctx, stop := context.WithCancel(ctx)
	err = c.PubSub.Subscriber(sub).Receive(rctx, func(_ context.Context, m *pubsub.Message) {
		m.Ack()
		got <- string(m.Data)
		stop()
	})
	if err != nil || len(got) != 1 {
		t.Errorf("Receive() after the restart = %v with %d messages, want one", err, len(got))
	}
	r, err := bucket.Object("a/b.csv").NewReader(ctx)
	if err != nil {
		t.Fatalf("NewReader() = %v", err)
	}
	body, err := io.ReadAll(r)
	if err != nil || string(body) != "x,y\n" {
		t.Errorf("object after the restart = %q, %v; want %q", body, err, "x,y\n")
	}
	_ = r.Close()

	if n := c.Faults().Counters().Methods; n["Firestore/BatchGetDocuments"].DocumentsRead != 1 || n["Storage/Download"].Calls != 1 {
		t.Errorf("counters = %+v, want one document read and one download since the restart", n)
	}
}
