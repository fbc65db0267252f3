package pubsubserver

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// Started once per process by the OpenCensus that the Google clients import; it has no stop.
		goleak.IgnoreTopFunction("go.opencensus.io/stats/view.(*worker).start"),
		// pubsub/v2 v2.8.1 stops the tickers this goroutine waits for before it has seen that the stream is
		// done.
		goleak.IgnoreTopFunction("cloud.google.com/go/pubsub/v2.(*messageIterator).streamKeepAliveHandler"),
	)
}
