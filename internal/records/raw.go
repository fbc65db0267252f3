package records

import (
	"context"
	"fmt"

	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // the codec that requests are written with
	"google.golang.org/grpc/mem"
)

// frame receives the bytes of one response. Whoever has it frees buf.
type frame struct{ buf mem.Buffer }

// rawCodec writes requests as protobuf and hands out responses as they came.
type rawCodec struct{ encoding.CodecV2 }

func newRawCodec() rawCodec { return rawCodec{encoding.GetCodecV2("proto")} }

// Unmarshal gives v, a *frame, the bytes of a response. They are copied only where they arrived in several
// pieces, then to a pooled buffer.
func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	f, ok := v.(*frame)
	if !ok {
		return fmt.Errorf("raw codec cannot read into %T", v)
	}
	f.buf = data.MaterializeToBuffer(mem.DefaultBufferPool())
	return nil
}

var runQueryDesc = &grpc.StreamDesc{StreamName: "RunQuery", ServerStreams: true}

// runQuery starts a query whose responses are received as frames. The stream must be read to its end, or ctx
// cancelled.
func (r *Reader) runQuery(ctx context.Context, req *firestorepb.RunQueryRequest) (grpc.ClientStream, error) {
	stream, err := r.pool.NewStream(r.outgoing(ctx), runQueryDesc, firestorepb.Firestore_RunQuery_FullMethodName,
		grpc.ForceCodecV2(newRawCodec()))
	if err != nil {
		return nil, err
	}
	// An error of SendMsg is io.EOF where the stream has ended: RecvMsg has the reason.
	if err := stream.SendMsg(req); err == nil {
		_ = stream.CloseSend()
	}
	return stream, nil
}
