package docwatch

import (
	"context"
	"errors"
	"io"
	"net/url"
	"time"

	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"exportd/internal/backoff"
	"exportd/internal/connection"
	"exportd/internal/panics"
)

// stream is a Listen stream, opened again as often as it breaks. The watcher's mutex guards its fields.
type stream struct {
	w       *Watcher
	line    *line
	targets map[int32]*target // what is wanted
	sent    map[int32]bool    // what the server knows of
	lastID  int32             // ids are not used again, so that late messages find nothing
	changed chan struct{}     // holds a token when wanted and sent may differ
}

func (s *stream) add(t *target) {
	s.lastID++
	t.id, t.stream = s.lastID, s
	t.seen, t.current = false, false
	s.targets[t.id] = t
	s.note()
}

func (s *stream) remove(t *target) {
	delete(s.targets, t.id)
	s.note()
}

func (s *stream) note() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// run keeps the stream until it has had no targets for a while, or the watcher closes.
func (s *stream) run() {
	pauses := backoff.Doubling(s.w.cfg.Backoff, maxBackoff)
	for {
		heard := false
		err := panics.Do(func() (err error) { heard, err = s.once(); return err })
		s.w.cfg.Panics.Tell(panics.Documents, err) // as the pauses grow, a message that comes again makes no load
		switch {
		case s.w.ctx.Err() != nil, errors.Is(err, errIdle), s.retire():
			return
		case heard:
			pauses.Reset()
		}
		s.lost(err)
		if pauses.Wait(s.w.ctx) != nil {
			return
		}
	}
}

// errIdle ends a stream that nobody needs any more.
var errIdle = errors.New("idle")

// lost begins anew with all targets, or fails them if the server refuses for good.
func (s *stream) lost(err error) {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	clear(s.sent)
	for _, t := range s.targets {
		if permanent(err) {
			s.drop(t, err)
			continue
		}
		t.seen, t.current = false, false
	}
	s.note()
}

// drop fails a target's users and forgets it: whoever watches the document next begins anew.
func (s *stream) drop(t *target, err error) {
	delete(s.targets, t.id)
	delete(s.w.targets, t.name)
	t.fail(err)
}

// permanent tells errors that the next try would meet, too.
func permanent(err error) bool {
	switch status.Code(err) {
	case codes.InvalidArgument, codes.NotFound, codes.PermissionDenied, codes.FailedPrecondition, codes.Unimplemented:
		return true
	}
	return false
}

// once opens the stream and serves it until it breaks. heard: the server has sent something.
func (s *stream) once() (heard bool, err error) {
	// Each of these ends the stream by its cause.
	ctx, cancel := context.WithCancelCause(s.w.ctx)
	defer cancel(nil)
	quiet := time.AfterFunc(s.w.cfg.Quiet, func() { cancel(connection.ErrSilent) })
	defer quiet.Stop()
	listen, err := firestorepb.NewFirestoreClient(s.line.conn).Listen(s.outgoing(ctx))
	if err != nil {
		return false, err
	}
	messages := make(chan *firestorepb.ListenResponse)
	broken := make(chan error, 1)
	s.w.wg.Go(func() {
		broken <- panics.Do(func() error {
			for {
				m, err := listen.Recv()
				if err != nil {
					return err
				}
				select {
				case messages <- m:
				case <-ctx.Done():
					return context.Cause(ctx)
				}
			}
		})
	})
	idle := time.NewTimer(s.w.cfg.Idle)
	defer idle.Stop()
	answer := time.NewTimer(s.w.cfg.Answer)
	answer.Stop()
	defer answer.Stop()
	for {
		select {
		case <-s.changed:
			if err := s.send(listen); err != nil {
				cancel(err)
				return heard, <-broken // the reason, where Send gives io.EOF
			}
			idle.Reset(s.w.cfg.Idle)
			if s.waiting() {
				answer.Reset(s.w.cfg.Answer)
			}
		case m := <-messages:
			heard = true
			quiet.Reset(s.w.cfg.Quiet)
			s.receive(m)
			if !s.waiting() {
				answer.Stop()
			}
		case <-answer.C:
			cancel(connection.ErrSilent)
			return heard, <-broken
		case <-idle.C:
			if s.retire() {
				return heard, errIdle
			}
			idle.Reset(s.w.cfg.Idle)
		case err := <-broken:
			if errors.Is(err, io.EOF) {
				err = status.Error(codes.Unavailable, "the server ended the stream")
			}
			return heard, err
		}
	}
}

// outgoing adds the headers of the official client; production routes by them.
func (s *stream) outgoing(ctx context.Context) context.Context {
	db := s.w.cfg.Database
	return metadata.AppendToOutgoingContext(ctx, "google-cloud-resource-prefix", db, "x-goog-request-params", "database="+url.QueryEscape(db))
}

// send tells the server what is wanted and no longer wanted.
func (s *stream) send(listen firestorepb.Firestore_ListenClient) error {
	for _, req := range s.requests() {
		if err := listen.Send(req); err != nil {
			return err
		}
	}
	return nil
}

func (s *stream) requests() (reqs []*firestorepb.ListenRequest) {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	for id := range s.sent {
		if s.targets[id] == nil {
			delete(s.sent, id)
			reqs = append(reqs, &firestorepb.ListenRequest{Database: s.w.cfg.Database, TargetChange: &firestorepb.ListenRequest_RemoveTarget{RemoveTarget: id}})
		}
	}
	for id, t := range s.targets {
		if !s.sent[id] {
			s.sent[id] = true
			reqs = append(reqs, &firestorepb.ListenRequest{Database: s.w.cfg.Database, TargetChange: &firestorepb.ListenRequest_AddTarget{AddTarget: &firestorepb.Target{
				TargetId:   id,
				TargetType: &firestorepb.Target_Documents{Documents: &firestorepb.Target_DocumentsTarget{Documents: []string{t.name}}},
			}}})
		}
	}
	return reqs
}

// waiting tells whether a target has had no answer yet.
func (s *stream) waiting() bool {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	for _, t := range s.targets {
		if !t.current {
			return true
		}
	}
	return false
}

// retire takes a stream without targets off its connection.
func (s *stream) retire() bool {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	if len(s.targets) > 0 {
		return false
	}
	delete(s.line.streams, s)
	return true
}

// receive takes one message.
func (s *stream) receive(m *firestorepb.ListenResponse) {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	switch r := m.GetResponseType().(type) {
	case *firestorepb.ListenResponse_DocumentChange:
		for _, id := range r.DocumentChange.GetRemovedTargetIds() {
			s.tell(id, nil)
		}
		for _, id := range r.DocumentChange.GetTargetIds() {
			s.tell(id, r.DocumentChange.GetDocument())
		}
	case *firestorepb.ListenResponse_DocumentDelete:
		for _, id := range r.DocumentDelete.GetRemovedTargetIds() {
			s.tell(id, nil)
		}
	case *firestorepb.ListenResponse_DocumentRemove:
		for _, id := range r.DocumentRemove.GetRemovedTargetIds() {
			s.tell(id, nil)
		}
	case *firestorepb.ListenResponse_Filter:
		t := s.targets[r.Filter.GetTargetId()]
		if t != nil && t.seen && (r.Filter.GetCount() > 0) != (t.doc != nil) {
			s.again(t) // a message has been lost
		}
	case *firestorepb.ListenResponse_TargetChange:
		s.change(r.TargetChange)
	}
}

func (s *stream) tell(id int32, doc *firestorepb.Document) {
	if t := s.targets[id]; t != nil {
		t.set(doc)
	}
}

// again asks for a target anew, under another id.
func (s *stream) again(t *target) {
	delete(s.targets, t.id)
	s.add(t)
}

func (s *stream) change(c *firestorepb.TargetChange) {
	ids := c.GetTargetIds()
	if len(ids) == 0 { // all of them
		for id := range s.sent {
			ids = append(ids, id)
		}
	}
	for _, id := range ids {
		t := s.targets[id]
		if t == nil {
			continue
		}
		switch c.GetTargetChangeType() {
		case firestorepb.TargetChange_CURRENT:
			t.current = true
			if !t.seen {
				t.set(nil) // everything has been sent, and there was nothing
			}
		case firestorepb.TargetChange_RESET:
			t.seen, t.current = false, false // what there is comes again
		case firestorepb.TargetChange_REMOVE:
			delete(s.sent, id) // the server has
			err := status.ErrorProto(c.GetCause())
			if permanent(err) {
				s.drop(t, err)
				continue
			}
			time.AfterFunc(s.w.cfg.Backoff, func() {
				s.w.cfg.Panics.Run(panics.Documents, func() {
					s.w.mu.Lock()
					defer s.w.mu.Unlock()
					if s.targets[t.id] == t {
						s.again(t)
					}
				})
			})
		}
	}
}
