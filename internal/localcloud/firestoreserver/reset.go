package firestoreserver

import (
	"context"
	"errors"

	"cloud.google.com/go/firestore/apiv1/firestorepb"

	"exportd/internal/localcloud/firestoreserver/fsquery"
	"exportd/internal/localcloud/firestoreserver/fsvalue"
)

// resetBatch is how many deletions go into one commit, of which production allows 500.
const resetBatch = 500

// Reset deletes every document of the databases that match, and says how many. Listeners see it as they see
// any deletion, in commits of 500; what is written meanwhile may stay.
func (s *Server) Reset(ctx context.Context, match func(fsvalue.Database) bool) (deleted int, err error) {
	for _, name := range s.store.Databases() {
		db, err := s.database(name)
		if err != nil {
			return deleted, err
		}
		if !match(db.name) {
			continue
		}
		n, err := s.clear(ctx, db)
		deleted += n
		if err != nil {
			return deleted, err
		}
	}
	return deleted, nil
}

func (s *Server) clear(ctx context.Context, db database) (deleted int, err error) {
	v, err := s.store.Strong()
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	var batch []*firestorepb.Write
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		_, err := s.commit(ctx, db, batch, nil)
		if err == nil {
			deleted += len(batch)
		}
		batch = batch[:0]
		return err
	}
	err = s.eachDocument(v, db, &fsquery.Query{Parent: db.name.Root(), AllDescendants: true}, func(p fsvalue.Path, _ []byte) error {
		batch = append(batch, &firestorepb.Write{Operation: &firestorepb.Write_Delete{Delete: p.String()}})
		if len(batch) < resetBatch {
			return nil
		}
		return flush()
	})
	if err == nil {
		err = flush()
	}
	return deleted, err
}

// Databases lists the names of the databases that were written to or asked for.
func (s *Server) Databases() []string { return s.store.Databases() }
