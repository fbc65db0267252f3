package docwatch_test

import (
	"context"
	"sync/atomic"
	"testing"

	"go.uber.org/zap"
	"google.golang.org/grpc"

	"exportd/internal/docwatch"
	"exportd/internal/panics"
)

// minedConnection has streams that panic once, as they send or as they receive.
type minedConnection struct {
	docwatch.Connection
	send, receive *atomic.Bool
}

func (c minedConnection) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	s, err := c.Connection.NewStream(ctx, desc, method, opts...)
	return minedStream{s, c.send, c.receive}, err
}

type minedStream struct {
	grpc.ClientStream
	send, receive *atomic.Bool
}

func (s minedStream) SendMsg(m any) error {
	if s.send.Swap(false) {
		panic("stepped on a mine")
	}
	return s.ClientStream.SendMsg(m)
}

func (s minedStream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	if err == nil && s.receive.Swap(false) {
		panic("stepped on a mine")
	}
	return err
}

// TestPanicInAStream: a panic as a stream sends or receives ends that stream and no process: what is watched
// is asked for again.
func TestPanicInAStream(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"send", "receive"} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			var send, receive atomic.Bool
			w, s := play(t, func(c *docwatch.Config) {
				c.Panics = panics.NewReporter(zap.NewNop())
				dial := c.Dial
				c.Dial = func(ctx context.Context) (docwatch.Connection, error) {
					conn, err := dial(ctx)
					return minedConnection{conn, &send, &receive}, err
				}
			})
			send.Store(at == "send")
			receive.Store(at == "receive")
			told, done := watching(t, w)
			p := <-s.streams
			if at == "receive" {
				p.doc(p.added(t), 3)
				p = <-s.streams
			} else {
				p = <-s.streams // the first broke before it asked for anything
			}
			p.doc(p.added(t), 9)
			if n := <-told; n != 9 {
				t.Errorf("told %d, want 9", n)
			}
			if err := <-done; err != nil {
				t.Errorf("Watch = %v", err)
			}
		})
	}
}
