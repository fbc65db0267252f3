package firestoreserver

import (
	"cmp"
	"context"
	"errors"
	"io"
	"maps"
	"math"
	"slices"
	"time"

	"google.golang.org/grpc/status"

	"cloud.google.com/go/firestore/apiv1/firestorepb"

	"exportd/internal/localcloud/firestoreserver/fsstore"
)

const (
	// idleTick keeps resume tokens of quiet listeners inside the retention.
	idleTick = 30 * time.Second
	// maxTargets per stream, as in production.
	maxTargets = 1000
)

// listener is one Listen stream. Only its own goroutine touches it.
type listener struct {
	s       *Server
	stream  firestorepb.Firestore_ListenServer
	sub     *subscriber
	db      database
	targets map[int32]*target
	nextID  int32
	sent    int64 // instant up to which everything was sent
}

// Listen implements the RPC.
func (s *Server) Listen(stream firestorepb.Firestore_ListenServer) error {
	l := &listener{s: s, stream: stream, sub: s.hub.subscribe(), targets: map[int32]*target{}}
	defer s.hub.unsubscribe(l.sub)
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	requests, ended := receive(ctx, stream.Recv)
	tick := time.NewTicker(idleTick)
	defer tick.Stop()
	for {
		var err error
		select {
		case req := <-requests:
			err = l.request(req)
		case err := <-ended:
			if errors.Is(err, io.EOF) {
				return nil // the client has half-closed and waits for the end
			}
			return err
		case <-l.sub.wake:
			err = l.catchUp(math.MaxInt64)
		case <-tick.C:
			err = l.idle()
		case <-s.ctx.Done():
			return errClosing
		}
		if err != nil {
			return s.answer(err)
		}
	}
}

// receive reads requests in a goroutine of its own, which ends with the stream.
func receive[T any](ctx context.Context, next func() (T, error)) (<-chan T, <-chan error) {
	requests := make(chan T)
	ended := make(chan error, 1)
	go func() {
		for {
			req, err := next()
			if err != nil {
				ended <- err
				return
			}
			select {
			case requests <- req:
			case <-ctx.Done():
				return
			}
		}
	}()
	return requests, ended
}

func (l *listener) request(req *firestorepb.ListenRequest) error {
	db, err := l.s.database(req.GetDatabase())
	if err != nil {
		return err
	}
	if l.db.id != 0 && l.db.id != db.id {
		return invalid("All requests of a stream must name the same database.")
	}
	l.db = db
	switch c := req.GetTargetChange().(type) {
	case *firestorepb.ListenRequest_AddTarget:
		return l.add(c.AddTarget)
	case *firestorepb.ListenRequest_RemoveTarget:
		delete(l.targets, c.RemoveTarget)
		return l.change(&firestorepb.TargetChange{TargetChangeType: firestorepb.TargetChange_REMOVE, TargetIds: []int32{c.RemoveTarget}})
	}
	return invalid("A listen request must add or remove a target.")
}

// add brings a new target up to date and tells the client so.
func (l *listener) add(req *firestorepb.Target) (err error) {
	id := req.GetTargetId()
	if id == 0 {
		l.nextID++
		for l.targets[l.nextID] != nil {
			l.nextID++
		}
		id = l.nextID
	}
	if l.targets[id] != nil {
		return invalid("Target id %d is in use already.", id)
	}
	if len(l.targets) >= maxTargets {
		return invalid("Too many targets on one stream.")
	}
	t, err := l.s.newTarget(l.db, id, req)
	if err != nil {
		return l.refuse(id, err)
	}
	view, err := l.s.store.Strong()
	if err != nil {
		return err
	}
	r := &reading{view: view}
	defer r.close(&err)
	if err := l.catchUp(view.Instant()); err != nil {
		return err
	}
	if err := l.change(&firestorepb.TargetChange{TargetChangeType: firestorepb.TargetChange_ADD, TargetIds: []int32{id}}); err != nil {
		return err
	}
	if err := l.initial(t, view, req); err != nil {
		if isTransport(err) {
			return err
		}
		return l.refuse(id, err)
	}
	l.targets[id] = t
	current := &firestorepb.TargetChange{
		TargetChangeType: firestorepb.TargetChange_CURRENT, TargetIds: []int32{id},
		ReadTime: timestamp(view.Instant()), ResumeToken: resumeToken(view.Instant(), t.hash),
	}
	if err := l.change(current); err != nil {
		return err
	}
	if err := l.noChange(view.Instant()); err != nil || !req.GetOnce() {
		return err
	}
	delete(l.targets, id)
	return l.change(&firestorepb.TargetChange{TargetChangeType: firestorepb.TargetChange_REMOVE, TargetIds: []int32{id}})
}

// refuse ends one target with a cause; the stream lives on.
func (l *listener) refuse(id int32, err error) error {
	return l.change(&firestorepb.TargetChange{
		TargetChangeType: firestorepb.TargetChange_REMOVE, TargetIds: []int32{id},
		Cause: status.Convert(l.s.answer(err)).Proto(),
	})
}

// initial sends what the client lacks: everything, or with an honoured resume token the difference to what it
// had then.
func (l *listener) initial(t *target, view *fsstore.View, req *firestorepb.Target) error {
	now, err := t.state(view)
	if err != nil {
		return err
	}
	known, resumed, err := l.before(t, req)
	if err != nil {
		return err
	}
	if !resumed && req.GetResumeType() != nil {
		// The client holds documents that this server cannot compare with.
		reset := &firestorepb.TargetChange{TargetChangeType: firestorepb.TargetChange_RESET, TargetIds: []int32{t.id}}
		if err := l.change(reset); err != nil {
			return err
		}
	}
	if _, err := l.difference(t, known, now, view); err != nil {
		return err
	}
	for _, p := range t.docs {
		if _, ok := t.held[p]; !ok && !resumed {
			if err := l.deleted(t, p, view.Instant()); err != nil {
				return err
			}
		}
	}
	if !resumed {
		return nil
	}
	return l.send(&firestorepb.ListenResponse{ResponseType: &firestorepb.ListenResponse_Filter{
		Filter: &firestorepb.ExistenceFilter{TargetId: t.id, Count: int32(len(now))},
	}})
}

// before returns what the client held at its resume point.
func (l *listener) before(t *target, req *firestorepb.Target) (held, bool, error) {
	var at int64
	switch c := req.GetResumeType().(type) {
	case *firestorepb.Target_ResumeToken:
		var ok bool
		if at, ok = parseResumeToken(c.ResumeToken, t.hash); !ok {
			return nil, false, nil
		}
	case *firestorepb.Target_ReadTime:
		at = micros(c.ReadTime)
	default:
		return nil, false, nil
	}
	view, err := l.s.store.At(at)
	if errors.Is(err, fsstore.ErrTooOld) || errors.Is(err, fsstore.ErrFuture) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	r := &reading{view: view}
	docs, err := t.state(view)
	r.close(&err)
	return updates(docs), true, err
}

// inOrder are the targets by their ids.
func (l *listener) inOrder() []*target {
	return slices.SortedFunc(maps.Values(l.targets), func(a, b *target) int { return cmp.Compare(a.id, b.id) })
}

// catchUp sends the commits up to an instant that are not sent yet, each with its own end mark so that every
// commit is a snapshot of its own.
func (l *listener) catchUp(upTo int64) error {
	changes, lost := l.sub.take(upTo)
	if lost {
		return l.resync()
	}
	targets := l.inOrder()
	for _, c := range changes {
		if c.DB != l.db.id || c.Instant <= l.sent {
			continue
		}
		touched := false
		for _, t := range targets {
			if c.Instant <= t.at {
				continue
			}
			did, err := l.apply(t, c)
			if err != nil {
				return err
			}
			touched = touched || did
		}
		if touched {
			if err := l.noChange(c.Instant); err != nil {
				return err
			}
		}
	}
	return nil
}

// resync replaces a backlog that grew too long by comparing states.
func (l *listener) resync() (err error) {
	l.sub.clear()
	view, err := l.s.store.Strong()
	if err != nil {
		return err
	}
	r := &reading{view: view}
	defer r.close(&err)
	for _, t := range l.inOrder() {
		if err := l.compare(t, view); err != nil {
			return err
		}
	}
	return l.noChange(view.Instant())
}

// compare sends the difference between what the client holds and the view.
func (l *listener) compare(t *target, view *fsstore.View) error {
	now, err := t.state(view)
	if err != nil {
		return err
	}
	_, err = l.difference(t, t.held, now, view)
	return err
}

// idle gives the client a fresh resume token.
func (l *listener) idle() error {
	if len(l.targets) == 0 {
		return nil
	}
	now, err := l.s.store.Now()
	if err != nil {
		return err
	}
	if err := l.catchUp(now); err != nil {
		return err
	}
	return l.noChange(now)
}

func (l *listener) change(c *firestorepb.TargetChange) error {
	return l.send(&firestorepb.ListenResponse{ResponseType: &firestorepb.ListenResponse_TargetChange{TargetChange: c}})
}

// noChange is the mark that makes clients emit a snapshot: everything up to at was sent.
func (l *listener) noChange(at int64) error {
	l.sent = max(l.sent, at)
	var hash uint64 // 0 fits any target
	if len(l.targets) == 1 {
		for _, t := range l.targets {
			hash = t.hash
		}
	}
	return l.change(&firestorepb.TargetChange{ReadTime: timestamp(at), ResumeToken: resumeToken(at, hash)})
}

// transportError marks errors of the stream itself, which end it.
type transportError struct{ error }

func (e transportError) Unwrap() error { return e.error }

func isTransport(err error) bool {
	var t transportError
	return errors.As(err, &t)
}

func (l *listener) send(m *firestorepb.ListenResponse) error {
	if err := l.stream.Send(m); err != nil {
		return transportError{err}
	}
	return nil
}
