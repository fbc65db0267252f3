package pubsubserver

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"exportd/internal/loopback"
)

// How many messages a push endpoint is sent at a time: three at first, one more for each that it takes and
// half as many after each that it does not, as production's slow start. Production goes up to 3,000, which is
// more connections than a server on a developer's machine has files.
// https://cloud.google.com/pubsub/docs/push#push_delivery_rate
const (
	pushAtFirst = 3
	pushMost    = 100
)

// pushBackoff is after how long a push endpoint is sent a message again that it did not take, where the
// subscription has no retry policy. https://cloud.google.com/pubsub/docs/push#push_backoff
var pushBackoff = &pubsubpb.RetryPolicy{MinimumBackoff: durationpb.New(100 * time.Millisecond), MaximumBackoff: durationpb.New(time.Minute)}

// pushTaken are the answers that acknowledge. https://cloud.google.com/pubsub/docs/push#receive_push
var pushTaken = []int{http.StatusProcessing, http.StatusOK, http.StatusCreated, http.StatusAccepted, http.StatusNoContent}

// maxPushAnswer is what is read of an answer, so that its connection can serve the next message.
const maxPushAnswer = 64 << 10

// errPushed answers pulls of a subscription that pushes, in production's words.
var errPushed = status.Error(codes.FailedPrecondition, "This method is not supported for this subscription type.")

// checkPushConfig lets messages be pushed to this machine only: nothing that is said to be a test may send
// data to others, and there are no accounts whose tokens they would trust.
func checkPushConfig(c *pubsubpb.PushConfig) error {
	for name, value := range c.GetAttributes() {
		if name != "x-goog-version" || value != "v1" && value != "v1beta2" {
			return unsupported(fmt.Sprintf("push_config.attributes[%q] = %q (x-goog-version v1 is what there is)", name, value))
		}
	}
	raw := c.GetPushEndpoint()
	if raw == "" {
		return nil
	}
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
		return invalid("Invalid push endpoint given (endpoint=%s).", raw)
	}
	if !loopback.IsHost(u.Host) {
		return unsupported("push_config.push_endpoint " + raw + " (messages are pushed to localhost, 127.0.0.0/8 and [::1] only)")
	}
	return nil
}

// newPushClient makes what sends pushes. A redirection is an answer like another.
func newPushClient() *http.Client {
	return &http.Client{
		Transport:     &http.Transport{MaxIdleConnsPerHost: pushMost, IdleConnTimeout: time.Minute},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// aim begins to push where the settings say so, and ends pulls then, or the other way round. b.mu is held.
func (b *backlog) aim() {
	endpoint := b.sub.GetPushConfig().GetPushEndpoint()
	if b.closed != nil {
		return
	}
	if endpoint == b.endpoint {
		if b.pusher != nil {
			b.pusher.leaseFor = ackDeadline(b.sub)
		}
		return
	}
	b.endpoint = endpoint
	if b.stopPush != nil {
		b.stopPush()
		b.pusher, b.stopPush = nil, nil
	}
	close(b.turned)
	b.turned = make(chan struct{})
	if endpoint == "" {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	b.pusher, b.stopPush = newPuller(pushAtFirst, 0, ackDeadline(b.sub)), cancel
	b.pullers = append(b.pullers, b.pusher)
	p := b.pusher
	b.workers.Go(func() {
		defer cancel()
		b.push(ctx, p, endpoint)
	})
}

func ackDeadline(sub *pubsubpb.Subscription) time.Duration {
	return time.Duration(sub.GetAckDeadlineSeconds()) * time.Second
}

// push sends what p is given to the endpoint until ctx ends or the subscription is gone, and has then given
// back what was not taken.
func (b *backlog) push(ctx context.Context, p *puller, endpoint string) {
	ctx, cancel := context.WithCancel(ctx)
	var sending sync.WaitGroup // as many as p may have outstanding
	defer func() {
		cancel()
		sending.Wait()
		b.detach(p)
	}()
	for {
		select {
		case <-p.ready:
		case <-ctx.Done():
			return
		case <-b.gone:
			return
		}
		for _, m := range b.collect(p) {
			sending.Go(func() { b.pushOne(ctx, p, endpoint, m) })
		}
	}
}

// pushOne sends a message once, and acknowledges it or gives it back.
func (b *backlog) pushOne(ctx context.Context, p *puller, endpoint string, m *pubsubpb.ReceivedMessage) {
	sub := b.subscription()
	err := post(ctx, b.http, endpoint, ackDeadline(sub), pushBody(sub.GetName(), m))
	b.mu.Lock()
	if err == nil {
		p.maxMessages = min(p.maxMessages+1, pushMost)
	} else {
		p.maxMessages = max(p.maxMessages/2, pushAtFirst)
	}
	b.mu.Unlock()
	ids, errID := parseAckIDs([]string{m.GetAckId()}) // of this server's own making
	if err == nil && errID == nil {
		_ = b.acknowledge(ids) // what could not be is given back
	}
	b.modifyDeadline(ids, 0) // of what was acknowledged there is no lease any more
}

// post sends a body within the time of a lease. Its error does not say more than that it was not taken:
// whoever serves the endpoint knows why.
func post(ctx context.Context, client *http.Client, endpoint string, within time.Duration, body []byte) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	// 102 is an answer that comes before the last one; whatever that is, the message is taken. The
	// connection's reader tells of it, maybe while Do ends for want of time.
	var taken atomic.Bool
	see := func(code int) {
		if slices.Contains(pushTaken, code) {
			taken.Store(true)
		}
	}
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{Got1xxResponse: func(code int, _ textproto.MIMEHeader) error {
		see(code)
		return nil
	}})
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "CloudPubSub-Google")
	res, err := client.Do(req)
	if err == nil {
		_, _ = io.CopyN(io.Discard, res.Body, maxPushAnswer)
		_ = res.Body.Close()
		see(res.StatusCode)
	}
	if !taken.Load() {
		return errNotTaken
	}
	return nil
}

var errNotTaken = errors.New("the push endpoint did not take the message")

// pushBody is a message in its wrapper, with the names that production writes twice.
// https://cloud.google.com/pubsub/docs/payload-unwrapping#wrapped_messages
func pushBody(subscription string, m *pubsubpb.ReceivedMessage) []byte {
	type message struct {
		Attributes   map[string]string `json:"attributes,omitempty"`
		Data         []byte            `json:"data,omitempty"`
		MessageID    string            `json:"messageId"`
		MessageID2   string            `json:"message_id"`
		OrderingKey  string            `json:"orderingKey,omitempty"`
		PublishTime  string            `json:"publishTime"`
		PublishTime2 string            `json:"publish_time"`
	}
	in := m.GetMessage()
	at := in.GetPublishTime().AsTime().Format("2006-01-02T15:04:05.000Z07:00")
	raw, err := json.Marshal(struct {
		DeliveryAttempt int32   `json:"deliveryAttempt,omitempty"`
		Message         message `json:"message"`
		Subscription    string  `json:"subscription"`
	}{m.GetDeliveryAttempt(), message{in.GetAttributes(), in.GetData(), in.GetMessageId(), in.GetMessageId(), in.GetOrderingKey(), at, at}, subscription})
	if err != nil {
		panic(err) // it has texts and bytes only
	}
	return raw
}
