package telemetry

import (
	"context"
	"path"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"exportd/jobs"
)

// Lane is what a call to a service of Google's is made for.
type Lane string

// The lanes. What is not of a lane of the workers is of the process itself: an API's requests, the listening
// to switches, the signs of life.
const (
	LaneExports   = Lane(jobs.QueueExports)
	LaneParts     = Lane(jobs.QueueParts)
	LaneCallbacks = Lane(jobs.QueueCallbacks)
	LaneRescue    = Lane("rescue")
	LaneProcess   = Lane("process")
)

type laneKey struct{}

// WithLane has calls that are made under the context count for a lane.
func WithLane(ctx context.Context, lane Lane) context.Context {
	return context.WithValue(ctx, laneKey{}, lane)
}

func laneOf(ctx context.Context) Lane {
	if lane, ok := ctx.Value(laneKey{}).(Lane); ok {
		return lane
	}
	return LaneProcess
}

// methods are those that are called of Firestore, Pub/Sub and Cloud Storage. Others are "other".
var methods = setOf(
	"BatchGetDocuments", "BatchWrite", "Commit", "Listen", "RunQuery", "RunAggregationQuery", "GetDocument", "ListDocuments", "BeginTransaction", "Rollback",
	"Publish", "Pull", "Acknowledge", "ModifyAckDeadline", "GetSubscription", "GetTopic",
	"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE",
)

var grpcCodes = func() set {
	s := set{}
	for c := range codes.Code(17) {
		s[c.String()] = true
	}
	return s
}()

// Calls counts the calls to Google's services: what a process costs. It is a prometheus.Collector. Safe for
// concurrent use.
type Calls struct {
	collectors
	calls, documents *prometheus.CounterVec
}

// NewCalls makes a Calls.
func NewCalls() *Calls {
	c := &Calls{
		calls: counter("exportd_cloud_calls_total", "Calls to services of Google's, by service, method, how they were answered, and what they were made for.", "service", "method", "code", "lane"),
		documents: counter("exportd_firestore_documents_total",
			"Documents that Firestore gave (read) and was given (written), by what for: about what it bills. A query without results, and an aggregation, is one.", "op", "lane"),
	}
	c.collectors = collectors{c.calls, c.documents}
	return c
}

// GRPC notes a call by its full name, "" for one that was noted already and has brought more.
func (c *Calls) GRPC(ctx context.Context, service, method string, err error, received, written int) {
	lane := string(laneOf(ctx))
	if method != "" {
		method = path.Base(method)
		if method == "Pull" && status.Code(err) == codes.DeadlineExceeded {
			err = nil // no message came for a while
		}
		c.calls.WithLabelValues(service, label(methods, method), label(grpcCodes, status.Code(err).String()), lane).Inc()
	}
	if service != "firestore" {
		return
	}
	if received == 0 && method == "RunQuery" && err == nil {
		received = 1
	}
	if received > 0 {
		c.documents.WithLabelValues("read", lane).Add(float64(received))
	}
	if written > 0 {
		c.documents.WithLabelValues("written", lane).Add(float64(written))
	}
}

// HTTP notes a request by the status of its answer, 0 without one.
func (c *Calls) HTTP(ctx context.Context, service, method string, answer int) {
	code := "none"
	if answer >= 100 && answer < 600 {
		code = strconv.Itoa(answer/100) + "xx"
	}
	c.calls.WithLabelValues(service, label(methods, method), code, string(laneOf(ctx))).Inc()
}
