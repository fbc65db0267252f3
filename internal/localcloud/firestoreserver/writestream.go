package firestoreserver

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"

	"cloud.google.com/go/firestore/apiv1/firestorepb"
)

// writeStream is one Write stream. Only its own goroutine touches it.
type writeStream struct {
	s     *Server
	db    database
	id    []byte
	acked uint64 // the client has answers up to this one
	sent  uint64 // answers
}

// Write implements the RPC, by which Firebase's clients write: commits one after the other, each answered.
// One that fails ends the stream. No stream is resumed: a client begins another one, and sends again what it
// has no answer for.
func (s *Server) Write(stream firestorepb.Firestore_WriteServer) error {
	w := &writeStream{s: s}
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	requests, ended := receive(ctx, stream.Recv)
	for {
		select {
		case req := <-requests:
			resp, err := w.request(ctx, req)
			if err == nil {
				err = stream.Send(resp)
			}
			if err != nil {
				return err
			}
		case err := <-ended:
			if errors.Is(err, io.EOF) {
				return nil // the client has half-closed and waits for the end
			}
			return err
		case <-s.ctx.Done():
			return errClosing
		}
	}
}

func (w *writeStream) request(ctx context.Context, req *firestorepb.WriteRequest) (*firestorepb.WriteResponse, error) {
	if w.id == nil {
		return w.begin(req)
	}
	if name := req.GetDatabase(); name != "" && name != w.db.name.String() {
		return nil, invalid("All requests of a stream must name the same database.")
	}
	if err := w.acknowledge(req.GetStreamToken()); err != nil {
		return nil, err
	}
	done, err := w.s.commit(ctx, w.db, req.GetWrites(), nil)
	if err != nil {
		return nil, err
	}
	w.sent++
	return &firestorepb.WriteResponse{StreamToken: w.token(), WriteResults: done.GetWriteResults(), CommitTime: done.GetCommitTime()}, nil
}

// begin answers the first request, which has no writes.
func (w *writeStream) begin(req *firestorepb.WriteRequest) (*firestorepb.WriteResponse, error) {
	db, err := w.s.database(req.GetDatabase())
	if err != nil {
		return nil, err
	}
	if len(req.GetWrites()) > 0 || len(req.GetStreamToken()) > 0 {
		return nil, invalid("The first request of a write stream must have neither writes nor a stream token.")
	}
	w.db, w.id = db, make([]byte, 8)
	_, _ = rand.Read(w.id) // never fails
	return &firestorepb.WriteResponse{StreamId: hex.EncodeToString(w.id), StreamToken: w.token()}, nil
}

func (w *writeStream) token() []byte { return binary.BigEndian.AppendUint64(w.id[:8:8], w.sent) }

// acknowledge takes the token of an answer that the client has; those before it are not taken again.
func (w *writeStream) acknowledge(token []byte) error {
	if len(token) == 0 {
		return nil
	}
	if len(token) != 16 || string(token[:8]) != string(w.id) {
		return invalid("The stream token is none of this stream.")
	}
	n := binary.BigEndian.Uint64(token[8:])
	if n < w.acked || n > w.sent {
		return invalid("The stream token is out of order.")
	}
	w.acked = n
	return nil
}
