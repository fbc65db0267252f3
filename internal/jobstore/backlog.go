package jobstore

import (
	"context"
	"fmt"
	"time"

	"cloud.google.com/go/firestore"
	"golang.org/x/sync/errgroup"

	"exportd/jobs"
)

// backlogCounts bounds each count, at the price of a read for each 1,000.
const backlogCounts = 100_000

// Backlog is what waits to be done, for those who watch. It costs ten reads where less than 1,000 of
// each wait.
type Backlog struct {
	Queued, Running, Callbacks, Suspended int64 // at most 100,000 each
	// OldestQueued and OldestCallback are when what has waited longest was made; zero if nothing waits.
	OldestQueued, OldestCallback time.Time
	Paused                       map[jobs.Queue]jobs.Pause
}

// Backlog asks for it, by indexes alone.
func (s *Store) Backlog(ctx context.Context) (Backlog, error) {
	var b Backlog
	queued := s.jobs().Where("state", "==", jobs.Queued).OrderBy("createdAt", firestore.Asc)
	pending := s.callbacks().Where("state", "==", jobs.CallbackPending).OrderBy("createdAt", firestore.Asc)
	g, gctx := errgroup.WithContext(ctx)
	for _, c := range []struct {
		to *int64
		q  firestore.Query
	}{
		{&b.Queued, queued}, {&b.Callbacks, pending},
		{&b.Running, s.jobs().Where("state", "==", jobs.Running)}, {&b.Suspended, s.receivers().Where("suspended", "==", true)},
	} {
		g.Go(func() (err error) {
			*c.to, err = s.count(gctx, c.q.Limit(backlogCounts))
			return err
		})
	}
	for _, o := range []struct {
		to *time.Time
		q  firestore.Query
	}{{&b.OldestQueued, queued}, {&b.OldestCallback, pending}} {
		g.Go(func() error {
			docs, err := o.q.Limit(1).Select("createdAt").Documents(gctx).GetAll()
			if err != nil || len(docs) == 0 {
				return classify(err)
			}
			at, _ := docs[0].DataAt("createdAt") // of another type: no age
			*o.to, _ = at.(time.Time)
			return nil
		})
	}
	g.Go(func() (err error) { b.Paused, err = s.Paused(gctx); return err })
	if err := g.Wait(); err != nil {
		return Backlog{}, fmt.Errorf("ask what waits: %w", err)
	}
	return b, nil
}
