package tracing

import (
	"net/url"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
)

// Attr says something of a span. Those below are all there are.
type Attr = attribute.KeyValue

// maxValue bounds a value: the longest are ids of documents that exportd's own platform made.
const maxValue = 128

func text(key, value string) Attr {
	return attribute.String(key, strings.ToValidUTF8(value[:min(len(value), maxValue)], ""))
}

func httpMethod(m string) Attr { return semconv.HTTPRequestMethodKey.String(m) }
func httpRoute(r string) Attr  { return semconv.HTTPRoute(r) }
func errorType(c string) Attr  { return semconv.ErrorTypeKey.String(c[:min(len(c), maxValue)]) }

// Status is that of an HTTP answer.
func Status(code int) Attr { return semconv.HTTPResponseStatusCode(code) }

// Method is that of a request to somebody else.
func Method(m string) Attr { return httpMethod(m) }

// Server is the host of a URL that is called: the rest may carry rights.
func Server(address string) Attr {
	host := ""
	if u, err := url.Parse(address); err == nil {
		host = u.Hostname()
	}
	return text(string(semconv.ServerAddressKey), host)
}

// Messaging is the queue of messages that a step hears of, with what OpenTelemetry wants beside it.
func Messaging(queue string) []Attr {
	return []Attr{semconv.MessagingSystemGCPPubSub, semconv.MessagingDestinationName(queue), semconv.MessagingOperationTypeProcess}
}

// Job is the id of an export.
func Job(id string) Attr { return text("exportd.job.id", id) }

// Org is whose it is.
func Org(id string) Attr { return text("exportd.org.id", id) }

// Dataset is the kind of an export.
func Dataset(kind string) Attr { return text("exportd.dataset", kind) }

// Worker is who does it.
func Worker(id string) Attr { return text("exportd.worker.id", id) }

// State is how a job or a delivery stands after a step.
func State(s string) Attr { return text("exportd.state", s) }

// Attempt is the number of an attempt.
func Attempt(n int) Attr { return attribute.Int("exportd.attempt", n) }

// Part is the index of a part, Parts are how many there are, and TracedParts how many of them have spans.
func Part(index int) Attr { return attribute.Int("exportd.part", index) }

// Parts are those of a plan.
func Parts(n int) Attr { return attribute.Int("exportd.parts", n) }

// TracedParts are those of a plan that have spans, besides any that fails.
func TracedParts(n int) Attr { return attribute.Int("exportd.parts.traced", n) }

// Rows and bytes of what a step made.
func Rows(n int64) Attr { return attribute.Int64("exportd.rows", n) }

// Bytes are those written.
func Bytes(n int64) Attr { return attribute.Int64("exportd.bytes", n) }

// Busy is for how much of its time a step was at work; the steps of a stream stand in each other's.
func Busy(d time.Duration) Attr {
	return attribute.Float64("exportd.busy.seconds", d.Round(time.Microsecond).Seconds())
}

// Reused says that a request was answered by a job that was there before.
func Reused(yes bool) Attr { return attribute.Bool("exportd.reused", yes) }
