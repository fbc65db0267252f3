package jobqueue

import (
	"context"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// wholeAnswers fails a publish whose answer does not name each message, as one that was damaged on the way:
// the client takes an id for each without looking, and ends the process from a goroutine of its own
// (cloud.google.com/go/pubsub/v2 v2.8.1, publishMessageBundle). DataLoss is a code that the client does not
// send again at; the rescuer notifies.
func wholeAnswers(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	err := invoke(ctx, method, req, reply, cc, opts...)
	asked, ok := req.(*pubsubpb.PublishRequest)
	if answer, both := reply.(*pubsubpb.PublishResponse); err == nil && ok && both && len(answer.GetMessageIds()) < len(asked.GetMessages()) {
		return status.Errorf(codes.DataLoss, "the answer names %d of %d messages", len(answer.GetMessageIds()), len(asked.GetMessages()))
	}
	return err
}
