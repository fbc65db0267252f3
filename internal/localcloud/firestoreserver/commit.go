package firestoreserver

import (
	"context"

	"google.golang.org/genproto/googleapis/rpc/code"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"cloud.google.com/go/firestore/apiv1/firestorepb"

	"exportd/internal/localcloud/firestoreserver/fsstore"
	"exportd/internal/localcloud/firestoreserver/fsvalue"
)

// Commit implements the RPC: all writes at one instant, or none.
func (s *Server) Commit(ctx context.Context, req *firestorepb.CommitRequest) (*firestorepb.CommitResponse, error) {
	db, err := s.database(req.GetDatabase())
	if err != nil {
		return nil, err
	}
	if len(req.GetTransaction()) == 0 {
		return s.commit(ctx, db, req.GetWrites(), nil)
	}
	return s.commitTransaction(ctx, db, req)
}

// commit applies the writes atomically. t, if any, must still be valid at the instant of the commit.
func (s *Server) commit(ctx context.Context, db database, list []*firestorepb.Write, t *transaction) (*firestorepb.CommitResponse, error) {
	writes, err := s.parseWrites(db, list)
	if err != nil {
		return nil, err
	}
	if len(writes) == 0 {
		// Nothing to protect: what a transaction read was one snapshot.
		now, err := s.store.Now()
		return &firestorepb.CommitResponse{CommitTime: timestamp(now)}, s.answer(err)
	}
	s.turns.wait(ctx, t, db.id, writes)
	c := &fsstore.Commit{DB: db.id}
	for _, w := range writes {
		c.Docs = append(c.Docs, w.path)
	}
	if t != nil {
		c.Docs = t.names(c.Docs)
		c.Alone = t.hasQueries()
	}
	resp := &firestorepb.CommitResponse{}
	c.Run = func(a *fsstore.Applier) error {
		if t != nil {
			if err := s.validate(t, a); err != nil {
				return err
			}
		}
		for _, w := range writes {
			res, err := w.apply(a)
			if err != nil {
				return err
			}
			resp.WriteResults = append(resp.WriteResults, res)
		}
		return nil
	}
	at, err := s.store.Apply(ctx, c)
	if err != nil {
		return nil, s.answer(err)
	}
	resp.CommitTime = timestamp(at)
	return resp, nil
}

func (s *Server) parseWrites(db database, list []*firestorepb.Write) ([]*write, error) {
	writes := make([]*write, 0, len(list))
	transforms := map[fsvalue.Path]int{}
	size := 0
	for _, w := range list {
		parsed, err := s.parseWrite(db, w)
		if err != nil {
			return nil, err
		}
		if size += parsed.size(w); size > maxRequestBytes {
			return nil, errTooLarge
		}
		if n := len(parsed.transforms); n > 0 {
			transforms[parsed.path] += n
			if transforms[parsed.path] > maxTransforms {
				return nil, invalid("cannot have more than %d field transforms on a single document", maxTransforms)
			}
		}
		writes = append(writes, parsed)
	}
	return writes, nil
}

// size returns about how much of a request the write takes. What is encoded already need not be measured
// again, which is a tenth of a bulk load's work.
func (w *write) size(req *firestorepb.Write) int {
	if w.prepared != nil {
		return w.prepared.Size() + len(req.GetUpdate().GetName())
	}
	return proto.Size(req)
}

// BatchWrite implements the RPC: every write stands for itself, but all that succeed share one instant and
// one disk sync.
func (s *Server) BatchWrite(ctx context.Context, req *firestorepb.BatchWriteRequest) (*firestorepb.BatchWriteResponse, error) {
	if proto.Size(req) > maxRequestBytes {
		return nil, errTooLarge
	}
	db, err := s.database(req.GetDatabase())
	if err != nil {
		return nil, err
	}
	n := len(req.GetWrites())
	resp := &firestorepb.BatchWriteResponse{
		WriteResults: make([]*firestorepb.WriteResult, n),
		Status:       make([]*spb.Status, n),
	}
	writes := make([]*write, n)
	failed := make([]error, n)
	c := &fsstore.Commit{DB: db.id}
	seen := map[fsvalue.Path]bool{}
	for i, w := range req.GetWrites() {
		if writes[i], failed[i] = s.parseWrite(db, w); failed[i] != nil {
			continue
		}
		p := writes[i].path
		if seen[p] {
			return nil, invalid("Document %q is written more than once in the request.", p)
		}
		seen[p] = true
		c.Docs = append(c.Docs, p)
	}
	c.Run = func(a *fsstore.Applier) error {
		for i, w := range writes {
			if failed[i] != nil {
				continue
			}
			// A write that fails has not touched the applier.
			resp.WriteResults[i], failed[i] = w.apply(a)
		}
		return nil
	}
	if _, err := s.store.Apply(ctx, c); err != nil {
		return nil, s.answer(err)
	}
	for i := range failed {
		if failed[i] == nil {
			resp.Status[i] = &spb.Status{Code: int32(code.Code_OK)}
			continue
		}
		resp.WriteResults[i] = &firestorepb.WriteResult{}
		resp.Status[i] = status.Convert(s.answer(failed[i])).Proto()
	}
	return resp, nil
}

// commitTransaction ends the transaction whatever comes out, and answers the repetition of a commit whose
// answer was lost with the first answer.
func (s *Server) commitTransaction(ctx context.Context, db database, req *firestorepb.CommitRequest) (*firestorepb.CommitResponse, error) {
	t, earlier, err := s.txns.finish(req.GetTransaction(), db.id)
	if err != nil || earlier != nil {
		return earlier, err
	}
	defer s.turns.release(t)
	if t.readOnly && len(req.GetWrites()) > 0 {
		return nil, errReadOnlyTxn
	}
	resp, err := s.commit(ctx, db, req.GetWrites(), t)
	if err == nil {
		s.txns.remember(t, resp)
	}
	return resp, err
}
