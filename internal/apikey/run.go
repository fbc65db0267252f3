package apikey

import (
	"context"
	"time"

	"cloud.google.com/go/firestore"
	"golang.org/x/sync/errgroup"

	"exportd/internal/panics"
)

const (
	// usedEvery is how exact a key's last use is kept: one write a day and key. It is for whoever looks for
	// keys that nobody uses any more, in weeks.
	usedEvery = 24 * time.Hour
	// usedQueue bounds the uses that wait to be written; more are dropped, the next one of the same key is
	// noted instead.
	usedQueue = 256
	// sweepEvery and sweepBatch: expired nonces are deleted where no TTL policy does it. Nothing waits for
	// that, and where there is nothing to delete each sweep costs a read.
	sweepEvery = 15 * time.Minute
	sweepBatch = 400
)

// Run watches the keys that are in use, writes down when they were used and deletes expired nonces, until ctx
// ends. A Store works without it: then changes are seen when the TTL ends. It returns nil.
func (s *Store) Run(ctx context.Context) error {
	var g errgroup.Group
	if s.documents != nil {
		w := watches{max: maxWatched, ttl: s.ttl, watch: s.watch, panics: s.panics}
		g.Go(panics.Task(func() error { w.run(ctx, s.looked); return nil }))
	}
	for _, loop := range []func(context.Context){s.noteUses, s.sweepNonces} {
		g.Go(func() error { s.panics.Loop(ctx, panics.Keys, func() { loop(ctx) }); return nil })
	}
	return g.Wait()
}

// Used notes that a key signed a request. It never waits.
func (s *Store) Used(k *Key) {
	if s.now().Sub(k.LastUsedAt) < usedEvery {
		return
	}
	select {
	case s.used <- k.ID:
	default:
	}
}

func (s *Store) noteUses(ctx context.Context) {
	written := map[string]time.Time{} // for a key that is left out here noteUse asks the record
	for {
		select {
		case <-ctx.Done():
			return
		case id := <-s.used:
			if now := s.now(); now.Sub(written[id]) >= usedEvery && s.noteUse(ctx, id, now) == nil {
				if len(written) >= maxCached {
					clear(written)
				}
				written[id] = now
			}
		}
	}
}

// noteUse writes the last use of a key, unless another process did within the day.
func (s *Store) noteUse(ctx context.Context, id string, now time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	return s.client.RunTransaction(ctx, func(_ context.Context, tx *firestore.Transaction) error {
		doc, err := tx.Get(s.doc(id))
		if err != nil {
			return err
		}
		used, _ := doc.DataAt("lastUsedAt") // where it cannot be read it is written anew
		if last, ok := used.(time.Time); ok && now.Sub(last) < usedEvery && last.Before(now.Add(maxAhead)) {
			return nil
		}
		return tx.Update(s.doc(id), []firestore.Update{{Path: "lastUsedAt", Value: now}})
	})
}

func (s *Store) sweepNonces(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			for ctx.Err() == nil && s.sweep(ctx) == sweepBatch { // there may be more
			}
		}
	}
}

// sweep deletes up to sweepBatch expired nonces and says how many. One that cannot be deleted now is left to
// the next sweep.
func (s *Store) sweep(ctx context.Context) int {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	docs, err := s.client.Collection(nonceCollection).Where("expiresAt", "<", s.now()).Select().Limit(sweepBatch).Documents(ctx).GetAll()
	if err != nil || len(docs) == 0 {
		return 0
	}
	writer := s.client.BulkWriter(ctx)
	for _, doc := range docs {
		if _, err := writer.Delete(doc.Ref); err != nil {
			break
		}
	}
	writer.End()
	if ctx.Err() != nil {
		return 0
	}
	return len(docs)
}
