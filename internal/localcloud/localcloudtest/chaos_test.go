package localcloudtest_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2"

	"exportd/internal/localcloud"
	"exportd/internal/localcloud/fault"
	"exportd/internal/localcloud/localcloudtest"
)

// Breaking streams, lost and refused acks, doubled deliveries, nacks and two restarts: every message still
// arrives.
func TestEveryMessageArrives(t *testing.T) {
	t.Parallel()
	const total = 300
	c := localcloudtest.Start(t, func(cfg *localcloud.Config) {
		cfg.Faults = fault.Config{Seed: 42, Rules: map[string]fault.Rule{
			"Subscriber/StreamingPull":     {CutRate: 0.5, CutAfter: 5, DoubleRate: 0.1},
			"Subscriber/Acknowledge":       {ErrorRate: 0.1, LostRate: 0.1},
			"Subscriber/ModifyAckDeadline": {ErrorRate: 0.1, LostRate: 0.1},
			"Publisher/Publish":            {ErrorRate: 0.05, LostRate: 0.05},
		}}
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	publish(ctx, t, c, "first")

	var mu sync.Mutex
	seen, nacked := map[string]bool{}, map[string]bool{}
	progress := make(chan int, 10_000)
	rctx, stop := context.WithCancel(ctx)
	var subscribers sync.WaitGroup
	for range 3 {
		subscribers.Go(func() {
			sub := c.PubSub.Subscriber(subscription)
			sub.ReceiveSettings.MaxOutstandingMessages = 20
			err := sub.Receive(rctx, func(_ context.Context, m *pubsub.Message) {
				mu.Lock()
				defer mu.Unlock()
				body := string(m.Data)
				if len(body)%2 == 0 && !nacked[body] {
					nacked[body] = true
					m.Nack()
					return
				}
				seen[body] = true
				m.Ack()
				progress <- len(seen)
			})
			if err != nil {
				t.Errorf("Receive() = %v", err)
			}
		})
	}
	p := c.PubSub.Publisher(topic)
	for i := range total {
		if i == total/3 || i == 2*total/3 {
			c.Restart(t)
		}
		if _, err := p.Publish(ctx, &pubsub.Message{Data: fmt.Appendf(nil, "message %d", i)}).Get(ctx); err != nil {
			t.Fatalf("Publish() = %v", err)
		}
	}
	p.Stop()
	for n := 0; n < total+1; {
		select {
		case n = <-progress:
		case <-ctx.Done():
			t.Fatalf("%d of %d messages have arrived when the time is over", n, total+1)
		}
	}
	stop()
	subscribers.Wait()
}
