package main

import (
	"fmt"
	"net"
	"strings"

	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // the codec that is asked for by name
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

const replayDatabase = "projects/replay/databases/(default)"

// replay is a Firestore that does nothing but send prepared messages, newest first, from where a query's
// cursor says. It costs as little as a server can, so that what is measured is its client.
type replay struct {
	firestorepb.UnimplementedFirestoreServer
	frames []mem.Buffer   // RunQueryResponse, in the query's order
	places map[string]int // of a document's name
	addr   string
	server *grpc.Server
	done   chan error
}

// startReplay serves the first rows messages until close.
func startReplay(rows int) (*replay, error) {
	r := &replay{places: make(map[string]int, rows), done: make(chan error, 1)}
	for i := rows - 1; i >= 0; i-- {
		doc := document(replayDatabase, i)
		doc.CreateTime, doc.UpdateTime = timestamppb.New(epoch()), timestamppb.New(epoch())
		b, err := proto.MarshalOptions{Deterministic: true}.Marshal(&firestorepb.RunQueryResponse{Document: doc, ReadTime: timestamppb.New(epoch())})
		if err != nil {
			return nil, fmt.Errorf("prepare replay: %w", err)
		}
		r.places[doc.GetName()] = len(r.frames)
		r.frames = append(r.frames, mem.SliceBuffer(b))
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for replay: %w", err)
	}
	r.addr = l.Addr().String()
	r.server = grpc.NewServer(grpc.ForceServerCodecV2(replayCodec{encoding.GetCodecV2("proto")}))
	firestorepb.RegisterFirestoreServer(r.server, r)
	go func() { r.done <- r.server.Serve(l) }()
	return r, nil
}

func (r *replay) close() error {
	r.server.Stop()
	return <-r.done
}

// RunQuery sends the rows that a query of all messages asks for.
func (r *replay) RunQuery(req *firestorepb.RunQueryRequest, stream firestorepb.Firestore_RunQueryServer) error {
	q := req.GetStructuredQuery()
	from, to := 0, len(r.frames)
	if c := q.GetStartAt(); c != nil {
		name := c.GetValues()[len(c.GetValues())-1].GetReferenceValue()
		place, ok := r.places[name]
		if !ok || !strings.HasPrefix(name, replayDatabase) {
			return fmt.Errorf("cursor at %q is no message of the replay", name)
		}
		from = place
		if !c.GetBefore() {
			from++
		}
	}
	if q.GetLimit() != nil {
		to = min(to, from+int(q.GetLimit().GetValue()))
	}
	for _, f := range r.frames[from:to] {
		if err := stream.SendMsg(f); err != nil {
			return err
		}
	}
	return nil
}

// replayCodec sends buffers as they are.
type replayCodec struct{ encoding.CodecV2 }

// Marshal implements encoding.CodecV2.
func (c replayCodec) Marshal(v any) (mem.BufferSlice, error) {
	if b, ok := v.(mem.Buffer); ok {
		b.Ref()
		return mem.BufferSlice{b}, nil
	}
	return c.CodecV2.Marshal(v)
}
