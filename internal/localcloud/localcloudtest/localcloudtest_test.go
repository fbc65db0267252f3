package localcloudtest_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"cloud.google.com/go/storage"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"exportd/internal/localcloud"
	"exportd/internal/localcloud/fault"
	"exportd/internal/localcloud/localcloudtest"
)

const (
	topic        = "projects/" + localcloudtest.Project + "/topics/jobs"
	subscription = "projects/" + localcloudtest.Project + "/subscriptions/jobs"
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
	publish(ctx, t, c, "ring")
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
	err = c.PubSub.Subscriber(subscription).Receive(rctx, func(_ context.Context, m *pubsub.Message) {
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

// The counters see what the embedded servers really send, rows in wire form included.
func TestCountersWithRealClients(t *testing.T) {
	t.Parallel()
	c := localcloudtest.Start(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	batch := c.Firestore.BulkWriter(ctx)
	for i := range 30 {
		if _, err := batch.Set(c.Firestore.Doc(fmt.Sprintf("Things/%02d", i)), map[string]any{"n": i}); err != nil {
			t.Fatalf("Set() = %v", err)
		}
	}
	batch.End()
	docs, err := c.Firestore.Collection("Things").Where("n", ">=", 10).Documents(ctx).GetAll()
	if err != nil || len(docs) != 20 {
		t.Fatalf("GetAll() = %d documents, %v; want 20", len(docs), err)
	}
	if _, err := c.Firestore.Collection("Things").NewAggregationQuery().WithCount("all").Get(ctx); err != nil {
		t.Fatalf("count = %v", err)
	}
	got := c.Faults().Counters()
	if got.DocumentsRead != 21 || got.DocumentsWritten != 30 {
		t.Errorf("counters = %d read, %d written; want 20 rows and one count, 30 writes: %+v", got.DocumentsRead, got.DocumentsWritten, got.Methods)
	}
}

// A query stream that breaks half-way and doubled deliveries reach the official clients as they would from
// the real services.
func TestFaultsWithRealClients(t *testing.T) {
	t.Parallel()
	c := localcloudtest.Start(t, func(cfg *localcloud.Config) {
		cfg.Faults = fault.Config{Seed: 1, Rules: map[string]fault.Rule{
			"Firestore/RunQuery":       {CutRate: 1, CutAfter: 5, Code: "ABORTED"},
			"Subscriber/StreamingPull": {DoubleRate: 1},
			"Storage/UploadChunk":      {ErrorRate: 0.5},
		}}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for i := range 10 {
		if _, err := c.Firestore.Doc(fmt.Sprintf("Things/%d", i)).Set(ctx, map[string]any{"n": i}); err != nil {
			t.Fatalf("Set() = %v", err)
		}
	}
	docs, err := c.Firestore.Collection("Things").Documents(ctx).GetAll()
	if status.Code(err) != codes.Aborted {
		t.Errorf("GetAll() = %d documents, %v; want Aborted", len(docs), err)
	}

	publish(ctx, t, c, "x")
	rctx, stop := context.WithCancel(ctx)
	got := make(chan string, 10)
	err = c.PubSub.Subscriber(subscription).Receive(rctx, func(_ context.Context, m *pubsub.Message) {
		m.Ack()
		if got <- m.ID; len(got) == 2 {
			stop()
		}
	})
	if err != nil || len(got) != 2 {
		t.Fatalf("Receive() = %v with %d deliveries, want 2", err, len(got))
	}
	if first, second := <-got, <-got; first != second {
		t.Errorf("received %s and %s, want one message twice", first, second)
	}

	bucket := c.Storage.Bucket("exports")
	if err := bucket.Create(ctx, localcloudtest.Project, nil); err != nil {
		t.Fatalf("Bucket.Create() = %v", err)
	}
	w := bucket.Object("big").If(storage.Conditions{DoesNotExist: true}).NewWriter(ctx)
	w.ChunkSize = 256 << 10
	body := bytes.Repeat([]byte("0123456789abcdef"), 64<<10)
	if _, err := w.Write(body); err != nil {
		t.Fatalf("Write() = %v", err)
	}
	if err := w.Close(); err != nil {
		t.Fatalf("Writer.Close() = %v", err)
	}
	if got := w.Attrs().Size; got != int64(len(body)) {
		t.Errorf("the object has %d bytes, want %d", got, len(body))
	}
	if n := c.Faults().Counters().Methods["Storage/UploadChunk"].Faults; n == 0 {
		t.Error("no chunk was refused")
	}
}

// publish makes a topic with a subscription and publishes one message.
func publish(ctx context.Context, t *testing.T, c *localcloudtest.Cloud, body string) {
	t.Helper()
	if _, err := c.PubSub.TopicAdminClient.CreateTopic(ctx, &pubsubpb.Topic{Name: topic}); err != nil {
		t.Fatalf("CreateTopic() = %v", err)
	}
	if _, err := c.PubSub.SubscriptionAdminClient.CreateSubscription(ctx, &pubsubpb.Subscription{Name: subscription, Topic: topic}); err != nil {
		t.Fatalf("CreateSubscription() = %v", err)
	}
	p := c.PubSub.Publisher(topic)
	defer p.Stop()
	if _, err := p.Publish(ctx, &pubsub.Message{Data: []byte(body)}).Get(ctx); err != nil {
		t.Fatalf("Publish() = %v", err)
	}
}
