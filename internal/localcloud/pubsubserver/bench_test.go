package pubsubserver

import (
	"context"
	"slices"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
)

// BenchmarkPublish publishes one message a request from 16 callers at once, over loopback and fsync.
func BenchmarkPublish(b *testing.B) {
	r := startBenchmark(b)
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		req := &pubsubpb.PublishRequest{Topic: testTopic, Messages: []*pubsubpb.PubsubMessage{{Data: []byte(`{"jobId":"0123456789"}`)}}}
		for pb.Next() {
			if _, err := r.client.TopicAdminClient.Publish(b.Context(), req); err != nil {
				b.Fatalf("Publish() = %v", err)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
}

// BenchmarkPublishToHandler measures a message's way from Publish to the handler of the official subscriber,
// one at a time.
func BenchmarkPublishToHandler(b *testing.B) {
	r := startBenchmark(b)
	ctx, cancel := context.WithCancel(b.Context())
	arrived := make(chan time.Time, 1)
	ended := make(chan error, 1)
	go func() {
		ended <- r.client.Subscriber(testSub).Receive(ctx, func(_ context.Context, m *pubsub.Message) {
			arrived <- time.Now()
			m.Ack()
		})
	}()
	req := &pubsubpb.PublishRequest{Topic: testTopic, Messages: []*pubsubpb.PubsubMessage{{Data: []byte(`{"jobId":"0123456789"}`)}}}
	var took []time.Duration
	for b.Loop() {
		begin := time.Now()
		if _, err := r.client.TopicAdminClient.Publish(b.Context(), req); err != nil {
			b.Fatalf("Publish() = %v", err)
		}
		took = append(took, (<-arrived).Sub(begin))
	}
	cancel()
	if err := <-ended; err != nil {
		b.Errorf("Receive() = %v", err)
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-us")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-us")
}

func startBenchmark(b *testing.B) *running {
	r := start(b, Options{Limits: Limits{Messages: 10_000_000, Bytes: 10 << 30}})
	r.create(b, nil)
	b.ResetTimer()
	return r
}
