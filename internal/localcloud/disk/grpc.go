package disk

import (
	"context"

	"google.golang.org/grpc"
)

// writes are the calls that need room. Not among them are acknowledgements and whatever only takes away or
// moves a deadline: they are small, and refusing them brings more deliveries.
var writes = map[string]bool{
	"/google.firestore.v1.Firestore/Commit":           true,
	"/google.firestore.v1.Firestore/BatchWrite":       true,
	"/google.firestore.v1.Firestore/Write":            true,
	"/google.firestore.v1.Firestore/CreateDocument":   true,
	"/google.firestore.v1.Firestore/UpdateDocument":   true,
	"/google.firestore.v1.Firestore/DeleteDocument":   true,
	"/google.pubsub.v1.Publisher/Publish":             true,
	"/google.pubsub.v1.Publisher/CreateTopic":         true,
	"/google.pubsub.v1.Publisher/UpdateTopic":         true,
	"/google.pubsub.v1.Subscriber/CreateSubscription": true,
	"/google.pubsub.v1.Subscriber/UpdateSubscription": true,
}

// Unary refuses writes while the disk is full.
func (g *Guard) Unary() grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		if writes[info.FullMethod] {
			if err := g.Check(); err != nil {
				return nil, err
			}
		}
		return next(ctx, req)
	}
}

// Stream refuses writes while the disk is full.
func (g *Guard) Stream() grpc.StreamServerInterceptor {
	return func(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
		if writes[info.FullMethod] {
			ss = &stream{ss, g}
		}
		return next(srv, ss)
	}
}

// stream looks before each request that it brings.
type stream struct {
	grpc.ServerStream
	guard *Guard
}

func (s *stream) RecvMsg(m any) error {
	if err := s.ServerStream.RecvMsg(m); err != nil {
		return err
	}
	return s.guard.Check()
}
