package jobstore

import (
	"context"
	"fmt"
	"time"

	"cloud.google.com/go/firestore"
	"golang.org/x/sync/errgroup"

	"exportd/internal/panics"
	"exportd/jobs"
)

const (
	// backlogCounts bounds each count, at the price of a read for each 1,000.
	backlogCounts = 100_000
	// backlogRunning bounds the running jobs that are read to add up their parts, at a read each: a fleet of
	// 50 workers has as many slots for jobs. Beyond it the parts of the oldest are told, and the jobs
	// counted.
	backlogRunning = 200
)

// Backlog is what waits to be done, for those who watch. It costs ten reads where less than 1,000 of each
// wait, and one for each running job.
type Backlog struct {
	Queued, Running, Callbacks, Suspended int64 // at most 100,000 each
	// Parts is how many parts of running jobs are not done, and OldestParts when the one of these jobs began
	// that did so first; of the 200 oldest.
	Parts       int64
	OldestParts time.Time
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
		{&b.Queued, queued}, {&b.Callbacks, pending}, {&b.Suspended, s.receivers().Where("suspended", "==", true)},
	} {
		g.Go(panics.Task(func() (err error) {
			*c.to, err = s.count(gctx, c.q.Limit(backlogCounts))
			return err
		}))
	}
	for _, o := range []struct {
		to *time.Time
		q  firestore.Query
	}{{&b.OldestQueued, queued}, {&b.OldestCallback, pending}} {
		g.Go(panics.Task(func() error {
			docs, err := o.q.Limit(1).Select("createdAt").Documents(gctx).GetAll()
			if err != nil || len(docs) == 0 {
				return classify(err)
			}
			at, _ := docs[0].DataAt("createdAt") // of another type: no age
			*o.to, _ = at.(time.Time)
			return nil
		}))
	}
	g.Go(panics.Task(func() error { return s.addRunning(gctx, &b) }))
	g.Go(panics.Task(func() (err error) { b.Paused, err = s.Paused(gctx); return err }))
	if err := g.Wait(); err != nil {
		return Backlog{}, fmt.Errorf("ask what waits: %w", err)
	}
	return b, nil
}

// addRunning adds what runs, and its parts.
func (s *Store) addRunning(ctx context.Context, b *Backlog) error {
	running := s.jobs().Where("state", "==", jobs.Running)
	docs, err := running.OrderBy("createdAt", firestore.Asc).Limit(backlogRunning).Select("partsTotal", "partsDone", "startedAt").Documents(ctx).GetAll()
	if err != nil {
		return classify(err)
	}
	b.Running = int64(len(docs))
	for _, doc := range docs {
		var j jobs.Job
		if doc.DataTo(&j) != nil || j.PartsTotal > jobs.MaxParts || j.PartsDone < 0 || j.PartsDone >= j.PartsTotal {
			continue // no parts, or damaged, of which others tell
		}
		b.Parts += int64(j.PartsTotal - j.PartsDone)
		if b.OldestParts.IsZero() || j.StartedAt.Before(b.OldestParts) {
			b.OldestParts = j.StartedAt
		}
	}
	if len(docs) == backlogRunning {
		b.Running, err = s.count(ctx, running.Limit(backlogCounts))
	}
	return err
}
