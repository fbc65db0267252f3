package firestoreserver

import (
	"context"
	"errors"
	"time"

	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"exportd/internal/localcloud/firestoreserver/fsquery"
	"exportd/internal/localcloud/firestoreserver/fsstore"
	"exportd/internal/localcloud/firestoreserver/fsvalue"
)

const (
	// ttlEvery is how often documents are looked for whose time is over. Production promises "typically
	// within 24 hours": whoever counts on more is found out here.
	ttlEvery = time.Hour
	// ttlBatch bounds the documents that one commit deletes.
	ttlBatch = 200
)

// expireForever deletes what the TTL policies say until Close.
func (s *Server) expireForever() {
	defer s.background.Done()
	tick := time.NewTicker(ttlEvery)
	defer tick.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-tick.C:
			if _, err := s.Expire(s.ctx); err != nil && s.ctx.Err() == nil {
				s.log.Error("delete expired documents", "error", err)
			}
		}
	}
}

// Expire deletes every document whose collection group has a TTL policy and whose field of that policy is a
// time that has passed, and says how many. As in production, a field that is missing or of another type keeps
// its document, what lies below a document stays, and those that are deleted are not deleted at one instant.
func (s *Server) Expire(ctx context.Context) (deleted int, err error) {
	for _, name := range s.store.Databases() {
		db, err := s.database(name)
		if err != nil {
			return deleted, err
		}
		expired, err := s.expired(ctx, db)
		if err != nil {
			return deleted, err
		}
		for len(expired) > 0 {
			n := min(ttlBatch, len(expired))
			if _, err := s.commit(ctx, db, expired[:n], nil); err != nil {
				// Somebody has changed one of them: each by itself, the changed ones at the next turn.
				for _, w := range expired[:n] {
					if _, err := s.commit(ctx, db, []*firestorepb.Write{w}, nil); err == nil {
						deleted++
					}
				}
			} else {
				deleted += n
			}
			expired = expired[n:]
		}
	}
	return deleted, nil
}

// expired lists the deletes of a database's expired documents, each on condition that it is as it was seen.
func (s *Server) expired(ctx context.Context, db database) (list []*firestorepb.Write, err error) {
	v, err := s.store.Strong()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	now := s.opt.Clock()
	all := &fsquery.Query{Parent: db.name.Root(), AllDescendants: true}
	steps := 0
	err = s.eachDocument(v, db, all, func(p fsvalue.Path, body []byte) error {
		if steps++; steps%checkEvery == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		field, ok := s.ttl[p.CollectionID()]
		if !ok {
			return nil
		}
		fields, err := decodeFields(body)
		if err != nil {
			return err
		}
		value, _ := field.Get(fields)
		at := value.GetTimestampValue()
		if at == nil || at.AsTime().After(now) {
			return nil
		}
		w, err := deleteAsSeen(v, db, p)
		if w != nil {
			list = append(list, w)
		}
		return err
	})
	return list, err
}

func deleteAsSeen(v *fsstore.View, db database, p fsvalue.Path) (*firestorepb.Write, error) {
	doc, err := v.Get(db.id, p)
	if doc == nil || err != nil {
		return nil, err
	}
	return &firestorepb.Write{
		Operation:       &firestorepb.Write_Delete{Delete: p.String()},
		CurrentDocument: &firestorepb.Precondition{ConditionType: &firestorepb.Precondition_UpdateTime{UpdateTime: timestamppb.New(time.UnixMicro(doc.Update))}},
	}, nil
}
