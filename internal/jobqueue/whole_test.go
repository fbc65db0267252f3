package jobqueue_test

import (
	"context"
	"errors"
	"net"
	"testing"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/grpc"

	"exportd/internal/jobqueue"
	"exportd/jobs"
)

// forgetful answers a publish without the ids of what was published.
type forgetful struct {
	pubsubpb.UnimplementedPublisherServer
}

func (forgetful) Publish(context.Context, *pubsubpb.PublishRequest) (*pubsubpb.PublishResponse, error) {
	return &pubsubpb.PublishResponse{}, nil
}

// TestAnswerWithoutIDs: an answer that was damaged on the way is a message that may not have been sent, not
// the end of the process.
func TestAnswerWithoutIDs(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	pubsubpb.RegisterPublisherServer(s, forgetful{})
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Stop()
		<-served
	})
	q, err := jobqueue.Open(t.Context(), jobqueue.Config{ProjectID: "p", Emulator: l.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = q.Close() })
	if err := q.Publish(t.Context(), jobs.QueueExports, jobs.Message{JobID: jobs.NewID()}); !errors.Is(err, jobs.ErrUnavailable) {
		t.Errorf("Publish = %v, want ErrUnavailable", err)
	}
}
