package simulate

import (
	"context"
	"slices"

	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"exportd/internal/localcloud/firestoreserver/fsquery"
	"exportd/internal/localcloud/firestoreserver/fsvalue"
)

// listening is a Listen stream with one query: what matches now, and each change of that.
type listening struct {
	*process
	ctx   context.Context
	query *fsquery.Query
	id    int32
	queue []*firestorepb.ListenResponse // not sent yet; of the goroutine that receives
	wake  chan struct{}

	changes []*firestorepb.ListenResponse // under the database's lock
}

func (l *listening) Header() (metadata.MD, error) { return nil, nil }
func (l *listening) Trailer() metadata.MD         { return nil }
func (l *listening) CloseSend() error             { return nil }
func (l *listening) Context() context.Context     { return l.ctx }

// SendMsg takes the target. A stream here has one, as those of Google's client have.
func (l *listening) SendMsg(m any) error {
	add := m.(*firestorepb.ListenRequest).GetAddTarget()
	if add.GetQuery() == nil || l.query != nil {
		return status.Error(codes.Unimplemented, "the simulated Firestore listens to one query a stream")
	}
	parent, err := fsvalue.ParseParent(add.GetQuery().GetParent())
	if err != nil {
		return err
	}
	l.query, err = fsquery.Parse(parent, proto.CloneOf(add.GetQuery().GetStructuredQuery()))
	l.id = add.GetTargetId()
	if err != nil {
		return err
	}
	return l.ask(l.ctx, firestoreQuery, 0, func() error {
		docs, err := l.db.listen(l)
		if err != nil {
			return err
		}
		l.count.read(l.name, max(1, len(docs)))
		l.queue = append(l.queue, l.target(firestorepb.TargetChange_ADD))
		for _, doc := range docs {
			l.queue = append(l.queue, l.changed(doc))
		}
		l.queue = append(l.queue, l.target(firestorepb.TargetChange_CURRENT), upToDate())
		return nil
	}, "listen", l.query.CollectionID)
}

func (l *listening) target(t firestorepb.TargetChange_TargetChangeType) *firestorepb.ListenResponse {
	return &firestorepb.ListenResponse{ResponseType: &firestorepb.ListenResponse_TargetChange{TargetChange: &firestorepb.TargetChange{
		TargetChangeType: t, TargetIds: []int32{l.id}, ReadTime: timestamppb.Now(), ResumeToken: []byte("none"),
	}}}
}

func (l *listening) changed(doc *document) *firestorepb.ListenResponse {
	return &firestorepb.ListenResponse{ResponseType: &firestorepb.ListenResponse_DocumentChange{
		DocumentChange: &firestorepb.DocumentChange{Document: doc.message(), TargetIds: []int32{l.id}},
	}}
}

// upToDate says that what came until now is the result as it was at a time.
func upToDate() *firestorepb.ListenResponse {
	return &firestorepb.ListenResponse{ResponseType: &firestorepb.ListenResponse_TargetChange{TargetChange: &firestorepb.TargetChange{ReadTime: timestamppb.Now()}}}
}

// RecvMsg waits for what has changed.
func (l *listening) RecvMsg(m any) error {
	for len(l.queue) == 0 {
		select {
		case <-l.ctx.Done():
			l.db.forget(l)
			return status.FromContextError(l.ctx.Err()).Err()
		case <-l.dead:
			l.db.forget(l)
			return l.alive()
		case <-l.wake:
		}
		err := l.take(l.ctx, firestoreRead, 0, func() error {
			l.queue = l.db.changes(l)
			return nil
		}, "heard", l.query.CollectionID)
		if err != nil {
			l.db.forget(l)
			return status.FromContextError(err).Err()
		}
		if n := len(l.queue); n > 0 {
			l.count.read(l.name, n)
			l.queue = append(l.queue, upToDate())
		}
	}
	m.(*firestorepb.ListenResponse).ResponseType = l.queue[0].ResponseType
	l.queue = l.queue[1:]
	return nil
}

// listen gives what a listener's query matches and tells it of each change from then on.
func (d *documents) listen(l *listening) ([]*document, error) {
	if _, err := d.config.Plan(l.query, nil); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.listeners = append(d.listeners, l)
	return d.find(l.query), nil
}

func (d *documents) forget(l *listening) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.listeners = slices.DeleteFunc(d.listeners, func(o *listening) bool { return o == l })
}

// changes gives what a listener has not heard yet.
func (d *documents) changes(l *listening) []*firestorepb.ListenResponse {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := l.changes
	l.changes = nil
	return out
}

// tell has the listeners hear of a write. It is called under the lock.
func (d *documents) tell(before, after *document) {
	matches := func(l *listening, doc *document) bool {
		return doc != nil && l.query.Match(fsquery.Row{Name: doc.path, Fields: doc.fields})
	}
	for _, l := range d.listeners {
		switch {
		case matches(l, after):
			l.changes = append(l.changes, l.changed(after))
		case matches(l, before):
			l.changes = append(l.changes, &firestorepb.ListenResponse{ResponseType: &firestorepb.ListenResponse_DocumentDelete{
				DocumentDelete: &firestorepb.DocumentDelete{Document: before.path.String(), RemovedTargetIds: []int32{l.id}},
			}})
		default:
			continue
		}
		select {
		case l.wake <- struct{}{}:
		default: // it is awake already
		}
	}
}
