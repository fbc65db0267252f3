package fields

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// Unary returns the interceptor for unary calls.
func (t Table) Unary(server string) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		if m, ok := req.(proto.Message); ok {
			if err := t.Check(m, server); err != nil {
				return nil, err
			}
		}
		return next(ctx, req)
	}
}

// Stream returns the interceptor for calls that stream requests, answers or both.
func (t Table) Stream(server string) grpc.StreamServerInterceptor {
	return func(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
		return next(srv, &checked{ss, t, server})
	}
}

type checked struct {
	grpc.ServerStream
	table  Table
	server string
}

func (c *checked) RecvMsg(m any) error {
	if err := c.ServerStream.RecvMsg(m); err != nil {
		return err
	}
	if m, ok := m.(proto.Message); ok {
		return c.table.Check(m, c.server)
	}
	return nil
}
